//! The client against a Loki in memory with scripted answers. It acknowledges only stored entries, and drops only rejected ones.
//! The clock is paused, so an hour passes in a moment.

mod acknowledges;
mod as_a_whole;
mod breaking_off;
mod drops_nothing;
mod goes_on;
mod holds;
mod names;
mod resends;
mod splits;
mod world;
