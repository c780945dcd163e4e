//! The state that outlives a restart: how far Loki has acknowledged each file.
//!
//! ```text
//! record ──► store (positions.json, once a second) ──┐
//!    └─────► journal (each acknowledgement) ─────────┴──► dir: the state directory
//! home: the state directory or the fallback, under one lock       plausible: refuses damaged records
//! ```

mod dir;
pub(crate) mod home;
pub(crate) mod journal;
mod lock;
pub(crate) mod plausible;
mod record;
mod store;

pub use lock::LockError;
pub use record::{Clocked, GenerationRecord, Record, StreamRecord};
pub use store::{FILE, OLD_FILE, PositionError};
