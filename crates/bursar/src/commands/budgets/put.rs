//! `bursar budgets put`.

use std::path::PathBuf;

use bursar_client::{BudgetsClient, Declared};
use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, BudgetSpec, ProfileName};
use serde_json::json;

use crate::{
    config,
    exit::{Failure, Outcome},
    output,
};

/// Declare a budget, or change its declaration. What weighs stays, and nobody who waits is dropped.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file has the keys of one [[budgets]] table of the configuration, in TOML, or in YAML or JSON by its extension:
  name = \"autotask/prod\"
  profile = \"autotask\"
  send_within = \"3s\"")]
#[command(group(clap::ArgGroup::new("declaration").required(true).args(["file", "profile"])))]
pub(crate) struct Args {
    /// The budget's name; needed with --profile, and with --file wins over the file's.
    #[arg(required_unless_present = "file")]
    name: Option<BudgetName>,
    /// A file that declares one budget.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A profile whose limits to take as they are.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<ProfileName>,
}

/// What is declared.
#[derive(Debug)]
pub(super) enum Declaration {
    /// This.
    Spec(Box<BudgetSpec>),
    /// What the server's profile says.
    Profile(BudgetName, ProfileName),
}

impl Args {
    /// The declaration; one of a file is checked.
    pub(super) fn declaration(&self) -> Result<Declaration, Failure> {
        if let Some(path) = &self.file {
            let name = self.name.as_ref().map(BudgetName::as_str);
            let spec = config::load_budget(path, name, &Profiles::builtin());
            return spec
                .map(|spec| Declaration::Spec(Box::new(spec)))
                .map_err(|problem| Failure::Failed(problem.to_string()));
        }
        match (&self.profile, &self.name) {
            (Some(profile), Some(name)) => Ok(Declaration::Profile(name.clone(), profile.clone())),
            _ => Err(Failure::Usage("give --file, or --profile and the budget's name".to_owned())),
        }
    }
}

impl Declaration {
    /// Declares it.
    pub(super) async fn put(&self, client: &BudgetsClient, json: bool) -> Outcome {
        let declared = match self {
            Self::Spec(spec) => client.put(spec).await,
            Self::Profile(name, profile) => client.put_profile(name, profile).await,
        };
        let Declared { put, spec } = declared.map_err(Failure::of)?;
        if json {
            return output::json(&json!({ "budget": spec, "version": put.version, "changed": put.changed }));
        }
        let what = if put.changed { "is now at" } else { "is unchanged, at" };
        output::line(&format!("{} {what} version {}", spec.name, put.version))
    }
}
