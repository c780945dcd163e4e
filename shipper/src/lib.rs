//! The shipper: follows the log files of one pod and pushes their lines to Loki. It loses no line and shows none twice.
//!
//! ```text
//! discover ── tail ── lines ── texts ── entries ── batch ── encode ──► push ── acknowledge ──► state
//!    │          │                 │  │                                  │                  (positions)
//!  globs     identity,       formats redaction, drop                 answer: what
//!            rotated  (timestamps, levels)                           Loki meant
//! └───────────── reads: one task ──────────────────────┘└─ bounded ─┘└──────── pushes: one task ──────┘
//! ```
//!
//! `extract` makes entries of bytes: lines, texts, redaction, times and drop rules in one pass.
//! `input` reads complete files for `preview` and `run --once`, which `tally` counts for.
//! `check` asks whether lines can be shipped from here, and `prove` compares the files with what Loki shows.
//! `commands` start here, `settings` parses their flags, `pipeline` wires the stages. `status`, `metrics` and `admin` tell
//! others how it goes.
//!
//! The log directory is the only buffer. A batch is filled from the files when it is due. Lines that wait stay in their file,
//! and the process holds a few batches, however many lines wait.

pub mod admin;
pub mod args;
pub mod batch;
mod check;
mod commands;
pub mod discover;
pub mod drop;
mod encode;
pub mod entries;
mod extract;
pub mod formats;
mod input;
pub mod labels;
pub mod lines;
pub mod metrics;
pub mod pipeline;
mod plain;
mod prove;
pub mod push;
pub mod redaction;
pub mod runtime_config;
pub mod settings;
pub mod state;
pub mod status;
pub mod tail;
pub mod tally;
pub mod texts;

pub use args::{Args, run};

#[cfg(test)]
mod tests {
    #[test]
    fn modules_use_each_other_in_one_direction_only() {
        assert_eq!(testing::imports::circles(env!("CARGO_MANIFEST_DIR")), [""; 0]);
    }
}
