//! The codes.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing. Nothing is wrong now.
    Info,
    /// Something is not as it should be, or will fail soon.
    Warning,
    /// Logs are not shipped, or pods are not injected.
    Error,
}

impl Severity {
    /// The severity as text, such as `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The stable code of a finding: `RLS` and three digits. A code is never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table has a title, a cause and a fix for each")]
pub enum Code {
    WebhookMissing,
    WebhookUnreachable,
    CaBundleMismatch,
    CertificateExpired,
    CertificateExpiresSoon,
    SelectorMatchesNothing,
    ConfigurationInvalid,
    ApiServerTooOld,
    MayNotInstall,
    MayNotRead,
    RegistrationDiffers,
    NamespaceNotLabelled,
    PodOlderThanLabel,
    PodWithoutSidecar,
    NoLogMount,
    InvalidAnnotation,
    ImageNotAllowed,
    LokiUrlNotAllowed,
    Drift,
    SteppedAside,
    FuseBlown,
    NoRoom,
    NameTaken,
    SidecarRestarts,
    RolloutStopped,
    ReservedNamespace,
    EvictionRefused,
    MayNotPush,
    RoleBindingOnly,
    BindingOfAnotherAccount,
    UnknownTenant,
    TokenRefused,
    NoToken,
    UntrustedCertificate,
    Unreachable,
    WrongPath,
    PlainHttp,
    NotLoki,
    GatewayCannotAsk,
    GatewayBusy,
    LokiUnavailable,
    StreamLimit,
    StreamRateLimit,
    IngestionRateLimit,
    LinesTooOld,
    LinesTooNew,
    IngestionBlocked,
    RequestRefused,
    Throttled,
    EntriesRejected,
    LogsUnreadable,
    NoLogDirectory,
    StateNotWritable,
    LossAhead,
    LinesLost,
    SettingsInvalid,
    StateInUse,
    ClockSkew,
    RuntimeConfigInvalid,
}
