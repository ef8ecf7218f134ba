//! Who may ask for what: bearer tokens, kept as their SHA-256 alone.

use std::{fmt, hint::black_box, sync::Arc};

use bursar_quota::{BudgetName, TenantName};
use prometheus_client::metrics::counter::Counter;
use sha2::{Digest, Sha256};
use tonic::{Request, Status, metadata::MetadataMap, service::Interceptor};

use crate::failure::Failure;

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Acquire, settle and renew permits; read, list and watch budgets.
    Worker,
    /// All that, and put, delete, pause and resume budgets.
    Admin,
}

/// Which budgets: a name, or the beginning of names followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetPattern {
    text: String,
    prefix: bool,
}

/// Not a pattern of budget names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pattern is 1 to 128 characters of [a-z0-9._/-], and may end with one \"*\"; a lone \"*\" is any budget"
)]
pub struct PatternError;

impl BudgetPattern {
    /// Reads `name`, `begin*` or `*`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let (text, prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        if !(prefix && text.is_empty()) {
            BudgetName::new(text).map_err(|_| PatternError)?;
        }
        Ok(Self { text: text.to_owned(), prefix })
    }

    /// Whether the budget is one of them.
    pub fn matches(&self, budget: &BudgetName) -> bool {
        if self.prefix { budget.as_str().starts_with(&self.text) } else { budget.as_str() == self.text }
    }
}

/// A bearer token. The secret itself is not kept; neither it nor its digest is ever printed.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
    grant: Arc<Grant>,
}

/// What a token lets its bearer do.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    label: String,
    role: Role,
    tenant: Option<TenantName>,
    budgets: Vec<BudgetPattern>,
}

impl Token {
    /// A token with this secret for every budget and tenant. `label` tells it apart in logs.
    pub fn from_secret(label: impl Into<String>, secret: &str, role: Role) -> Self {
        Self::from_sha256(label, digest(secret.as_bytes()), role)
    }

    /// The same, where only the secret's SHA-256 is known.
    pub fn from_sha256(label: impl Into<String>, digest: [u8; 32], role: Role) -> Self {
        let grant = Grant { label: label.into(), role, tenant: None, budgets: Vec::new() };
        Self { digest, grant: Arc::new(grant) }
    }

    /// Its bearer is this tenant and no other.
    #[must_use]
    pub fn for_tenant(mut self, tenant: TenantName) -> Self {
        self.grant = Arc::new(Grant { tenant: Some(tenant), ..self.grant.copy() });
        self
    }

    /// Its bearer may use these budgets alone; none given: all.
    #[must_use]
    pub fn for_budgets(mut self, budgets: Vec<BudgetPattern>) -> Self {
        self.grant = Arc::new(Grant { budgets, ..self.grant.copy() });
        self
    }
}

impl Grant {
    fn copy(&self) -> Self {
        let Self { label, role, tenant, budgets } = self;
        Self { label: label.clone(), role: *role, tenant: tenant.clone(), budgets: budgets.clone() }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("secret", &"redacted").field("grant", &self.grant).finish()
    }
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Whether two digests are the same, in a time that does not tell where they differ.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    black_box(left.iter().zip(right).fold(0_u8, |difference, (l, r)| difference | (l ^ r))) == 0
}

// === who calls ===

/// Who calls, once the door has let them in. `None`: no tokens are configured, and everybody may do everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller(Option<Arc<Grant>>);

impl Caller {
    /// The caller that the door found.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Failure> {
        // Without the door there is no answer: better refused than let in by a mistake of ours.
        request.extensions().get::<Self>().cloned().ok_or(Failure::Unauthenticated)
    }

    /// What the token is called in logs; `anonymous` where none is needed.
    pub(crate) fn label(&self) -> &str {
        self.0.as_ref().map_or("anonymous", |grant| &grant.label)
    }

    /// Whether the budget is one of the caller's.
    pub(crate) fn may_use(&self, budget: &BudgetName) -> bool {
        let mine =
            |grant: &Arc<Grant>| grant.budgets.is_empty() || grant.budgets.iter().any(|p| p.matches(budget));
        self.0.as_ref().is_none_or(mine)
    }

    /// Fails unless the budget is one of the caller's.
    pub(crate) fn must_use(&self, budget: &BudgetName) -> Result<(), Failure> {
        let forbidden = || Failure::Forbidden(format!("this token is not for budget {budget}"));
        if self.may_use(budget) { Ok(()) } else { Err(forbidden()) }
    }

    /// Fails unless the caller administers the budget.
    pub(crate) fn must_administer(&self, budget: &BudgetName) -> Result<(), Failure> {
        if self.0.as_ref().is_some_and(|grant| grant.role < Role::Admin) {
            return Err(Failure::Forbidden("this needs a token with the role admin".into()));
        }
        self.must_use(budget)
    }

    /// The tenant that the call counts for: as asked; where the token pins one, that one and no other.
    pub(crate) fn tenant(&self, asked: Option<TenantName>) -> Result<TenantName, Failure> {
        let pinned = self.0.as_ref().and_then(|grant| grant.tenant.as_ref());
        match (pinned, asked) {
            (None, asked) => Ok(asked.unwrap_or_else(TenantName::default_tenant)),
            (Some(pinned), Some(asked)) if *pinned != asked => {
                Err(Failure::Forbidden(format!("this token is for tenant {pinned} alone")))
            }
            (Some(pinned), _) => Ok(pinned.clone()),
        }
    }
}

