//! `run --once`: ships what is there for a person who waits, with a progress bar on a terminal, and a summary at the end.
//!
//! With a state directory it ships from the positions on, as the sidecar does. Without one, it ships complete files from their
//! start: those of a directory, rotated ones included, or of a support package.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::summary::{Summary, seconds};
use crate::pipeline::{Complete, Shipper};
use crate::settings::Settings;
use crate::tally::Tally;

/// How often the progress bar is drawn.
const TICK: Duration = Duration::from_millis(100);
/// The default of Loki's `reject_old_samples_max_age`.
const LOKI_MAX_AGE: Duration = Duration::from_hours(168);

/// The progress bar: hidden until the bytes are known, and where standard error is no terminal.
pub(super) fn bar() -> ProgressBar {
    ProgressBar::hidden()
}

/// Ships, shows how far it is, and prints the summary. Returns 1 if anything was rejected or left.
pub(super) async fn run(settings: Settings, bar: ProgressBar, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    let mut summary = Summary::new(&settings);
    let (tally, metrics) = if settings.state_dir.is_none() || Complete::is_package(&settings) {
        let surveyed = shutdown.run_until_cancelled(Complete::survey(&settings)).await;
        let Some(complete) = surveyed.transpose()? else { return Ok(ExitCode::FAILURE) };
        summary.surveyed(&complete);
        let age = Age::of(complete.times(), settings.tail.max_age, Timestamp::now());
        if let Some(said) = age.said() {
            eprintln!("{said}");
        }
        if matches!(age, Age::TooOld(_)) {
            return Ok(ExitCode::FAILURE);
        }
        for note in &settings.notes {
            tracing::info!("{note}");
        }
        let (tally, metrics) = (complete.tally(), complete.metrics());
        show(&bar, &tally, Box::pin(complete.run(settings, shutdown))).await?;
        (tally, metrics)
    } else {
        let shipper = Shipper::start(settings).await;
        let (tally, metrics) = (shipper.tally(), shipper.metrics());
        show(&bar, &tally, Box::pin(shipper.run(shutdown))).await?;
        (tally, metrics)
    };
    bar.finish_and_clear();
    let is_clean = summary.print(&tally.counts(), &metrics)?;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Draws the bar while `shipping` goes on.
async fn show<T>(bar: &ProgressBar, tally: &Tally, shipping: impl Future<Output = T>) -> T {
    let ticks = async {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let (done, total, rejected) = tally.progress();
            bar.set_length(total.max(done));
            bar.set_position(done);
            bar.set_message(rejected.to_string());
        }
    };
    tokio::select! {
        ended = shipping => ended,
        () = ticks => unreachable!("the ticks never end"),
    }
}

/// Makes the bar visible on standard error.
pub(super) fn draw(bar: &ProgressBar) {
    let style = ProgressStyle::with_template(
        "{wide_bar} {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg} rejected",
    );
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message("0");
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
}

/// Writes log lines above the bar.
#[derive(Debug)]
pub(super) struct Above(pub(super) ProgressBar);

impl std::io::Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// What Loki would say about the age of the entries.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    /// Nothing.
    Accepted,
    /// It rejects old entries, unless its configuration says otherwise.
    NeedsConfiguration(Ages),
    /// The shipper skips some of them.
    PartlyTooOld(Ages),
    /// The shipper would skip all of them.
    TooOld(Ages),
}

/// The times that an [`Age`] rests on.
#[derive(Debug, PartialEq, Eq)]
struct Ages {
    oldest: Timestamp,
    newest: Timestamp,
    max_age: Duration,
    /// How old entries must be allowed to be, in hours.
    needed: i64,
}

