//! What is told of a watch: that it broke off, once until it goes on again.

use kube::runtime::watcher;

use runtime::chain;

/// One watch.
#[derive(Debug)]
pub(super) struct Watching {
    /// What is watched, as `kubectl` names it.
    what: &'static str,
    is_broken: bool,
}

impl Watching {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_broken: false }
    }

    /// The watch shows what happens.
    pub(super) fn goes_on(&mut self) {
        self.is_broken = false;
    }

    /// The watch ended with an error, and is started again.
    pub(super) fn broke_off(&mut self, error: &watcher::Error) {
        if std::mem::replace(&mut self.is_broken, true) {
            return;
        }
        let (what, error) = (self.what, chain(error));
        tracing::warn!(
            what,
            error,
            "failed to watch; stepping aside, limits and fuses do not work until it succeeds; the component step-aside contains the permission"
        );
    }
}
