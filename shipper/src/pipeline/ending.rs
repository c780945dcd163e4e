//! The ending of a pod: when Redis has written its last line, and whether waiting any longer is of use.
//!
//! All containers of a pod are told to end at the same moment, and Redis may take long. Its last lines matter, and every
//! second after them holds up the deletion of the pod. The containers see nothing of each other's processes, but they share
//! one network: while Redis Enterprise listens on a port of its own, it is there. After that, and where it never listened,
//! quiet files tell that it has ended.

use std::path::Path;
use std::time::{Duration, Instant};

/// Files that are quiet for so long are complete, where nothing else tells that Redis has ended.
const QUIET: Duration = Duration::from_millis(1500);
/// The same once Redis Enterprise listens no more.
const QUIET_AFTER_REDIS: Duration = Duration::from_secs(1);
/// Sockets of this state listen, in `/proc/net/tcp`.
const LISTENS: &str = "0A";
/// The port of Redis Enterprise's REST API: who listens here is a node.
const REST_API: u16 = 9443;

/// An ending that has begun.
#[derive(Debug)]
pub(super) struct Ending {
    began: Instant,
    /// Whether a Redis Enterprise node listened when it began.
    node: bool,
    /// When that node listened last.
    listened: Instant,
}

impl Ending {
    /// The process was told to end, while somebody listens on these ports.
    pub(super) fn begin(now: Instant, ports: &[u16]) -> Self {
        Self { began: now, node: ports.contains(&REST_API), listened: now }
    }

    /// Takes in who listens now.
    pub(super) fn look(&mut self, now: Instant, ports: &[u16]) {
        if self.node && ports.iter().any(|port| is_redis(*port)) {
            self.listened = now;
        }
    }

    /// Whether Redis has written its last line, as far as can be known, where the files grew last at `grew`.
    pub(super) fn is_complete(&self, now: Instant, grew: Option<Instant>) -> bool {
        now >= self.complete_at(grew)
    }

    /// When that will be, if nothing more happens.
    pub(super) fn complete_at(&self, grew: Option<Instant>) -> Instant {
        let quiet = if self.node { QUIET_AFTER_REDIS } else { QUIET };
        grew.map_or(self.began, |grew| grew.max(self.began)).max(self.listened) + quiet
    }
}

/// The ports that Redis Enterprise takes for itself.
fn is_redis(port: u16) -> bool {
    matches!(port, 3333..=3357 | 8000..=8006 | 8070 | 8071 | 8080 | 8443 | 8444 | 9080..=9082 | 9443 | 10000..=29999)
}

/// The TCP ports on which somebody listens in this network namespace; none where the kernel does not tell.
pub(super) fn listening_ports() -> Vec<u16> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|path| std::fs::read_to_string(Path::new(path)));
    tables.iter().flatten().flat_map(|table| ports_of(table)).collect()
}

fn ports_of(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        (state == LISTENS).then(|| u16::from_str_radix(port, 16).ok())?
    })
}

/// Whether the positions in `state` live as long as the logs: both lie on one volume. Then nothing is gained by waiting
/// for a Loki that is away, because the next start ships the rest.
pub(super) fn outlives_us(state: Option<&Path>, logs: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    state.and_then(device).is_some_and(|state| device(logs) == Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: [u16; 3] = [9464, REST_API, 12000];

    #[test]
    fn waits_for_a_second_of_quiet_once_redis_listens_no_more() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut ending = Ending::begin(start, &NODE);
        // The REST API ends first; a database is still there.
        ending.look(at(20_000), &[9464, 12000]);
        assert!(!ending.is_complete(at(20_500), None));
        ending.look(at(20_500), &[9464]);
        assert!(ending.is_complete(at(21_000), Some(at(5000))));
        assert!(!ending.is_complete(at(21_000), Some(at(20_100))));
    }

    #[test]
    fn waits_for_quiet_files_where_nobody_listens_as_redis_does() {
        let start = Instant::now();
        let mut ending = Ending::begin(start, &[9464, 8080]);
        ending.look(start + QUIET, &[9464, 8080]);
        assert!(!ending.is_complete(start + Duration::from_millis(1499), None));
        assert!(ending.is_complete(start + QUIET, None));
        assert!(!ending.is_complete(start + QUIET, Some(start + Duration::from_millis(1))));
        // What was quiet long before is no news.
        assert!(ending.is_complete(start + QUIET, start.checked_sub(Duration::from_millis(5))));
    }

    #[test]
    fn reads_who_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 00000000:24E3 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1 0\n   \
                     1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1001        0 2 1 0\n";
        assert_eq!(ports_of(table).collect::<Vec<_>>(), [REST_API]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listening_ports().contains(&listener.local_addr().unwrap().port()));
    }

    #[test]
    fn knows_positions_that_live_as_long_as_the_logs() {
        let dir = tempfile::tempdir().unwrap();
        let (state, logs) = (dir.path().join("state"), dir.path().join("logs"));
        std::fs::create_dir(&state).unwrap();
        std::fs::create_dir(&logs).unwrap();
        assert!(outlives_us(Some(&state), &logs));
        assert!(!outlives_us(Some(Path::new("/proc")), &logs));
        assert!(!outlives_us(None, &logs));
        assert!(!outlives_us(Some(&dir.path().join("nowhere")), &logs));
    }
}
