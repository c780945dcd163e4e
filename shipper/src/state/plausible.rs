//! Checks that a shipper can have written a position record. Other programs can write to the state directory, too.

use super::record::{GenerationRecord, Record, StreamRecord};
use crate::entries::Chain;

/// The largest file: an exbibyte.
const MOST_BYTES: u64 = 1 << 60;
/// The longest head that is hashed.
const MOST_HEAD: u64 = 1 << 10;
/// The year 2100, in nanoseconds since 1970 UTC. A later clock is not plausible.
const LATEST: i64 = 4_102_444_800_000_000_000;
/// The year 2025. An earlier clock is not set yet, and proves nothing about a record.
const EARLIEST_CLOCK: i64 = 1_735_689_600_000_000_000;
/// The clock that dated a record cannot be this far behind it: a day.
const DAY: i64 = 24 * 3_600 * 1_000_000_000;

/// Returns what is impossible in the record of one stream, if anything.
pub(crate) fn fault(stream: &StreamRecord) -> Option<&'static str> {
    let Chain { last, clock, .. } = stream.chain;
    if last.max(clock) > LATEST {
        return Some("a time after the year 2100");
    }
    let mut known = stream.queue.iter().chain(&stream.lingering).chain(&stream.anchor).chain(&stream.beside);
    known.find_map(fault_of_file)
}

fn fault_of_file(file: &GenerationRecord) -> Option<&'static str> {
    let sizes = [Some(file.position), file.closed, file.ends, file.size, file.clocked.map(|clocked| clocked.until)];
    if sizes.into_iter().flatten().any(|size| size > MOST_BYTES) || file.head_len > MOST_HEAD {
        return Some("a position or a size that no file has");
    }
    let is_late = file.clocked.is_some_and(|clocked| clocked.now.max(clocked.untimed) > LATEST);
    is_late.then_some("a time after the year 2100")
}

/// Removes times from `record` that are more than a day ahead of the clock `now`. Returns the names of the files. Loki has stored
/// no entry with such a time, and would reject all entries after it.
pub(crate) fn forget_the_future(record: &mut Record, now: i64) -> Vec<String> {
    let latest = now.saturating_add(DAY);
    let mut mended = Vec::new();
    if now < EARLIEST_CLOCK {
        return mended;
    }
    for (name, stream) in record {
        let mut is_mended = stream.chain.last.max(stream.chain.clock) > latest && stream.chain.restart(now);
        for file in &mut stream.queue {
            let is_late = file.clocked.is_some_and(|clocked| clocked.now.max(clocked.untimed) > latest);
            if is_late {
                file.clocked = None;
                is_mended = true;
            }
        }
        if is_mended {
            mended.push(name.clone());
        }
    }
    mended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::record::Clocked;

    const NOW: i64 = EARLIEST_CLOCK + 100 * DAY;

    fn of(file: GenerationRecord) -> StreamRecord {
        StreamRecord { queue: vec![file], ..StreamRecord::default() }
    }

    fn chained(last: i64, clock: i64) -> StreamRecord {
        StreamRecord { chain: Chain { last, clock, ..Chain::default() }, ..StreamRecord::default() }
    }

    fn clocked(now: i64) -> GenerationRecord {
        let clocked = Some(Clocked { until: 9, now, untimed: now });
        GenerationRecord { clocked, ..GenerationRecord::default() }
    }

    #[test]
    fn knows_what_no_shipper_writes() {
        let file = GenerationRecord::default;
        for bad in [
            chained(i64::MAX, 0),
            chained(0, i64::MAX - 5),
            of(GenerationRecord { position: u64::MAX, ..file() }),
            of(GenerationRecord { ends: Some(u64::MAX), ..file() }),
            of(GenerationRecord { head_len: 1025, ..file() }),
            of(clocked(i64::MAX)),
            StreamRecord {
                anchor: Some(GenerationRecord { closed: Some(1 << 61), ..file() }),
                ..StreamRecord::default()
            },
        ] {
            assert!(fault(&bad).is_some(), "{bad:?}");
        }
        let large = GenerationRecord { position: 1 << 50, head_len: 1024, ..clocked(NOW) };
        assert_eq!(fault(&StreamRecord { chain: chained(NOW, NOW).chain, ..of(large) }), None);
    }

    #[test]
    fn keeps_positions_and_forgets_times_that_lie_far_ahead() {
        let ahead = NOW + 365 * DAY;
        let position = GenerationRecord { position: 7, ..clocked(ahead) };
        let stream = StreamRecord { queue: vec![position], ..chained(ahead, 0) };
        let mut record =
            Record::from([("a.log".to_owned(), stream), ("b.log".to_owned(), chained(NOW + DAY / 2, NOW))]);
        let before = record.clone();
        // A clock that is not set yet proves nothing.
        assert!(forget_the_future(&mut record, 0).is_empty());
        assert_eq!(record, before);
        assert_eq!(forget_the_future(&mut record, NOW), ["a.log"]);
        assert!(record["a.log"].chain.last <= NOW);
        assert_eq!((record["a.log"].queue[0].position, record["a.log"].queue[0].clocked), (7, None));
        assert_eq!(record["b.log"], before["b.log"]);
    }
}
