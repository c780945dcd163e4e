//! The commands: thin shells around what the other modules do.

pub(crate) mod check;
pub(crate) mod positions;
pub(crate) mod preview;
pub(crate) mod prove;
pub(crate) mod run;
mod running;
