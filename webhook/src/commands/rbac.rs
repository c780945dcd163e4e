//! `rbac`: the YAML of the permission to push, or to query, for accounts of a namespace.

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
    /// The ServiceAccount of its pods, which usually has the cluster's name.
    #[arg(long, value_name = "SA", required_unless_present = "all_service_accounts")]
    service_account: Option<String>,
    /// All ServiceAccounts of the namespace.
    #[arg(long, conflicts_with = "service_account")]
    all_service_accounts: bool,
    /// The gateway's tenant.
    #[arg(long, value_name = "T", default_value = "application")]
    tenant: String,
    /// The permission: to push, or to read the namespace's logs.
    #[arg(long, value_enum, default_value_t)]
    access: Access,
    /// The namespace of the ServiceAccount that reads, for example Grafana's [default: that of --namespace]
    #[arg(long, value_name = "NS")]
    account_namespace: Option<String>,
}

/// A note for readers: no permission for one namespace can change this.
const READERS_NOTE: &str = "note: this grants only the logs of namespace {namespace}. Each query must name this namespace, \
such as {kubernetes_namespace_name=\"{namespace}\", job=\"redis-enterprise-internal\"}; the gateway refuses a query \
without it. Only cluster administrators can grant the logs of all namespaces.";

/// Prints the YAML.
pub(crate) fn run(args: Rbac) -> anyhow::Result<ExitCode> {
    let account_namespace = match (args.access, args.account_namespace) {
        (Access::Read, Some(namespace)) => namespace,
        (Access::Write, Some(namespace)) if namespace != args.namespace => anyhow::bail!(
            "invalid --account-namespace {namespace:?} with --access write: pods push with an account of their own \
             namespace"
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
