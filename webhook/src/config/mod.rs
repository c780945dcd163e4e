//! The webhook's configuration: one YAML file, every key with a default, all faults reported together.
//!
//! ```text
//! file ── read ── tree (keys with their lines)        types ◄── the users of the configuration
//!   ▲       └──── checks, words, quantity               (words, quantity)
//! reload
//! ```

mod checks;
mod file;
mod quantity;
mod read;
pub mod reload;
mod types;
mod words;

pub(crate) use checks::{drain_timeout, drop_rule, glob, image, is_allowed, redaction_rule, tenant, url, zone};
pub use file::ConfigError;
pub use quantity::Quantity;
pub use runtime::tree::Fault;
pub use types::{CaSource, Config, MIN_TOKEN_SECONDS, Matching, Resources, Token};
pub use words::{PullPolicy, Seccomp, SidecarMode, State};
