//! The ServiceAccount token: read again when the kubelet rotates it.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use rustix::fs::OFlags;

use super::claims::Claims;

/// How long a token is used before its file is read again. If the gateway does not accept it, the file is read at once.
const FRESH: Duration = Duration::from_secs(5);

/// The limit of a token file. A token of Kubernetes has about 1 KiB, and no server accepts a header of this size.
const MAX_BYTES: u64 = 64 << 10;

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The file cannot be read.
    #[error("failed to read the token file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The content of the file cannot be sent in a header.
    #[error("invalid token in {0}: expected one line of visible ASCII")]
    Invalid(PathBuf),
}

/// The token in a file.
#[derive(Debug)]
pub(crate) struct Token {
    path: PathBuf,
    read: Option<(Instant, HeaderValue)>,
    sent: Option<HeaderValue>,
}

impl Token {
    /// The token in the file at `path`, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: None, sent: None }
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&mut self, now: Instant) -> Result<HeaderValue, TokenError> {
        if let Some((at, value)) = &self.read
            && now.saturating_duration_since(*at) < FRESH
        {
            return Ok(value.clone());
        }
        let token = read(&self.path).map_err(|source| TokenError::Read { path: self.path.clone(), source })?;
        let token = token.trim();
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .ok()
            .filter(|_| !token.is_empty())
            .ok_or_else(|| TokenError::Invalid(self.path.clone()))?;
        value.set_sensitive(true);
        self.read = Some((now, value.clone()));
        self.sent = Some(value.clone());
        Ok(value)
    }

    /// Reads the file again next time, because the gateway did not accept the token.
    pub(super) fn forget(&mut self) {
        self.read = None;
    }

    /// The header that was sent last.
    pub(super) fn sent(&self) -> Option<&HeaderValue> {
        self.sent.as_ref()
    }

    /// The claims of the token in the file, or `None` if the file holds something else.
    pub(crate) fn claims(&self) -> Option<Claims> {
        Claims::read(&read(&self.path).ok()?)
    }
}

/// Reads a regular file, up to the limit. Does not wait for the writer of a FIFO.
fn read(path: &Path) -> std::io::Result<String> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    let invalid = |why| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    if !file.metadata()?.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES { Err(invalid("it is larger than 64 KiB")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_a_rotated_token_after_a_while_or_once_the_old_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let (mut token, start) = (Token::new(path.clone()), Instant::now());
        assert_eq!(token.header(start).unwrap(), "Bearer one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(token.header(start).unwrap(), "Bearer one");
        assert_eq!(token.header(start + FRESH).unwrap(), "Bearer two");
        std::fs::write(&path, "three").unwrap();
        token.forget();
        assert_eq!(token.header(start + FRESH).unwrap(), "Bearer three");
    }

    #[test]
    fn refuses_an_invalid_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for text in ["", " \n", "one\ntwo"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Token::new(path.clone()).header(Instant::now()), Err(TokenError::Invalid(_))), "{text:?}");
        }
    }

    #[test]
    fn names_a_missing_file() {
        let error = Token::new("/nowhere/token".into()).header(Instant::now()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/token"));
    }

    #[test]
    fn reads_no_endless_file_and_waits_for_no_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::File::create(path("large")).unwrap().set_len(2 << 30).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        for (name, why) in [("large", "larger than 64 KiB"), ("fifo", "not a regular"), ("zero", "not a regular")] {
            let error = Token::new(path(name)).header(Instant::now()).unwrap_err();
            assert!(runtime::chain(&error).contains(why), "{error:?}");
            assert_eq!(Token::new(path(name)).claims(), None);
        }
    }
}
