//! Pushes batches to Loki, one after the other, each until Loki has stored or rejected all of its entries.
//!
//! ```text
//! loki ── pieces ── rate ── client ── answer ──► stored, or rejected for good
//!           ▲                           │
//!           └── judge: split, strip ────┤
//!           ▲                           │
//!           └──────── patience ◄────────┘ trouble: the same bytes later
//! ```
//!
//! The client never gives up. It drops an entry only where Loki stores its neighbors and refuses this entry.

pub mod answer;
mod claims;
mod client;
pub mod decode;
mod fault;
mod finding;
mod judge;
mod loki;
mod metered;
mod patience;
mod pieces;
mod probe;
mod rate;
pub mod rejections;
mod secrets;
mod settings;
mod token;
mod trust;

pub(crate) use claims::Claims;
pub(crate) use client::ahead_seconds;
pub use fault::ConnectionFault;
pub use finding::Failure;
pub(crate) use finding::{not_reached, rejection, wrong_clock};
pub use loki::{Loki, Outcome, Parcel};
pub use metered::{BoxError, Dial, Wire};
pub(crate) use probe::{Probe, probe};
pub use rate::RateLimit;
pub(crate) use secrets::shown_url;
pub use settings::PushSettings;
pub(crate) use token::{Token, TokenError};
pub(crate) use trust::roots;
