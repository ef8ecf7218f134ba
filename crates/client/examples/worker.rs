//! A worker that calls an upstream's API through Bursar: acquire, call, settle, again.
//!
//! ```text
//! cargo run -p bursar-client --example worker -- --bursar http://127.0.0.1:7411 --budget autotask --url http://127.0.0.1:8080/
//! ```
//!
//! `--calls N` ends it after N answered calls (default 10), `--class NAME` names the kind of call. A bearer token is taken
//! from `BURSAR_TOKEN`. This workspace builds reqwest without TLS, so the upstream's URL is `http` here; with reqwest's
//! `rustls` feature the same code calls `https`.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::{error::Error, process::ExitCode, time::Duration};

use bursar_client::{AcquireError, AcquireOptions, Client, ClientConfig, Outcome, Permit, Token};

const USAGE: &str = "usage: worker --bursar URI --budget NAME --url URL [--class NAME] [--calls N]";

/// How long a connection to the upstream may take to open.
const CONNECT: Duration = Duration::from_secs(2);

/// What stands on the command line.
struct Arguments {
    bursar: String,
    budget: String,
    url: String,
    class: Option<String>,
    calls: u32,
}

impl Arguments {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut bursar, mut budget, mut url) = (None, None, None);
        let (mut class, mut calls) = (None, 10);
        while let Some(name) = args.next() {
            let value = args.next().ok_or(USAGE)?;
            match name.as_str() {
                "--bursar" => bursar = Some(value),
                "--budget" => budget = Some(value),
                "--url" => url = Some(value),
                "--class" => class = Some(value),
                "--calls" => calls = value.parse()?,
                _ => return Err(USAGE.into()),
            }
        }
        match (bursar, budget, url) {
            (Some(bursar), Some(budget), Some(url)) => Ok(Self { bursar, budget, url, class, calls }),
            _ => Err(USAGE.into()),
        }
    }

    fn options(&self) -> AcquireOptions {
        let options = AcquireOptions::new(self.budget.as_str()).max_wait(Duration::from_secs(60));
        match &self.class {
            Some(class) => options.class(class.as_str()),
            None => options,
        }
    }
}

/// Makes the call, if it may still be made, and says what became of it.
async fn call(http: &reqwest::Client, url: &str, permit: &Permit) -> Outcome {
    // A call that first has to connect leaves later.
    if !permit.is_sendable() || permit.send_within() < CONNECT {
        return Outcome::not_sent();
    }
    let request = http.get(url).send();
    let response = match tokio::time::timeout(Duration::from_secs(30), request).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_connect() => {
            println!("not sent: {error}");
            return Outcome::not_sent();
        }
        Ok(Err(error)) => {
            println!("no answer: {error}");
            return Outcome::lost();
        }
        Err(_) => {
            println!("no answer in time");
            return Outcome::lost();
        }
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap_or_default();
    println!("{status}, {} bytes", body.len());
    // A refusal's body may say more than its headers; a success's is nobody else's business.
    let told: &[u8] = if status.is_success() { &[] } else { &body };
    Outcome::response(status.as_u16(), &headers, told)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    let mut config = ClientConfig::new(arguments.bursar.as_str());
    if let Ok(token) = std::env::var("BURSAR_TOKEN") {
        config.token = Some(Token::new(&token)?);
    }
    let client = Client::connect(config).await?;
    let http = reqwest::Client::builder().connect_timeout(CONNECT).build()?;

    let mut acquired = client.acquire(arguments.options()).await;
    let mut left = arguments.calls;
    loop {
        let permit = match acquired {
            Ok(permit) => permit,
            Err(AcquireError::Refused(refusal)) => {
                // An answer and not a failure: it says when to come back. Without a time, no time helps.
                let after = refusal.retry_after.ok_or(refusal.message)?;
                println!("{}: back in {after:?}", refusal.reason);
                tokio::time::sleep(after).await;
                acquired = client.acquire(arguments.options()).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let outcome = call(&http, &arguments.url, &permit).await;
        left = left.saturating_sub(1);
        if left == 0 {
            permit.settle_as(outcome).await?;
            return Ok(());
        }
        // What the upstream said goes with the next acquire: one RPC a call.
        acquired = permit.settle_and_acquire(outcome, arguments.options()).await.permit;
    }
}
