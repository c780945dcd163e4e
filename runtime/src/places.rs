//! A limited number of places for connections on one port. If all are taken, the least important connection loses its
//! place.
//!
//! Anybody who can reach a port can open connections. If new connections were refused, such a client could keep all others
//! out. So a new connection always gets a place, unless every other connection is being answered.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// A limited number of places for connections.
#[derive(Clone, Debug)]
pub struct Places(Arc<Mutex<Taken>>);

/// The connections that have a place.
#[derive(Debug)]
struct Taken {
    most: usize,
    /// The number of events so far, as a clock: a smaller number is earlier.
    events: u64,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    /// Whether its handshake is finished.
    open: bool,
    /// The number of its requests that are being answered.
    requests: usize,
    /// The number of its latest event.
    last: u64,
    evicted: CancellationToken,
}

/// The place of one connection. Dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    id: u64,
    places: Places,
    evicted: CancellationToken,
}

/// A request that is being answered. Dropping it ends the request.
#[derive(Debug)]
pub struct Request<'a>(&'a Place);

impl Places {
    /// This many places.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken { most, events: 0, connections: BTreeMap::new() })))
    }

    /// Takes a place for a connection from `peer`. If all are taken, another connection is evicted: first one without a
    /// finished handshake, then one of the peer with the most connections, then the one that has been idle longest. `None`
    /// means that every connection is being answered.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        if taken.connections.len() >= taken.most {
            let victim = taken.least_important()?;
            if let Some(connection) = taken.connections.remove(&victim) {
                connection.evicted.cancel();
            }
        }
        let id = taken.event();
        let evicted = CancellationToken::new();
        let connection = Connection { peer, open: false, requests: 0, last: id, evicted: evicted.clone() };
        taken.connections.insert(id, connection);
        Some(Place { id, places: self.clone(), evicted })
    }

    /// The number of taken places.
    pub fn taken(&self) -> usize {
        self.lock().connections.len()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn least_important(&self) -> Option<u64> {
        let mut held = BTreeMap::<IpAddr, usize>::new();
        for connection in self.connections.values() {
            *held.entry(connection.peer).or_default() += 1;
        }
        let idle = self.connections.iter().filter(|(_, connection)| connection.requests == 0);
        let importance = |connection: &Connection| {
            let of_its_peer = held.get(&connection.peer).copied().unwrap_or_default();
            (connection.open, std::cmp::Reverse(of_its_peer), connection.last)
        };
        idle.min_by_key(|(_, connection)| importance(connection)).map(|(id, _)| *id)
    }
}

impl Place {
    /// Records that the handshake is finished.
    pub fn opened(&self) {
        self.change(|connection| connection.open = true);
    }

    /// Records a request. The connection keeps its place until the request is answered.
    pub fn request(&self) -> Request<'_> {
        self.change(|connection| connection.requests += 1);
        Request(self)
    }

    /// Waits until the connection is evicted. It must end then.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Cancelled when the connection is evicted, for code that cannot wait for [`Place::evicted`].
    pub fn eviction(&self) -> CancellationToken {
        self.evicted.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        let mut taken = self.places.lock();
        let now = taken.event();
        if let Some(connection) = taken.connections.get_mut(&self.id) {
            connection.last = now;
            change(connection);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.id);
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.0.change(|connection| connection.requests = connection.requests.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// A connection from `peer` with a finished handshake.
    fn open(places: &Places, peer: IpAddr) -> Place {
        let place = places.take(peer).unwrap();
        place.opened();
        place
    }

    fn evicted(connections: &[Place]) -> Vec<bool> {
        connections.iter().map(|place| place.evicted.is_cancelled()).collect()
    }

    #[test]
    fn evicts_the_connection_that_has_been_idle_longest() {
        let places = Places::new(3);
        let held: Vec<_> = (0..3).map(|_| open(&places, ONE)).collect();
        drop(held[0].request());
        let _new = open(&places, ONE);
        assert_eq!((evicted(&held), places.taken()), (vec![false, true, false], 3));
    }

    #[test]
    fn evicts_no_connection_that_is_being_answered() {
        let places = Places::new(2);
        let held: Vec<_> = (0..2).map(|_| open(&places, ONE)).collect();
        let first = held[0].request();
        let second = held[1].request();
        assert!(places.take(ONE).is_none());
        drop(second);
        assert!(places.take(ONE).is_some());
        assert_eq!(evicted(&held), [false, true]);
        drop(first);
    }

    #[test]
    fn evicts_a_connection_without_a_finished_handshake_first() {
        let places = Places::new(2);
        let held = [open(&places, ONE), places.take(OTHER).unwrap()];
        let _new = open(&places, ONE);
        assert_eq!(evicted(&held), [false, true]);
    }

    #[test]
    fn evicts_a_connection_of_the_peer_that_holds_the_most() {
        let places = Places::new(3);
        let held = [open(&places, OTHER), open(&places, ONE), open(&places, ONE)];
        let _new = open(&places, OTHER);
        assert_eq!(evicted(&held), [false, true, false]);
    }

    #[test]
    fn frees_the_place_of_a_connection_that_ends() {
        let places = Places::new(1);
        drop(open(&places, ONE));
        assert_eq!(places.taken(), 0);
    }
}
