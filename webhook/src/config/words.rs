//! Settings that are one of a few words, as they stand in the configuration and in annotations.

use clap::ValueEnum;
use runtime::words;

/// When the kubelet pulls the sidecar's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "Kubernetes' own three values")]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

/// How the sidecar is added to a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SidecarMode {
    /// A container like the others: it can keep none of them from starting.
    #[default]
    Container,
    /// An init container that is always restarted: it starts before the others and ends after them, and an image that
    /// cannot be pulled keeps the pod from starting.
    Native,
    /// Native where the API server knows native sidecars (Kubernetes 1.29), else a container.
    Auto,
}

/// Where positions are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// On the log volume, where that is a claim: they outlive the pod.
    #[default]
    Persistent,
    /// In an emptyDir: they outlive the container.
    Ephemeral,
}

/// Whether the sidecar has a seccomp profile of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Seccomp {
    /// The profile of the pod or of the database's container; where they have none, `RuntimeDefault` unless an OpenShift SCC
    /// admitted the pod.
    #[default]
    Auto,
    /// `RuntimeDefault`, which many SCCs refuse.
    Always,
    /// None, which Pod Security `restricted` refuses where the pod has none.
    Never,
}

impl SidecarMode {
    /// Whether the sidecar is a native one. `known` says whether the API server supports native sidecars, if it was asked.
    pub fn is_native(self, known: Option<bool>) -> bool {
        match self {
            Self::Container => false,
            // Without an API server to ask, the user decides.
            Self::Native => known != Some(false),
            Self::Auto => known == Some(true),
        }
    }
}

impl Seccomp {
    /// Reads the setting; it was a boolean once.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Err("invalid value true: expected auto, always or never; true meant always".to_owned()),
            "false" => Err("invalid value false: expected auto, always or never; false meant never".to_owned()),
            _ => words::parse(text),
        }
    }
}
