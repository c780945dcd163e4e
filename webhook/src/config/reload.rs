//! The current configuration, replaced when the file's content changes. An invalid file keeps the last valid configuration.
//!
//! The kubelet replaces a mounted ConfigMap through a symlink, which file notifications miss. So the content is compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::file::ConfigError;
use super::types::Config;
use runtime::chain;

/// A configuration that follows its file.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    /// The content of the last check, valid or not.
    seen: String,
    current: Arc<ArcSwap<Config>>,
}

impl Reloader {
    /// Reads the file for the first time. An invalid file is an error, because there is no last valid one.
    pub fn read(path: PathBuf) -> Result<Self, ConfigError> {
        let seen = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let config = Config::parse(&path, &seen)?;
        Ok(Self { path, seen, current: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// The current configuration.
    pub fn current(&self) -> Arc<ArcSwap<Config>> {
        self.current.clone()
    }

    /// Checks the file once. `Ok(true)` means that its configuration is now in use. The same invalid content is an error
    /// only once.
    pub fn check(&mut self) -> Result<bool, ConfigError> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|source| ConfigError::Read { path: self.path.clone(), source })?;
        if text == self.seen {
            return Ok(false);
        }
        let parsed = Config::parse(&self.path, &text);
        self.seen = text;
        let parsed = parsed?;
        self.current.store(Arc::new(parsed));
        Ok(true)
    }

    /// Checks the file every `interval` until `shutdown`. Calls `report` with whether the file is in use.
    pub async fn watch(mut self, interval: Duration, report: impl Fn(bool), shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.check() {
                Ok(false) => {}
                Ok(true) => {
                    report(true);
                    tracing::info!(path = %self.path.display(), "using the new configuration");
                }
                Err(error) => {
                    report(false);
                    let error = chain(&error);
                    tracing::error!(error, "failed to use the new configuration; still using the last valid one");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_valid_configuration_and_reports_an_invalid_file_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("tenant: audit\n");
        let mut reloader = Reloader::read(path.clone()).unwrap();
        let current = reloader.current();
        assert_eq!(current.load().tenant, "audit");
        assert!(!reloader.check().unwrap());

        write("tennant: application\n");
        assert!(reloader.check().unwrap_err().to_string().contains("did you mean tenant?"));
        assert!(!reloader.check().unwrap(), "the same invalid content is an error once");
        assert_eq!(current.load().tenant, "audit");

        write("tenant: infrastructure\n");
        assert!(reloader.check().unwrap());
        assert_eq!(current.load().tenant, "infrastructure");
    }

    #[test]
    fn an_invalid_file_at_the_start_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "image: ''\n").unwrap();
        let error = Reloader::read(path).unwrap_err().to_string();
        assert!(error.contains("line 1: image: must not be empty"), "{error}");
    }
}
