//! The log of a watch: one warning when it fails, and no other until it works again.

use kube::runtime::watcher;

use runtime::chain;

/// One watch.
#[derive(Debug)]
pub(super) struct Watching {
    /// The watched resource, as `kubectl` names it.
    what: &'static str,
    is_broken: bool,
}

impl Watching {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, is_broken: false }
    }

    /// Records that the watch works.
    pub(super) fn goes_on(&mut self) {
        self.is_broken = false;
    }

    /// Records that the watch failed. It is started again.
    pub(super) fn broke_off(&mut self, error: &watcher::Error) {
        if std::mem::replace(&mut self.is_broken, true) {
            return;
        }
        let (what, error) = (self.what, chain(error));
        tracing::warn!(
            what,
            error,
            "failed to watch; stepping aside, limits and fuses do not work until it succeeds; the component \
             step-aside contains the permission"
        );
    }
}
