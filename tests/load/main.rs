//! `cargo load`: what the webhook costs. Work in progress.
fn main() {}
