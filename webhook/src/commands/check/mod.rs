//! `check`: whether everything is all right, in a cluster or in files.

mod kubeconfig;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use findings::{Output, Report};

use self::kubeconfig::Cluster;

use crate::check::scope::Scope;
use crate::check::{cluster, files, pre};
use crate::config::Config;
use crate::offline::input;

/// The flags of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Check a file instead of a cluster: pods, workloads, Redis Enterprise clusters, the configuration, manifests; may be
    /// given more than once. - is standard input.
    #[arg(short, long = "file", value_name = "FILE", conflicts_with = "Connection")]
    files: Vec<PathBuf>,
    /// Check whether the webhook can be installed, and whether you may do it.
    #[arg(long, conflicts_with = "files")]
    pre: bool,
    /// The configuration of the webhook, a YAML file [default: with --file, all defaults]
    #[arg(long, env = "REDIS_LOG_WEBHOOK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A namespace to check; may be given more than once [default: all namespaces]. With --file: the namespace of objects
    /// that name none.
    #[arg(short, long = "namespace", value_name = "NS")]
    namespaces: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    output: Output,
}

/// Prints every check with its result. The exit code is 1 if a finding reaches the threshold.
pub(crate) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let config = args.config.as_deref().map(Config::read).transpose()?;
    let report = if args.files.is_empty() {
        runtime::tls::install_crypto_provider();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(args.check_cluster(config))?
    } else {
        let namespace = args.namespaces.first().map(String::as_str);
        files::check(&input::documents(&args.files)?, config.unwrap_or_default(), namespace)
    };
    args.output.print(&report).context("failed to write to standard output")
}

impl Check {
    async fn check_cluster(&self, config: Option<Config>) -> anyhow::Result<Report> {
        let reader = self.cluster.reader().await?;
        let (namespaces, installation) = (self.namespaces.clone(), self.cluster.installation.clone());
        let scope = Scope { namespaces, installation, config };
        if self.pre { pre::check(&reader, &scope).await } else { cluster::check(&reader, &scope).await }
    }
}
