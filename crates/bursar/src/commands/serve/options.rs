//! From the configuration to what the rooms take.

use std::{path::Path, sync::Arc};

use bursar_dialect::Profiles;
use bursar_quota::Clock;
use bursar_server::{BudgetPattern, Options, Role, Tls, Token};

use crate::{
    config::{self, Config, Settings},
    exit::Failure,
    identity, store,
};

/// What the coordinator takes.
pub(super) fn coordinator(settings: &Settings) -> Result<bursar_coordinator::Config, Failure> {
    let replica = match &settings.server.replica {
        Some(name) => name.clone(),
        None => identity::replica()?,
    };
    let mut lanes = bursar_coordinator::Config::new(replica, identity::entropy()?);
    lanes.max_waiting = settings.server.max_waiting;
    lanes.max_wait = settings.server.max_wait;
    lanes.shares_across_replicas = settings.server.shares_across_replicas;
    Ok(lanes)
}

/// What the server takes; reads the files of tokens and TLS.
pub(super) fn server(
    config: &Config,
    profiles: Arc<Profiles>,
    clock: Arc<dyn Clock>,
) -> Result<Options, Failure> {
    let settings = &config.settings;
    let mut options = Options::new(profiles, clock);
    options.max_connections = settings.server.max_connections;
    options.request_bytes_max = settings.server.max_request_bytes;
    let tokens = settings.auth.tokens.iter().enumerate();
    options.tokens =
        tokens.map(|(index, token)| read_token(index, token, &config.folder)).collect::<Result<_, _>>()?;
    options.tls = config.server_pem().map_err(Failure::of)?.map(|pem| Tls {
        certificate: pem.cert,
        key: pem.key.0,
        client_ca: pem.client_ca,
    });
    Ok(options)
}

fn read_token(index: usize, token: &config::Token, folder: &Path) -> Result<Token, Failure> {
    let role = match token.role {
        config::Role::Worker => Role::Worker,
        config::Role::Admin => Role::Admin,
    };
    let mut made = match (&token.token_file, &token.token_sha256) {
        (Some(file), _) => {
            let field = format!("auth.tokens[{index}].token_file");
            Token::from_secret(&token.name, &store::secret(&field, &folder.join(file))?, role)
        }
        (None, Some(digest)) => Token::from_sha256(&token.name, digest.0, role),
        (None, None) => return Err(Failure::Failed(format!("auth.tokens[{index}]: no token"))),
    };
    if let Some(tenant) = &token.tenant {
        made = made.for_tenant(tenant.clone());
    }
    let budgets = token.budgets.iter().map(|text| BudgetPattern::new(text)).collect::<Result<Vec<_>, _>>();
    Ok(made.for_budgets(budgets.map_err(Failure::of)?))
}
