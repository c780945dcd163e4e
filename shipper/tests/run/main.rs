//! The program itself, as a container runs it: its faults, its end and its messages.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod checking;
mod invalid_settings;
mod missing_resources;
mod previewing;
mod reloading;
mod shipping_once;
mod shutdown_during_an_outage;
mod status_and_metrics;
mod with_a_state_directory;
mod with_a_stream_that_loki_refuses;
mod world;
