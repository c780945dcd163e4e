//! `prove`: compares the acknowledged lines with the lines that Loki shows, and finds the first difference.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::{Span, SpanRelativeTo, Timestamp};
use runtime::printable;

use super::positions::load;
use super::run::RunArgs;
use super::running::with_settings;
use crate::pipeline::apply_runtime_config;
use crate::prove::{Difference, Files, Kind, MILLISECOND, Query, Range, Totals, add_shown};
use crate::settings::Settings;
use crate::state::Record;
use crate::state::home::Home;

/// How many characters of a line are shown.
const SHOWN: usize = 200;

/// The flags of `prove`: those of `run`, and a time range.
#[derive(Clone, Debug, clap::Args)]
pub struct ProveArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Where the time range starts: a timestamp such as 2026-02-20T22:30:00Z, or a duration before now such as 1h.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    from: String,
    /// Where the time range ends, in the same form.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    to: String,
}

/// Runs the command.
pub(crate) fn run(args: &ProveArgs) -> anyhow::Result<ExitCode> {
    let args = &with_settings(args.clone(), |args| &args.run).0;
    let mut settings = Settings::new(&args.run)?;
    let now = Timestamp::now();
    let range = Range { from: nanos(time("--from", &args.from, now)?)?, to: nanos(time("--to", &args.to, now)?)? };
    if range.from >= range.to {
        bail!("invalid --from {:?}: expected a time before --to {:?}", args.from, args.to);
    }
    let Some(state_dir) = settings.state_dir.clone() else {
        bail!("--state-dir is missing: expected the state directory of the shipper, which holds the positions");
    };
    runtime::tls::install_crypto_provider();
    let (_, record) = load(Home::new(Some(state_dir), settings.state_fallback_dir.clone()))?;
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (table, good) = threads.block_on(async {
        apply_runtime_config(&mut settings).await;
        prove(&settings, &record, range).await
    })?;
    std::io::stdout().lock().write_all(table.as_bytes())?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The result as text, and whether there is no difference.
async fn prove(settings: &Settings, record: &Record, range: Range) -> anyhow::Result<(String, bool)> {
    let (timed, untimed): (Record, Record) = record.clone().into_iter().partition(|(_, stream)| stream.chain.timed);
    let files = Files { discovery: &settings.discovery, settings: &settings.tail, record: &timed };
    let mut query = Query::new(&settings.push)?;
    let (mut rows, mut first) = (Vec::new(), None::<(Difference, String)>);
    let (mut sum, mut stored_twice) = (Totals::default(), 0);
    for (stream, mut tally) in files.tallies(range)? {
        let entries = add_shown(&mut tally, &mut query, &stream, range).await?;
        let counted = query.count(&stream, range).await?;
        let totals = tally.totals();
        sum += totals;
        stored_twice += counted.saturating_sub(entries);
        if let Some(difference) = tally.first_difference()
            && first.as_ref().is_none_or(|(first, _)| difference.time < first.time)
        {
            first = Some((difference, stream.clone()));
        }
        rows.push(row(&stream, totals, entries, counted));
    }
    let mut text = table(&rows);
    for name in untimed.keys() {
        writeln!(text, "{}: not compared, because its lines have no timestamps", printable(name))?;
    }
    let (from, to) = (stamp(range.from), stamp(range.to));
    writeln!(text, "lost {}, doubled {}, from {from} to {to}", sum.lost, sum.doubled)?;
    if sum.without_file > 0 {
        writeln!(text, "{} shown lines are in no file any more", sum.without_file)?;
    }
    if stored_twice > 0 {
        writeln!(text, "{stored_twice} entries are stored twice and shown once: metric queries count them twice")?;
    }
    if let Some((difference, stream)) = &first {
        text.push_str(&explained(*difference, stream, &files)?);
    }
    Ok((text, first.is_none()))
}

/// The first difference with its time and its line.
fn explained(difference: Difference, stream: &str, files: &Files<'_>) -> anyhow::Result<String> {
    let line = files.line(stream, difference.hash)?.unwrap_or_default();
    let line: String = line.chars().take(SHOWN).collect();
    let kind = match difference.kind {
        Kind::Lost => "a lost line",
        Kind::Doubled => "a doubled line",
    };
    Ok(format!(
        "the first difference is {kind} at {} in {}: {}\n",
        stamp(difference.time),
        printable(stream),
        printable(&line)
    ))
}

const HEAD: [&str; 7] = ["LINES", "SHOWN", "LOST", "DOUBLED", "ENTRIES", "COUNTED", "STREAM"];

fn row(stream: &str, totals: Totals, entries: u64, counted: u64) -> [String; 7] {
    let Totals { acknowledged, shown, lost, doubled, .. } = totals;
    let [acknowledged, shown, lost, doubled, entries, counted] =
        [acknowledged, shown, lost, doubled, entries, counted].map(|number| number.to_string());
    [acknowledged, shown, lost, doubled, entries, counted, printable(stream).into_owned()]
}

fn table(rows: &[[String; 7]]) -> String {
    let mut text = String::new();
    for cells in std::iter::once(&HEAD.map(ToOwned::to_owned)).chain(rows) {
        let [numbers @ .., stream] = cells;
        for number in numbers {
            // Writing to a String cannot fail.
            let _ = write!(text, "{number:>9}  ");
        }
        text.push_str(stream);
        text.push('\n');
    }
    text
}

/// A timestamp, or a duration before `now`.
fn time(flag: &str, given: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let before = |span: Span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    let ago = given.parse().ok().and_then(before).and_then(|ago| now.checked_sub(ago).ok());
    ago.or_else(|| given.parse().ok()).with_context(|| {
        format!("invalid {flag} {given:?}: expected a timestamp such as 2026-02-20T22:30:00Z, or a duration such as 1h")
    })
}

/// Whole milliseconds, in nanoseconds.
fn nanos(time: Timestamp) -> anyhow::Result<i64> {
    let nanos = i128::from(time.as_millisecond()) * i128::from(MILLISECOND);
    i64::try_from(nanos).context("invalid time range: expected times from 1678 to 2262")
}

fn stamp(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).map_or_else(|_| nanos.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_timestamp_or_a_duration_before_now() {
        let now: Timestamp = "2026-02-20T22:30:00Z".parse().unwrap();
        for (given, expected) in [
            ("1h", "2026-02-20T21:30:00Z"),
            ("0s", "2026-02-20T22:30:00Z"),
            ("2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ] {
            assert_eq!(time("--from", given, now).unwrap(), expected.parse().unwrap(), "{given}");
        }
        assert!(time("--from", "yesterday", now).unwrap_err().to_string().contains("--from \"yesterday\""));
    }

    #[test]
    fn shows_one_stream_a_row() {
        let totals = Totals { acknowledged: 1000, shown: 999, lost: 1, ..Totals::default() };
        let expected = "    LINES      SHOWN       LOST    DOUBLED    ENTRIES    COUNTED  STREAM
     1000        999          1          0        990        990  {log_file=\"dmcproxy\"}
";
        assert_eq!(table(&[row("{log_file=\"dmcproxy\"}", totals, 990, 990)]), expected);
    }
}
