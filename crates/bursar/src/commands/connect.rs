//! How the tools reach a server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bursar_client::{ClientConfig, TlsConfig, Token};

use crate::exit::Failure;

/// Which server to ask, and as whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Replicas to ask, http://host:port or https://host:port; several by commas, or one name with several addresses.
    #[arg(
        long,
        value_name = "URI",
        env = "BURSAR_SERVER",
        default_value = "http://127.0.0.1:7411",
        value_delimiter = ',',
        global = true
    )]
    server: Vec<String>,
    /// A file with the bearer token; the token itself may be in the environment as BURSAR_TOKEN.
    #[arg(long, value_name = "FILE", env = "BURSAR_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Authorities to trust for https, PEM.
    #[arg(long, value_name = "FILE", env = "BURSAR_CA", global = true)]
    ca: Option<PathBuf>,
    /// The certificate to show, with its chain, PEM; needs --key.
    #[arg(long, value_name = "FILE", env = "BURSAR_CERT", requires = "key", global = true)]
    cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", env = "BURSAR_KEY", requires = "cert", global = true)]
    key: Option<PathBuf>,
    /// Expect the server's certificate to be for this name.
    #[arg(long, value_name = "NAME", global = true)]
    tls_name: Option<String>,
    /// How long a call may take at one replica, beyond what it waits for a permit; an acquire may be tried at another as well,
    /// and takes twice as much at most.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, global = true)]
    timeout: Duration,
}

/// Reads a duration such as `5s` or `100ms`; a bare number is an error.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a unit, as in 5s or 100ms"))
}

/// The bearer token that `file` holds, or that is in the environment as BURSAR_TOKEN; `None` if there is neither.
pub(crate) fn token(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let text = match file {
        Some(path) => {
            let text = std::fs::read(path)
                .map_err(|error| Failure::doing(format_args!("reading {}", path.display()), error))?;
            Some(String::from_utf8_lossy(&text).trim().to_owned())
        }
        None => std::env::var("BURSAR_TOKEN").ok(),
    };
    text.map(|text| Token::new(&text).map_err(|error| Failure::Usage(error.to_string()))).transpose()
}

impl ServerArgs {
    /// The configuration of a client for it.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| Failure::doing(format_args!("reading {}", path.display()), error))
        };
        let mut config = ClientConfig::new("");
        config.endpoints = self.server.iter().map(|uri| uri.trim().to_owned()).collect();
        config.rpc_timeout = self.timeout;
        config.settle_within = config.settle_within.max(self.timeout);
        // A person waits: what cannot be reached is told soon.
        config.retry.attempts = 3;
        // The client would name its own field, which nobody can set here.
        if let (Some(uri), None) = (config.endpoints.iter().find(|uri| uri.starts_with("https:")), &self.ca) {
            let problem = "https needs --ca, a file with the authority to trust";
            return Err(Failure::Usage(format!("--server {uri}: {problem}")));
        }
        if let Some(ca) = &self.ca {
            let mut tls = TlsConfig::new(read(ca)?);
            if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
                tls = tls.identity(read(cert)?, read(key)?);
            }
            if let Some(name) = &self.tls_name {
                tls = tls.domain(name.as_str());
            }
            config.tls = Some(tls);
        }
        config.token = token(self.token_file.as_deref())?;
        config.validate().map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(config)
    }
}
