//! `rbac`: the YAML of the permission that the accounts of a namespace need.

use std::io::Write as _;
use std::process::ExitCode;

use super::rbac::{self, Access, Accounts};
use crate::offline::documents;

/// The flags of `rbac`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rbac {
    /// The namespace of the Redis Enterprise cluster.
    #[arg(short, long, value_name = "NS")]
    namespace: String,
    /// The ServiceAccount of its pods; usually named like the cluster.
    #[arg(long, value_name = "SA", required_unless_present = "all_service_accounts")]
    service_account: Option<String>,
    /// All ServiceAccounts of the namespace.
    #[arg(long, conflicts_with = "service_account")]
    all_service_accounts: bool,
    /// The gateway's tenant.
    #[arg(long, value_name = "T", default_value = "application")]
    tenant: String,
    /// What it allows: to push, or to query.
    #[arg(long, value_enum, default_value_t)]
    access: Access,
}

/// Prints it.
pub(crate) fn run(args: Rbac) -> anyhow::Result<ExitCode> {
    let accounts = args.service_account.map_or(Accounts::All, Accounts::One);
    let documents = rbac::objects(&args.namespace, &accounts, &args.tenant, args.access)
        .iter()
        .map(documents::to_yaml)
        .collect::<Result<Vec<_>, _>>()?;
    std::io::stdout().lock().write_all(documents.join("---\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
