//! Checks a cluster: the installation, the namespaces, the pods, the way to Loki.

use anyhow::Context as _;
use findings::Report;

use super::reader::Reader;
use super::scope::Scope;
use super::{installation, namespaces, pods, pushes, sample};
use crate::cluster::api::knows_native_sidecars;

/// Checks everything in `scope`. An error means that the API server does not answer.
pub(crate) async fn check(reader: &Reader, scope: &Scope) -> anyhow::Result<Report> {
    let (major, minor) = reader.version().await.context("failed to reach the API server")?;
    let native_sidecars = knows_native_sidecars(&major, &minor);
    let mut report = Report::default();
    let installed = installation::check(reader, scope, &mut report).await;
    let namespaces = namespaces::read(reader, scope).await;
    let pods = pods::check(reader, scope, &installed, &namespaces, native_sidecars).await;
    namespaces::check(&namespaces, &pods.counted, scope, &mut report);
    sample::check(reader, &namespaces, &installed, &mut report).await;
    report.group("pods");
    for (check, outcome) in pods.rows {
        report.add(check, outcome);
    }
    pushes::permissions(reader, &pods.pushers, &installed, &mut report).await;
    pushes::last_pushes(reader, &pods.sidecars, &mut report).await;
    Ok(report)
}
