//! The ServiceAccount token: read anew as the kubelet rotates it, and asked who it is for when something is wrong.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderValue;
use rustix::fs::OFlags;

/// A token file is read at most this often, unless the gateway did not like the token.
const FRESH: Duration = Duration::from_secs(5);

/// No token is longer. Those of Kubernetes have about 1 KiB, and no server takes a header of this size.
const MOST_BYTES: u64 = 64 << 10;

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// The file cannot be read.
    #[error("failed to read the token file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// What the file holds cannot be sent in a header.
    #[error("invalid token in {0}: expected one line of visible ASCII")]
    Invalid(PathBuf),
}

/// The token in a file.
#[derive(Debug)]
pub(super) struct Token {
    path: PathBuf,
    read: Option<(Instant, HeaderValue)>,
    sent: Option<HeaderValue>,
}

impl Token {
    /// The token in the file at `path`, which need not exist yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: None, sent: None }
    }

    /// The value of the `Authorization` header.
    pub(super) fn header(&mut self, now: Instant) -> Result<HeaderValue, TokenError> {
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

    /// Reads the file again next time: the gateway did not accept what it held.
    pub(super) fn forget(&mut self) {
        self.read = None;
    }

    /// The header that was sent last.
    pub(super) fn sent(&self) -> Option<&HeaderValue> {
        self.sent.as_ref()
    }

    /// Whether the token says that its time is over. One that says nothing about it has not expired.
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        let expires = self.claims().and_then(|claims| claims.get("exp")?.as_u64());
        expires.is_some_and(|seconds| now >= UNIX_EPOCH + Duration::from_secs(seconds.min(u64::from(u32::MAX))))
    }

    /// Whom the token is for (`system:serviceaccount:NAMESPACE:NAME`), as it says itself.
    pub(super) fn subject(&self) -> Option<String> {
        Some(self.claims()?.get("sub")?.as_str()?.to_owned())
    }

    /// What the token in the file says of itself.
    fn claims(&self) -> Option<serde_json::Value> {
        let token = read(&self.path).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }
}

/// What a regular file holds, up to a bound. Nobody waits for the writer of a FIFO.
fn read(path: &Path) -> std::io::Result<String> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    let invalid = |why| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    if !file.metadata()?.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES { Err(invalid("it is larger than 64 KiB")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(subject: &str) -> String {
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"{subject}"}}"#));
        format!("e30.{claims}.sig\n")
    }

    #[test]
    fn sends_a_rotated_token_after_a_while_or_as_soon_as_the_old_one_was_refused() {
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
    fn knows_whom_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, jwt("system:serviceaccount:redis:rec")).unwrap();
        assert_eq!(Token::new(path).subject().as_deref(), Some("system:serviceaccount:redis:rec"));
    }

    #[test]
    fn sends_no_token_that_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for bad in ["", " \n", "one\ntwo"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(Token::new(path.clone()).header(Instant::now()), Err(TokenError::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn names_the_file_that_is_missing() {
        let error = Token::new("/nowhere/token".into()).header(Instant::now()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/token"));
    }

    #[test]
    fn reads_no_token_that_has_no_end_and_waits_for_no_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::File::create(path("large")).unwrap().set_len(2 << 30).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        for (name, why) in [("large", "larger than 64 KiB"), ("fifo", "not a regular"), ("zero", "not a regular")] {
            let error = Token::new(path(name)).header(Instant::now()).unwrap_err();
            assert!(runtime::chain(&error).contains(why), "{error:?}");
            assert_eq!(Token::new(path(name)).subject(), None);
        }
    }
}
