//! A program's log, kept in memory.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};

/// Two subscribers that live as long as the process.
///
/// If a process has only one subscriber, `tracing` asks the first thread that reaches an event whether it is recorded, and
/// caches the answer for all threads. A test without a log would then silence the event for a test that reads its log. If there
/// are several subscribers, `tracing` asks all of them.
static OTHERS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::default())));

/// The log of one thread.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Records this thread's events as text until the guard is dropped.
    pub fn listen(&self) -> DefaultGuard {
        LazyLock::force(&OTHERS);
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Returns what was recorded since the last call.
    ///
    /// # Panics
    /// Where the log is not UTF-8, or a writer has panicked.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_an_event_that_another_thread_without_a_log_reached_first() {
        let (log, event) = (Log::default(), || tracing::info!("reached"));
        let guard = log.listen();
        std::thread::spawn(event).join().unwrap();
        event();
        drop(guard);
        assert_eq!(log.take().matches("reached").count(), 1);
    }
}
