//! Serving certificates: issued, read, and replaced while connections are served.
//!
//! ```text
//! issue (our own CA, a leaf) ─────── rotation (when) ── secret (one for all replicas) ─┐
//!                                                                                      ├─ ServingCert ── every handshake
//! cert-manager, service CA, a person ── files: tls.crt tls.key ── read ────────────────┘   └ the last valid pair stays
//!
//! trust: whether a client accepts a certificate, for diagnosis
//! ```

mod clients;
mod issue;
mod read;
mod rotation;
mod secret;
mod serving;
mod trust;

pub use clients::{ClientsError, client_verifier};
pub use issue::{Authority, IssueError, PemPair};
pub use read::{CERT_FILE, KEY_FILE, ReadError, read_pair};
pub use rotation::{CaKey, Change, Kept, Lifetimes, next};
pub use secret::{KeepError, SelfSigned};
pub use serving::{CertificateSource, ServingCert, SourceError};
pub use trust::{Distrust, Validity, validity, verify};

#[cfg(test)]
mod tests {
    #[test]
    fn modules_use_each_other_in_one_direction_only() {
        assert_eq!(testing::imports::circles(env!("CARGO_MANIFEST_DIR")), [""; 0]);
    }
}
