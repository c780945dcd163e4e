//! Settings that are one of a few words, as they stand in the configuration and in annotations.

/// When the kubelet pulls the sidecar's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own three values")]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

/// How the sidecar is added to a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// On the log volume, where that is a claim: they outlive the pod.
    #[default]
    Persistent,
    /// In an emptyDir: they outlive the container.
    Ephemeral,
}

/// Whether the sidecar has a seccomp profile of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// The shipper's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the five levels need no words")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Whether the shipper joins lines that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiline {
    /// As each file's format asks for.
    Auto,
    /// Every line is an entry.
    Off,
}

impl PullPolicy {
    /// Reads the policy.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "Always" => Ok(Self::Always),
            "IfNotPresent" => Ok(Self::IfNotPresent),
            "Never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is none of Always, IfNotPresent, Never")),
        }
    }

    /// The value as the API server knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl SidecarMode {
    /// Reads the mode as it stands in the configuration and in annotations.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "container" => Ok(Self::Container),
            "native" => Ok(Self::Native),
            "auto" => Ok(Self::Auto),
            _ => Err(format!("{text:?} is none of container, native, auto")),
        }
    }
}

impl State {
    /// Reads the state as it stands in the configuration and in annotations.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "persistent" => Ok(Self::Persistent),
            "ephemeral" => Ok(Self::Ephemeral),
            _ => Err(format!("{text:?} is neither persistent nor ephemeral")),
        }
    }
}

impl Seccomp {
    /// Reads the setting; it was a boolean once.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            "true" => Err("invalid value true: expected auto, always or never; always is what true was".to_owned()),
            "false" => Err("invalid value false: expected auto, always or never; never is what false was".to_owned()),
            _ => Err(format!("invalid value {text:?}: expected auto, always or never")),
        }
    }
}

impl LogLevel {
    /// Reads a level.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(format!("{text:?} is none of error, warn, info, debug, trace")),
        }
    }

    /// The level as the shipper's flag takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Multiline {
    /// Reads the mode as it stands in the configuration and in annotations.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => Err(format!("{text:?} is neither auto nor off")),
        }
    }

    /// The mode as the shipper takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
}
