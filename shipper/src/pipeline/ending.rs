//! The ending of a pod: whether Redis has written its last line, and whether it helps to wait longer.
//!
//! All containers of a pod get SIGTERM at the same moment, and Redis may take long to end. Its last lines matter, but each second
//! after them delays the deletion of the pod. The containers do not see each other's processes, but they share a network. While
//! Redis Enterprise listens on one of its ports, it is running. After that, or if it never listened, quiet files show that it has
//! ended.

use std::path::Path;
use std::time::{Duration, Instant};

/// Files are complete after they were quiet for this long, if no port shows that Redis has ended.
const QUIET: Duration = Duration::from_millis(1500);
/// The same after Redis Enterprise has stopped listening.
const QUIET_AFTER_REDIS: Duration = Duration::from_secs(1);
/// The state of a listening socket in `/proc/net/tcp`.
const LISTENS: &str = "0A";
/// The port of Redis Enterprise's REST API. Only a node listens on it.
const REST_API: u16 = 9443;

/// An ending in progress.
#[derive(Debug)]
pub(super) struct Ending {
    began: Instant,
    /// Whether a Redis Enterprise node listened when it began.
    node: bool,
    /// The last time that this node listened.
    listened: Instant,
}

impl Ending {
    /// The process got SIGTERM while these ports were open.
    pub(super) fn begin(now: Instant, ports: &[u16]) -> Self {
        Self { began: now, node: ports.contains(&REST_API), listened: now }
    }

    /// Updates it with the ports that are open now.
    pub(super) fn update(&mut self, now: Instant, ports: &[u16]) {
        if self.node && ports.iter().any(|port| is_redis(*port)) {
            self.listened = now;
        }
    }

    /// Whether Redis has probably written its last line. `grew` is the last time that a file grew.
    pub(super) fn is_complete(&self, now: Instant, grew: Option<Instant>) -> bool {
        now >= self.complete_at(grew)
    }

    /// When it will be complete if nothing more happens.
    pub(super) fn complete_at(&self, grew: Option<Instant>) -> Instant {
        let quiet = if self.node { QUIET_AFTER_REDIS } else { QUIET };
        grew.map_or(self.began, |grew| grew.max(self.began)).max(self.listened) + quiet
    }
}

/// Whether Redis Enterprise uses this port.
fn is_redis(port: u16) -> bool {
    matches!(port, 3333..=3357 | 8000..=8006 | 8070 | 8071 | 8080 | 8443 | 8444 | 9080..=9082 | 9443 | 10000..=29999)
}

/// The open TCP ports of this network namespace. Empty if the kernel does not list them.
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

/// Whether the positions in `state` live as long as the logs, because both are on one volume. Then it does not help to wait for an
/// Loki that accepts nothing: the next start ships the rest.
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
        // The REST API ends first. A database still runs.
        ending.update(at(20_000), &[9464, 12000]);
        assert!(!ending.is_complete(at(20_500), None));
        ending.update(at(20_500), &[9464]);
        assert!(ending.is_complete(at(21_000), Some(at(5000))));
        assert!(!ending.is_complete(at(21_000), Some(at(20_100))));
    }

    #[test]
    fn waits_for_quiet_files_where_nobody_listens_as_redis_does() {
        let start = Instant::now();
        let mut ending = Ending::begin(start, &[9464, 8080]);
        ending.update(start + QUIET, &[9464, 8080]);
        assert!(!ending.is_complete(start + Duration::from_millis(1499), None));
        assert!(ending.is_complete(start + QUIET, None));
        assert!(!ending.is_complete(start + QUIET, Some(start + Duration::from_millis(1))));
        // Files that were quiet long before prove nothing.
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
