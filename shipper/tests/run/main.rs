//! The program itself, as a container runs it: its faults, its end and its messages.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod checking;
mod previewing;
mod telling_how_it_is;
mod told_to_end_during_an_outage;
mod with_a_state_directory;
mod with_a_stream_that_loki_refuses;
mod with_settings_it_cannot_use;
mod without_what_it_needs;
mod world;
