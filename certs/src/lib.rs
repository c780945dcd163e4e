//! Serving certificates: issued, read, and swapped while connections are served.
//!
//! ```text
//! issue (a CA of our own, a leaf) ─┐
//!                                  ├─ files: tls.crt tls.key ── read ── ServingCert ── every handshake
//! cert-manager, service CA, ... ───┘                              └── watched by content, the last good pair stays
//! ```

mod issue;
mod read;
mod serving;

pub use issue::{Authority, IssueError, PemPair};
pub use read::{CERT_FILE, KEY_FILE, ReadError, read_pair};
pub use serving::ServingCert;
