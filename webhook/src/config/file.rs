//! The configuration file: read, parsed and checked, with all faults reported together.

use std::path::{Path, PathBuf};

use super::read;
use super::types::Config;
use runtime::tree::Fault;

/// Why a configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("invalid configuration {path}: {message}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The error, with its line.
        message: String,
    },
    /// Unknown keys and invalid values, all together.
    #[error("invalid configuration {path}: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults {
        /// The file.
        path: PathBuf,
        /// The faults, in the order of the file.
        faults: Vec<Fault>,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads and checks the file at `path`. Without a path, all defaults apply.
    pub fn read_or_default(path: Option<&Path>) -> Result<Self, ConfigError> {
        path.map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Checks the content of the file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (config, faults) =
            read::read(text).map_err(|message| ConfigError::Yaml { path: path.to_owned(), message })?;
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Faults { path: path.to_owned(), faults }) }
    }
}
