//! Settings that are one of a few words, in the configuration and in annotations.

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
    /// A container like the others. It cannot keep them from starting.
    #[default]
    Container,
    /// An init container with `restartPolicy: Always`. It starts before the others and ends after them. If its image cannot
    /// be pulled, the pod does not start.
    Native,
    /// Native if the API server supports native sidecars (Kubernetes 1.29), otherwise a container.
    Auto,
}

/// Where the sidecar keeps its positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// On the log volume if it is a claim. The positions outlive the pod.
    #[default]
    Persistent,
    /// In an emptyDir. The positions outlive the container.
    Ephemeral,
}

/// Whether the sidecar has a seccomp profile of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Seccomp {
    /// The profile of the pod or of the database's container. Without either, `RuntimeDefault`, unless an OpenShift SCC
    /// admitted the pod.
    #[default]
    Auto,
    /// `RuntimeDefault`. Many SCCs refuse it.
    Always,
    /// None. Pod Security `restricted` refuses it if the pod has no profile.
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
    /// Parses the setting, which was a boolean in an older version.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Err("invalid value true: expected auto, always or never; true meant always".to_owned()),
            "false" => Err("invalid value false: expected auto, always or never; false meant never".to_owned()),
            _ => words::parse(text),
        }
    }
}
