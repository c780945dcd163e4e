//! Opens the files of a stream at their start, to read them once more.

use super::super::generation::Kind;
use super::Stream;
use crate::discover::Found;
use crate::entries::Chain;
use crate::state::{GenerationRecord, StreamRecord};
use crate::tail::now::Now;
use crate::tail::rotated::Siblings;

/// Where a replay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the acknowledged positions.
    Acknowledged,
    /// At the current ends of all files.
    End,
}

impl Stream {
    /// Queues the rotated files, oldest first, and then the live file. Each is read from its start.
    pub(in crate::tail) fn replay(
        &mut self,
        record: &StreamRecord,
        until: Until,
        siblings: &Siblings<'_>,
        now: Now,
    ) -> std::io::Result<()> {
        self.chain = Chain { last: 0, restarts: 0, ..record.chain };
        self.chain.knows(now.clock);
        self.recorded();
        for (found, end) in files(record, until, siblings, now) {
            if let Some(mut generation) = siblings.opened(found, Kind::Copy, now)? {
                generation.mark_end_at(end);
                self.queue.push_back(generation);
            }
        }
        Ok(())
    }
}

/// The files to read, in order, each with the position where reading ends, if that is before its end.
fn files<'a>(record: &StreamRecord, until: Until, siblings: &Siblings<'a>, now: Now) -> Vec<(&'a Found, Option<u64>)> {
    let all = siblings.in_order();
    if until == Until::End {
        return all.into_iter().map(|found| (found, None)).collect();
    }
    let position_of = |known: &GenerationRecord| Some((siblings.find(known, now)?.inode, known.position, known.late));
    let positions: Vec<_> = record.queue.iter().filter_map(position_of).collect();
    // Every file that is older than the first one in the record is acknowledged.
    let mut is_older = true;
    let mut files = Vec::new();
    for found in all {
        if let Some((_, position, late)) = positions.iter().find(|(inode, ..)| *inode == found.inode) {
            is_older &= *late;
            files.push((found, Some(*position)));
        } else if is_older && siblings.live != Some(found) {
            files.push((found, None));
        }
    }
    files
}
