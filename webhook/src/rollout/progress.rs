//! What a person sees of a rollout: one line for each thing that happens, on standard error. On a terminal, one more line counts the
//! time of a wait.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

/// Moves to the start of the line, and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// The lines of a rollout.
#[derive(Debug)]
pub(crate) struct Progress<W: Write> {
    out: W,
    is_terminal: bool,
    waiting: Option<(String, Instant)>,
}

impl<W: Write> Progress<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W, is_terminal: bool) -> Self {
        Self { out, is_terminal, waiting: None }
    }

    /// Something happened.
    pub(crate) fn line(&mut self, text: &str) {
        self.end_wait();
        self.write(&format!("{text}\n"));
    }

    /// The rollout waits, for this reason. The same reason is written once.
    pub(crate) fn waits(&mut self, text: String) {
        let since = match self.waiting.take() {
            Some((before, since)) if before == text => since,
            before => {
                self.waiting = before;
                self.line(&text);
                Instant::now()
            }
        };
        if self.is_terminal {
            self.write(&format!("{CLEAR}  for {}", words(since.elapsed())));
        }
        self.waiting = Some((text, since));
    }

    /// The wait is over: removes the line that counts its time.
    pub(crate) fn end_wait(&mut self) {
        if self.waiting.take().is_some() && self.is_terminal {
            self.write(CLEAR);
        }
    }

    fn write(&mut self, text: &str) {
        // A rollout does not end because nobody reads its progress.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// A duration in whole seconds or minutes.
pub(super) fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(is_terminal: bool) -> String {
        let mut text = Vec::new();
        let mut progress = Progress::new(&mut text, is_terminal);
        for why in ["a", "a", "b"] {
            progress.waits(why.to_owned());
            tokio::time::advance(Duration::from_secs(61)).await;
        }
        progress.line("done");
        progress.waits("b".to_owned());
        progress.end_wait();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn writes_a_reason_to_wait_once_until_something_happens() {
        assert_eq!(written(false).await, "a\nb\ndone\nb\n");
    }

    #[tokio::test(start_paused = true)]
    async fn counts_the_time_of_a_wait_on_a_terminal_and_leaves_no_trace_of_it() {
        let counted = written(true).await.replace(CLEAR, "|");
        assert_eq!(counted, "a\n|  for 0 s|  for 1 min 1 s|b\n|  for 0 s|done\nb\n|  for 0 s|");
    }

    #[test]
    fn says_durations_in_words() {
        let words = [59, 60, 90].map(|seconds| words(Duration::from_secs(seconds)));
        assert_eq!(words, ["59 s", "1 min", "1 min 30 s"]);
    }
}
