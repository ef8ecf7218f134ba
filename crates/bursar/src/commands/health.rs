//! `bursar health`.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use super::connect::duration;
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// What is read of an answer at most, in bytes: the pages that are asked for here are a line long.
const MOST: u64 = 16 * 1024;

/// Ask a server whether it is well.
///
/// Gets a page by plain HTTP: 200 is well, anything else is not. This is what an orchestrator runs where an image has no
/// other program; /readyz also asks whether the store can be reached, /healthz does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar health
  bursar health http://127.0.0.1:7412/healthz
  bursar health --timeout 1s http://127.0.0.1:8080/__truth

Exit codes: 0 well, 1 not well or not reached, 2 wrong usage.")]
pub(crate) struct Args {
    /// The page, http://host:port/path.
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:7412/readyz", value_parser = page)]
    page: Page,
    /// How long to wait for each step: the connection, and what comes of the answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    timeout: Duration,
}

/// Where to ask, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Page {
    place: String,
    path: String,
}

fn page(text: &str) -> Result<Page, String> {
    let rest = text.strip_prefix("http://").ok_or("write http://host:port/path")?;
    let (place, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if !place.contains(':') || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("write http://host:port/path".to_owned());
    }
    Ok(Page { place: place.to_owned(), path: path.to_owned() })
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Page { place, path } = &args.page;
    let answer = get(place, path, args.timeout).map_err(|error| Failure::doing(place, error))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return output::line(body.lines().next().unwrap_or("well"));
    }
    Err(Failure::Failed(format!("{place}{path} answered {status}: {}", body.trim())))
}

fn get(place: &str, path: &str, timeout: Duration) -> std::io::Result<String> {
    // A zero would mean no bound at all.
    let timeout = timeout.max(Duration::from_millis(1));
    let mut last = std::io::Error::other("the name has no address");
    for address in place.to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer)?;
        return Ok(String::from_utf8_lossy(&answer).into_owned());
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::{io::BufRead as _, io::BufReader, net::TcpListener, thread};

    use super::*;

    /// Answers one request with this.
    fn asked(answer: &'static str) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let outcome = run(&Args { page: page(&url).unwrap(), timeout: Duration::from_secs(20) });
        assert_eq!(server.join().unwrap()[0], "GET /readyz HTTP/1.1");
        outcome
    }

    #[test]
    fn only_200_is_well() {
        assert!(asked("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n").is_ok());
        for answer in [
            "HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: no store\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "",
            "x",
        ] {
            assert!(matches!(asked(answer), Err(Failure::Failed(_))), "{answer:?}");
        }
    }

    #[test]
    fn nobody_there_is_not_well() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let page = page(&format!("http://127.0.0.1:{port}/")).unwrap();
        assert!(run(&Args { page, timeout: Duration::from_secs(1) }).is_err());
    }

    #[test]
    fn a_page_is_http_with_host_and_port() {
        let expected = Page { place: "localhost:7412".into(), path: "/".into() };
        assert_eq!(page("http://localhost:7412").unwrap(), expected);
        for wrong in [
            "https://localhost:7412/",
            "localhost:7412",
            "http://localhost/",
            "http://a:1/ b",
            "http://a:1/\r\nX: y",
        ] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }
}
