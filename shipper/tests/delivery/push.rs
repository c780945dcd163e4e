//! The client against a Loki in memory that answers as it is told: nothing is acknowledged that is not stored, nothing is
//! dropped but what nobody takes. The clock is paused: an hour passes in a moment.

mod acknowledges;
mod as_a_whole;
mod breaking_off;
mod drops_nothing;
mod goes_on;
mod holds;
mod resends;
mod splits;
mod world;
