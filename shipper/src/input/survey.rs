//! Reads complete files before anything of them is pushed: how much there is, in which order, and from when.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};

use jiff::tz::TimeZone;

use super::files::order;
use super::package::{LeftOut, Member, nodes};
use super::source::{Source, SourceError, folders};
use crate::discover::rotation;
use crate::formats::{Reference, TimeReader};

/// So much of the beginning and of the end of a file is searched for timestamps.
const SEARCHED: usize = 64 << 10;

/// What there is to ship.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The log files, each with its files in the order of reading.
    pub(crate) streams: Vec<StreamPlan>,
    /// The bytes of all files, decompressed.
    pub(crate) bytes: u64,
    /// The oldest and the newest timestamp that was found, in nanoseconds since 1970 UTC.
    pub(crate) times: Option<(i64, i64)>,
    /// What is left out, by reason.
    pub(crate) left_out: LeftOut,
}

/// One log file of one node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StreamPlan {
    /// The node, if the files are in folders.
    pub(crate) node: Option<String>,
    /// The name of the live file.
    pub(crate) live: String,
    /// The paths of its files, the oldest first.
    pub(crate) files: VecDeque<String>,
}

impl Survey {
    /// Reads all files of `source`. `now` is the wall clock, in nanoseconds since 1970 UTC.
    pub(crate) fn of(source: &Source, zone: &TimeZone, now: i64) -> Result<Self, SourceError> {
        let mut survey = Self::default();
        let mut found: Vec<Member> = Vec::new();
        let left_out = source.visit(&mut |_| true, &mut |member, bytes| {
            let (len, times) = ends(bytes, zone, now)?;
            found.push(member.clone());
            survey.bytes += len;
            if let Some((first, last)) = times {
                let times = survey.times.get_or_insert((first, last));
                *times = (times.0.min(first), times.1.max(last));
            }
            Ok(())
        })?;
        survey.left_out = left_out;
        survey.streams = plan(&found);
        Ok(survey)
    }
}

/// The log files, by node and name.
fn plan(found: &[Member]) -> Vec<StreamPlan> {
    let nodes = nodes(&folders(found.iter()));
    let mut streams = BTreeMap::<(Option<String>, String), Vec<_>>::new();
    for member in found {
        let node = nodes.get(&member.folder).filter(|node| !node.is_empty()).cloned();
        let live = rotation(&member.name).map_or(member.name.as_str(), |(live, _)| live).to_owned();
        streams.entry((node, live)).or_default().push((order(&member.name), member.path()));
    }
    let plan = |((node, live), mut files): ((_, _), Vec<_>)| {
        files.sort();
        StreamPlan { node, live, files: files.into_iter().map(|(_, path)| path).collect() }
    };
    streams.into_iter().map(plan).collect()
}

/// The number of bytes, and the first timestamp of the beginning and the last one of the end.
fn ends(bytes: &mut dyn Read, zone: &TimeZone, now: i64) -> io::Result<(u64, Option<(i64, i64)>)> {
    let mut beginning = Vec::new();
    let mut len = bytes.take(SEARCHED as u64).read_to_end(&mut beginning)? as u64;
    let (mut end, mut buffer) = (Vec::new(), vec![0; SEARCHED]);
    loop {
        let read = match bytes.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        len += read as u64;
        end.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let over = end.len().saturating_sub(SEARCHED);
        end.drain(..over);
    }
    let mut times = TimeReader::new(zone.clone());
    let first = beginning.split(|byte| *byte == b'\n').find_map(|line| time(&mut times, line, now));
    let end = if end.is_empty() { &beginning } else { &end };
    let last = end.rsplit(|byte| *byte == b'\n').find_map(|line| time(&mut times, line, now));
    Ok((len, first.or(last).zip(last.or(first))))
}

fn time(times: &mut TimeReader, line: &[u8], now: i64) -> Option<i64> {
    let timestamp = times.read(line)?;
    times.resolve(timestamp, Reference::Before(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str) -> Member {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Member { folder: folder.to_owned(), name: name.to_owned(), modified: None }
    }

    #[test]
    fn plans_each_log_file_of_each_node_from_its_oldest_rotated_file_on() {
        let paths =
            ["d/node_1/logs/a.log", "d/node_1/logs/a.log.1", "d/node_1/logs/a.log.10.gz", "d/node_2/logs/a.log"];
        let found: Vec<_> = paths.iter().map(|path| member(path)).collect();
        let planned = |node: &str, files: &[usize]| StreamPlan {
            node: Some(node.to_owned()),
            live: "a.log".to_owned(),
            files: files.iter().map(|at| paths[*at].to_owned()).collect(),
        };
        assert_eq!(plan(&found), [planned("node_1", &[2, 1, 0]), planned("node_2", &[3])]);
        assert_eq!(plan(&[member("a.log")])[0].node, None);
    }

    #[test]
    fn finds_the_first_and_the_last_timestamp_and_reads_everything() {
        let of = |text: &str| ends(&mut text.as_bytes(), &TimeZone::UTC, 1_800_000_000_000_000_000).unwrap();
        let line = |second: u32| format!("2026-02-20 22:31:{second:02},000 INFO x\n");
        let long = format!("x\n{}{}{}y\n", line(1), "z\n".repeat(200_000), line(2));
        let (len, times) = of(&long);
        assert_eq!(len, long.len() as u64);
        assert_eq!(times, Some((1_771_626_661_000_000_000, 1_771_626_662_000_000_000)));
        assert_eq!(of("x\n").1, None);
    }
}