impl Age {
    fn of(times: Option<(Timestamp, Timestamp)>, max_age: Duration, now: Timestamp) -> Self {
        let Some((oldest, newest)) = times else { return Self::Accepted };
        let is_older = |time: Timestamp, age: Duration| now.checked_sub(age).is_ok_and(|cut| time < cut);
        // Whole days, and one more: the entries are still young enough when they get there.
        let needed = (now.duration_since(oldest).as_hours() / 24 + 2) * 24;
        let ages = Ages { oldest, newest, max_age, needed };
        if is_older(newest, max_age) {
            Self::TooOld(ages)
        } else if is_older(oldest, max_age) {
            Self::PartlyTooOld(ages)
        } else if is_older(oldest, LOKI_MAX_AGE) {
            Self::NeedsConfiguration(ages)
        } else {
            Self::Accepted
        }
    }

    /// What there is to say and to do about it, before anything is pushed.
    fn said(&self) -> Option<String> {
        let configuration = |ages: &Ages| {
            let hours = ages.needed;
            format!(
                "set `reject_old_samples_max_age: {hours}h` (or `reject_old_samples: false`) in the limits_config of Loki"
            )
        };
        let fix = |ages: &Ages| {
            format!("to ship them, {}, and run again with --max-age {}h", configuration(ages), ages.needed)
        };
        let age = |ages: &Ages| format!("{}h", ages.max_age.as_secs().div_ceil(3600));
        Some(match self {
            Self::Accepted => return None,
            Self::TooOld(ages) => format!(
                "error: nothing is shipped: every entry is older than --max-age {}, the newest is of {}, and Loki rejects such entries by default; {}",
                age(ages),
                seconds(ages.newest),
                fix(ages)
            ),
            Self::PartlyTooOld(ages) => format!(
                "warning: entries older than --max-age {} are skipped, the oldest is of {}, and Loki rejects such entries by default; {}",
                age(ages),
                seconds(ages.oldest),
                fix(ages)
            ),
            Self::NeedsConfiguration(ages) => format!(
                "warning: the oldest entry is of {}, and Loki rejects entries older than 168h by default; {}",
                seconds(ages.oldest),
                configuration(ages)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(oldest_hours: u64, newest_hours: u64, max_age: u64) -> Age {
        let now: Timestamp = "2026-02-20T22:30:00Z".parse().unwrap();
        let before = |hours| now.checked_sub(Duration::from_hours(hours)).unwrap();
        Age::of(Some((before(oldest_hours), before(newest_hours))), Duration::from_hours(max_age), now)
    }

    #[test]
    fn says_before_the_first_push_what_loki_would_reject_and_what_to_do() {
        assert_eq!(of(100, 1, 168), Age::Accepted);
        assert_eq!(Age::of(None, Duration::ZERO, Timestamp::now()), Age::Accepted);
        let said = of(500, 400, 168).said().unwrap();
        assert!(said.starts_with(
            "error: nothing is shipped: every entry is older than --max-age 168h, the newest is of 2026-02-04T06:30:00Z"
        ));
        assert!(said.ends_with("`reject_old_samples_max_age: 528h` (or `reject_old_samples: false`) in the limits_config of Loki, and run again with --max-age 528h"), "{said}");
        // What it says to do helps.
        assert_eq!(
            of(500, 400, 528).said().unwrap(),
            "warning: the oldest entry is of 2026-01-31T02:30:00Z, and Loki rejects entries older than 168h by default; set `reject_old_samples_max_age: 528h` (or `reject_old_samples: false`) in the limits_config of Loki"
        );
        assert!(
            of(500, 1, 168)
                .said()
                .unwrap()
                .starts_with("warning: entries older than --max-age 168h are skipped, the oldest is of")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn shows_how_far_it_is() {
        let (bar, tally) = (bar(), Tally::default());
        tally.begin(100);
        let batch = crate::batch::Batch {
            read: 40,
            ..crate::batch::Batch::without_entries("a.log".into(), crate::state::Record::new(), None)
        };
        let rejected = crate::push::rejections::Rejections::of(crate::push::rejections::Reason::TooOld, 3);
        tally.acknowledged(&batch, &rejected);
        show(&bar, &tally, tokio::time::sleep(2 * TICK)).await;
        assert_eq!((bar.position(), bar.length(), bar.message().as_str()), (40, Some(100), "3"));
    }
}
