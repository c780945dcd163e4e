//! Writes log files to measure with: lines of dmcproxy and of Python, with some tracebacks and a clock of their own.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use harness::writer::FILES;
use jiff::{SignedDuration, Timestamp};

/// The age of the first line. Recent enough that no line is too old to ship.
const AGO: SignedDuration = SignedDuration::from_hours(2);
/// One of this many Python entries is a traceback.
const FAILS: u64 = 50;

/// The written lines and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Logs {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Writes all of [`FILES`] with the same size each and `bytes` in total: half in dmcproxy's format, half in Python's.
pub(crate) fn write(dir: &Path, bytes: u64) -> anyhow::Result<Logs> {
    let mut logs = Logs::default();
    for (index, (stem, _)) in (0_u64..).zip(FILES) {
        let mut file = BufWriter::new(File::create(dir.join(format!("{stem}.log")))?);
        let share = bytes / FILES.len() as u64;
        let mut dice = Dice(index + 1);
        let (start, mut size, mut number) = (Timestamp::now().checked_sub(AGO)?, 0, 0_u64);
        while size < share {
            number += 1;
            let at = start.checked_add(Duration::from_millis(number))?;
            let text = if index.is_multiple_of(2) { dmc(at, number, &mut dice) } else { python(at, number, &mut dice) };
            file.write_all(text.as_bytes())?;
            size += text.len() as u64;
            logs.entries += 1;
        }
        logs.bytes += size;
        file.flush()?;
    }
    Ok(logs)
}

fn dmc(at: Timestamp, number: u64, dice: &mut Dice) -> String {
    let at = at.strftime("%Y-%m-%d %H:%M:%S.%3f");
    let (thread, db, shard) = (1600 + dice.below(32), 1 + dice.below(9), dice.below(64));
    let (host, port) = (dice.below(250), 30_000 + dice.below(30_000));
    match dice.below(3) {
        0 => format!(
            "{number}) {at} [{thread}] INF dmc.conn (accept@listener.cpp:118) - bdb:{db} client 10.128.2.{host}:{port} connected, {shard} connections\n"
        ),
        1 => format!(
            "{number}) {at} [{thread}] WRN dmc.conn (handshake@tls_conn.cpp:187) - bdb:{db} TLS handshake failed, client=10.128.2.{host}:{port} error=tlsv1 alert unknown ca\n"
        ),
        _ => format!(
            "{number}) {at} [{thread}] ERR dmc.shard (connect@shard_conn.cpp:331) - redis:{shard} connection to 10.129.0.{host}:{port} failed: Connection refused\n"
        ),
    }
}

fn python(at: Timestamp, number: u64, dice: &mut Dice) -> String {
    let at = at.strftime("%Y-%m-%d %H:%M:%S,%3f");
    let (db, host, millis) = (1 + dice.below(9), dice.below(250), dice.below(900));
    if number.is_multiple_of(FAILS) {
        return format!(
            "{at} ERROR cnm_http: Unhandled exception in PUT /v1/bdbs/{db}\nTraceback (most recent call last):\n  \
             File \"/opt/redislabs/lib/cnm/http_services/cluster_api/bdb_handler.py\", line {millis}, in put\n    \
             self.validate(params)\nValueError: invalid memory_size\n"
        );
    }
    format!(
        "{at} INFO cnm_http MainThread: GET /v1/bdbs/{db}/stats/last user=demo@redis.com remote=10.128.2.{host} request={number} status=200 ({millis} ms)\n"
    )
}

/// Pseudo-random numbers, the same in every run (a 64-bit xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
