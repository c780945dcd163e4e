//! A pod with everything that a decision about it needs, and where its logs are.

use serde_json::Value;

use super::pod::{OWN_DIRS, mount_path, mounts, name, spec_items, text};
use crate::config::Config;

/// A pod, and what is known when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The pod as it would be stored.
    pub pod: &'a Value,
    /// The namespace of the request. A pod from a template does not name its namespace itself.
    pub namespace: Option<&'a str>,
    /// The configuration with the pod's own overrides.
    pub config: &'a Config,
    /// Whether the API server supports native sidecars; `None` where no API server was asked.
    pub native_sidecars: Option<bool>,
}

/// Where the logs of a pod are.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The container that writes them.
    pub container: &'a Value,
    /// The mount of this container that covers the log directory.
    pub mount: &'a Value,
}

impl<'a> Case<'a> {
    /// The pod's namespace.
    pub(super) fn namespace(&self) -> Option<&'a str> {
        // The API server checked the namespace of the request. A forged object could name another one.
        self.namespace.or_else(|| text(self.pod, "/metadata/namespace"))
    }

    /// The container that writes the logs.
    pub(super) fn node_container(&self) -> Option<&'a Value> {
        let wanted = Some(self.config.matching.container.as_str());
        spec_items(self.pod, "containers").find(|container| name(container) == wanted)
    }

    /// Where the logs are; `None` without such a container, or without a mount that covers the log directory.
    pub(super) fn target(&self) -> Option<Target<'a>> {
        let container = self.node_container()?;
        // Of nested mounts the longest path is what a process sees.
        let mount = mounts(container)
            .filter_map(|mount| Some((mount_path(mount)?, mount)))
            .filter(|(path, mount)| covers(path, &self.config.matching.log_dir) && name(mount).is_some())
            .max_by_key(|(path, _)| path.len());
        Some(Target { container, mount: mount?.1 })
    }

    /// Whether the sidecar is added as a native one.
    pub(super) fn is_native(&self) -> bool {
        self.config.sidecar_mode.is_native(self.native_sidecars)
    }
}

impl Target<'_> {
    /// The first of the sidecar's own directories that the log mount would hide.
    pub(super) fn covered_own_dir(&self) -> Option<&'static str> {
        let path = mount_path(self.mount)?;
        OWN_DIRS.into_iter().find(|own| covers(path, own))
    }
}

/// Whether `dir` is `path` or lies below it.
pub(super) fn covers(path: &str, dir: &str) -> bool {
    std::path::Path::new(dir).starts_with(path)
}
