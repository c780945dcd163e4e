//! The shipper: follows the log files of one pod and pushes their lines to Loki, losing none and showing none twice.
//!
//! ```text
//! discover ── tail ── lines ── entries ── batch ── encode ──► push ── acknowledge ── position
//!    │          │                 │                             │
//!  globs     identity,         formats                     answer: what
//!            rotated           (timestamps)                Loki meant
//! └───────────── reads: one task ─────────────┘└── bounded ──┘└─── pushes: one task ───┘
//! ```
//!
//! The log directory is the only buffer. A batch is filled straight from the file when it is due, so what is waiting
//! stays where it is safe, and memory is the size of a few batches whatever happens.

pub mod admin;
pub mod answer;
pub mod args;
pub mod batch;
mod commands;
pub mod decode;
pub mod discover;
mod encode;
pub mod entries;
pub mod file_metrics;
pub mod formats;
mod journal;
pub mod labels;
pub mod lines;
pub mod metrics;
pub mod pipeline;
mod plausible;
pub mod position;
pub mod push;
pub mod rejections;
pub mod settings;
mod state_dir;
mod state_home;
pub mod state_lock;
pub mod tail;
pub mod token;

pub use args::{Args, run};
