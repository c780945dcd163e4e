//! The table of formats.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::level::{self, Level};
use super::parse;
use super::stamp::Stamp;

/// One format.
#[derive(Debug)]
struct Row {
    /// Its name in the documentation and the position record.
    name: &'static str,
    /// Reads the timestamp of a line.
    timestamp: fn(&[u8]) -> Option<Stamp>,
    /// Reads the level of an entry.
    level: fn(&[u8]) -> Option<Level>,
    /// Whether such a line starts an entry in every file. Otherwise it may be part of another program's entry: some programs print
    /// a number or an object on a separate line.
    distinct: bool,
}

/// The table. A new row needs a sample in `tests/formats`.
static FORMATS: &[Row] = &[
    // 3) 2026-02-20 22:31:07.002 [1623] INF dmc.app (App@dmcproxy.cpp:959) - ...; the running number is optional
    Row { name: "dmc", timestamp: parse::dmc, level: level::stamped, distinct: true },
    // 2026-02-20 22:32:39,415 INFO cnm_http: ...; supervisord, the event log and the syncer write theirs alike
    Row { name: "python", timestamp: parse::python, level: level::stamped, distinct: true },
    // 612:M 20 Feb 2026 22:30:41.120 * Ready to accept connections unix
    Row { name: "redis", timestamp: parse::redis, level: level::redis, distinct: true },
    // 3725842:signal-handler (1771627477) Received SIGTERM scheduling shutdown...
    Row { name: "redis-signal", timestamp: parse::redis_signal_handler, level: level::unknown, distinct: true },
    // [2026-02-20T22:32:39.415Z] "POST /v1/bdbs HTTP/1.1" 200 ...
    Row { name: "envoy-access", timestamp: parse::envoy_access, level: level::unknown, distinct: true },
    // [2026-02-20 22:30:49.118][1544][info][main] ...
    Row { name: "envoy", timestamp: parse::envoy, level: level::bracketed, distinct: true },
    // ts=2026-02-20T22:30:50.412Z caller=main.go:297 ...; also time="...", after other fields or before them
    Row { name: "logfmt", timestamp: parse::logfmt, level: level::logfmt, distinct: true },
    // 2026/02/20 22:31:02.118 INFO sentinel_service ...
    Row { name: "go", timestamp: parse::golog, level: level::stamped, distinct: true },
    // I0220 22:31:02.118123    1544 main.go:12] ...
    Row { name: "glog", timestamp: parse::glog, level: level::glog, distinct: true },
    // 2026-02-20T22:31:03.500512Z  INFO heartbeatd::gossip: ...
    Row { name: "rfc3339", timestamp: parse::rfc3339_first, level: level::stamped, distinct: true },
    // Feb 20 22:31:04 UDP server bound to 0.0.0.0:5353
    Row { name: "syslog", timestamp: parse::syslog, level: level::unknown, distinct: true },
    // {"level":"info","ts":1771626650.412,"msg":"..."}
    Row { name: "json", timestamp: parse::json, level: level::json, distinct: false },
    // 1771626650.412 ...
    Row { name: "epoch", timestamp: parse::epoch_first, level: level::unknown, distinct: false },
    // 1771626650,node:1,0.25; also 2026-02-20T22:30:50Z,...
    Row { name: "csv", timestamp: parse::csv, level: level::unknown, distinct: false },
];

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Format(&'static Row);

impl Format {
    /// All formats.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(Self)
    }

    /// The timestamp of `line`, if it has this format.
    pub(super) fn stamp(self, line: &[u8]) -> Option<Stamp> {
        (self.0.timestamp)(line)
    }

    /// Its name in the documentation.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The level of an entry whose first line has this format.
    pub fn level(self, text: &[u8]) -> Option<Level> {
        (self.0.level)(text)
    }

    /// Whether a line of this format starts an entry in every file.
    pub(crate) fn is_distinct(self) -> bool {
        self.0.distinct
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Reads the format in a position record. `None` if this version does not have it.
pub(crate) fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Format>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(Format::all().find(|format| name.as_deref() == Some(format.name())))
}
