//! Formats the measurements.

use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

/// A distribution of durations, in microseconds with three digits.
#[derive(Debug)]
pub(crate) struct Durations(Histogram<u64>);

impl Durations {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    pub(crate) fn record(&mut self, duration: Duration) -> anyhow::Result<()> {
        Ok(self.0.record(u64::try_from(duration.as_micros())?)?)
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn mean_millis(&self) -> f64 {
        self.0.mean() / 1000.0
    }

    pub(crate) fn max_millis(&self) -> f64 {
        millis(self.0.max())
    }

    /// The quantile `share`: 0.5 is the median.
    pub(crate) fn quantile_millis(&self, quantile: f64) -> f64 {
        millis(self.0.value_at_quantile(quantile))
    }
}

fn millis(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1000.0
}

/// Writes a line of the result to standard output.
pub(crate) fn print(line: &str) {
    // A reader that closed the pipe needs no more output.
    let _ = writeln!(std::io::stdout(), "{line}");
}
