//! `rbac`: the YAML of the permission that the accounts of a namespace need.

use std::io::Write as _;
use std::process::ExitCode;

use crate::cluster::rbac::{Access, Accounts, Permission};
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
    /// What it allows: to push, or to read the logs of the namespace.
    #[arg(long, value_enum, default_value_t)]
    access: Access,
    /// The namespace of the ServiceAccount that reads, such as Grafana's. [default: the one of --namespace]
    #[arg(long, value_name = "NS")]
    account_namespace: Option<String>,
}

/// What a reader must know, because no permission for one namespace changes it.
const READERS_NOTE: &str = "note: this grants the logs of namespace {namespace} only. Each query must name that namespace, such \
as {kubernetes_namespace_name=\"{namespace}\", job=\"redis-enterprise-internal\"}; the gateway refuses a query without \
it. Reading the logs of all namespaces is for cluster administrators to grant.";

/// Prints it.
pub(crate) fn run(args: Rbac) -> anyhow::Result<ExitCode> {
    let account_namespace = match (args.access, args.account_namespace) {
        (Access::Read, Some(namespace)) => namespace,
        (Access::Write, Some(namespace)) if namespace != args.namespace => anyhow::bail!(
            "invalid --account-namespace {namespace:?} with --access write: pods push with an account of their own namespace"
        ),
        _ => args.namespace.clone(),
    };
    if args.access == Access::Read {
        eprintln!("{}", READERS_NOTE.replace("{namespace}", &args.namespace));
    }
    let permission = Permission {
        namespace: args.namespace,
        account_namespace,
        accounts: args.service_account.map_or(Accounts::All, Accounts::One),
        tenant: args.tenant,
        access: args.access,
    };
    let documents = permission.objects().iter().map(documents::to_yaml).collect::<Result<Vec<_>, _>>()?;
    std::io::stdout().lock().write_all(documents.join("---\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