/// Lets in who bears a known token, and everybody where none is configured.
#[derive(Clone)]
pub(crate) struct Door {
    tokens: Arc<[Token]>,
    turned_away: Counter,
}

impl Door {
    /// A door for these tokens, which counts whom it turns away.
    pub(crate) fn new(tokens: Vec<Token>, turned_away: Counter) -> Self {
        Self { tokens: tokens.into(), turned_away }
    }

    fn caller(&self, metadata: &MetadataMap) -> Result<Caller, Failure> {
        if self.tokens.is_empty() {
            return Ok(Caller::default());
        }
        let shown = metadata.get("authorization").and_then(|value| bearer(value.as_bytes()));
        let shown = digest(shown.ok_or(Failure::Unauthenticated)?);
        // All are compared, so that the time does not tell which one it was.
        let found = self
            .tokens
            .iter()
            .fold(None, |found, token| if same(&token.digest, &shown) { Some(&token.grant) } else { found });
        found.map(|grant| Caller(Some(Arc::clone(grant)))).ok_or(Failure::Unauthenticated)
    }
}

/// What follows `Bearer `, the scheme in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !secret.is_empty()).then_some(secret)
}

impl Interceptor for Door {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.caller(request.metadata()).map_err(|failure| {
            self.turned_away.inc();
            failure.status()
        })?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(text: &str) -> BudgetName {
        BudgetName::new(text).unwrap()
    }

    fn door(tokens: Vec<Token>) -> Door {
        Door::new(tokens, Counter::default())
    }

    fn shown(door: &Door, authorization: &str) -> Result<Caller, Failure> {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().unwrap());
        door.caller(&metadata)
    }

    #[test]
    fn only_a_known_token_opens() {
        let door = self::door(vec![
            Token::from_secret("a", "alpha", Role::Worker),
            Token::from_secret("b", "beta", Role::Admin),
        ]);
        assert_eq!(shown(&door, "Bearer alpha").unwrap().label(), "a");
        assert_eq!(shown(&door, "bearer beta").unwrap().label(), "b");
        for wrong in ["Bearer gamma", "Bearer ", "Bearer", "Basic alpha", "alpha", "Bearer alpha "] {
            assert!(matches!(shown(&door, wrong), Err(Failure::Unauthenticated)), "{wrong:?}");
        }
        assert!(matches!(door.caller(&MetadataMap::new()), Err(Failure::Unauthenticated)));
        assert!(self::door(Vec::new()).caller(&MetadataMap::new()).is_ok());
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::from_secret("a", "open sesame", Role::Worker);
        let text = format!("{token:?}");
        let hex = token.digest.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert!(!text.contains("sesame") && !text.contains(&hex[..8]), "{text}");
        assert!(!text.contains(&format!("{:?}", &token.digest[..3])[1..8]), "{text}");
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let pattern = |text: &str| BudgetPattern::new(text);
        assert!(pattern("autotask/*").unwrap().matches(&budget("autotask/prod")));
        assert!(!pattern("autotask/*").unwrap().matches(&budget("autotask")));
        assert!(pattern("*").unwrap().matches(&budget("anything")));
        assert!(!pattern("auto").unwrap().matches(&budget("autotask")));
        for wrong in ["", "**", "a*b", "Prod", "a b*"] {
            assert_eq!(pattern(wrong), Err(PatternError), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_keeps_to_its_tenant_budgets_and_role() {
        let prod = vec![BudgetPattern::new("prod/*").unwrap()];
        let acme = TenantName::new("acme").unwrap();
        let token = Token::from_secret("a", "alpha", Role::Worker).for_tenant(acme.clone()).for_budgets(prod);
        let caller = shown(&door(vec![token]), "Bearer alpha").unwrap();
        assert!(caller.must_use(&budget("prod/a")).is_ok());
        assert!(matches!(caller.must_use(&budget("test/a")), Err(Failure::Forbidden(_))));
        assert!(matches!(caller.must_administer(&budget("prod/a")), Err(Failure::Forbidden(_))));
        assert_eq!(caller.tenant(None).unwrap(), acme);
        assert_eq!(caller.tenant(Some(acme.clone())).unwrap(), acme);
        assert!(matches!(caller.tenant(TenantName::new("other").ok()), Err(Failure::Forbidden(_))));
        let anybody = Caller::default();
        assert_eq!(anybody.tenant(None).unwrap(), TenantName::default_tenant());
        assert!(anybody.must_administer(&budget("prod/a")).is_ok());
    }
}
