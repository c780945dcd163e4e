//! What a person sees of a rollout: one line for each thing that happens, on standard error.

use std::io::Write;
use std::time::Duration;

/// The lines of a rollout.
#[derive(Debug)]
pub(crate) struct Progress<W> {
    out: W,
    waiting: Option<String>,
}

impl<W: Write> Progress<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, waiting: None }
    }

    /// Something happened.
    pub(crate) fn line(&mut self, text: &str) {
        self.waiting = None;
        self.write(text);
    }

    /// The rollout waits, for this reason. The same reason is written once.
    pub(crate) fn waits(&mut self, text: String) {
        if self.waiting.as_ref() != Some(&text) {
            self.write(&text);
            self.waiting = Some(text);
        }
    }

    fn write(&mut self, text: &str) {
        // A rollout does not end because nobody reads its progress.
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
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

    #[test]
    fn writes_a_reason_to_wait_once_until_something_happens() {
        let mut text = Vec::new();
        let mut progress = Progress::new(&mut text);
        for why in ["a", "a", "b", "a"] {
            progress.waits(why.to_owned());
        }
        progress.line("done");
        progress.waits("a".to_owned());
        assert_eq!(String::from_utf8(text).unwrap(), "a\nb\na\ndone\na\n");
    }

    #[test]
    fn says_durations_in_words() {
        let words = [59, 60, 90].map(|seconds| words(Duration::from_secs(seconds)));
        assert_eq!(words, ["59 s", "1 min", "1 min 30 s"]);
    }
}
