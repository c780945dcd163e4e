//! The names of the streams that Loki refuses. The reader and the pusher share them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::tail::Tail;

/// The streams that are set aside.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside(Arc<Mutex<BTreeSet<Arc<str>>>>);

impl Aside {
    /// Replaces the names.
    pub(super) fn set(&self, names: impl Iterator<Item = Arc<str>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = names.collect();
    }

    /// Makes the tail hold these streams, and no others.
    pub(super) fn hold(&self, tail: &mut Tail) {
        tail.hold(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
