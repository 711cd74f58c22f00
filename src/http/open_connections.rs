//! The open connections: their number per address, and the connection that has been idle for longest.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// All open connections.
#[derive(Clone)]
pub(super) struct OpenConnections {
    limits: ConnectionLimits,
    open: Arc<Mutex<Open>>,
}

/// Limits on the number of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub(super) all: usize,
    pub(super) per_address: usize,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, ConnectionState>,
    per_address: HashMap<IpAddr, usize>,
}

struct ConnectionState {
    address: IpAddr,
    /// Number of requests in progress and live sessions.
    n_busy: usize,
    /// The time since which the connection is idle. `None` while it is busy.
    idle_since: Option<Instant>,
    has_asked: bool,
    close: Arc<Notify>,
}

/// An open connection, which counts until this is dropped.
pub(super) struct OpenConnection {
    number: u64,
    all: OpenConnections,
    close: Arc<Notify>,
}

/// The connection of a request, as an extension of the request.
#[derive(Clone)]
pub(super) struct OfConnection(Arc<OpenConnection>);

impl OfConnection {
    pub(super) fn new(open: &Arc<OpenConnection>) -> Self {
        Self(Arc::clone(open))
    }

    /// Keeps the connection's place and keeps it busy after the request has been answered.
    pub(super) fn hold(&self) -> (Arc<OpenConnection>, Busy) {
        (Arc::clone(&self.0), self.0.busy())
    }
}

/// Keeps a connection busy until this is dropped.
pub(super) struct Busy {
    number: u64,
    all: OpenConnections,
}

impl OpenConnections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// Takes a place for a connection. If all places are taken, this closes the connection that has been idle for
    /// longest. Returns `None` if all connections are busy, or if the address has reached its limit.
    pub(super) fn admit(&self, address: IpAddr) -> Option<OpenConnection> {
        let mut open = self.lock();
        if open.per_address.get(&address).is_some_and(|n| *n >= self.limits.per_address) {
            return None;
        }
        if open.connections.len() >= self.limits.all {
            let idle =
                open.connections.iter().filter_map(|(number, state)| Some((state.idle_since?, *number)));
            let (_, longest) = idle.min()?;
            open.remove(longest)?.close.notify_one();
        }
        let (number, close) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        *open.per_address.entry(address).or_default() += 1;
        let idle_since = Some(Instant::now());
        let state =
            ConnectionState { address, n_busy: 0, idle_since, has_asked: false, close: Arc::clone(&close) };
        open.connections.insert(number, state);
        Some(OpenConnection { number, all: self.clone(), close })
    }

    /// Returns the number of open connections.
    pub(super) fn count(&self) -> usize {
        self.lock().connections.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn remove(&mut self, number: u64) -> Option<ConnectionState> {
        let state = self.connections.remove(&number)?;
        if let Some(n) = self.per_address.get_mut(&state.address) {
            *n -= 1;
            if *n == 0 {
                self.per_address.remove(&state.address);
            }
        }
        Some(state)
    }
}

impl OpenConnection {
    /// Marks the connection as busy, because a request has arrived.
    pub(super) fn busy(&self) -> Busy {
        if let Some(state) = self.all.lock().connections.get_mut(&self.number) {
            state.n_busy += 1;
            state.idle_since = None;
            state.has_asked = true;
        }
        Busy { number: self.number, all: self.all.clone() }
    }

    /// Returns whether any request has arrived.
    pub(super) fn has_asked(&self) -> bool {
        self.all.lock().connections.get(&self.number).is_none_or(|state| state.has_asked)
    }

    /// Waits until the connection loses its place to another one.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.lock().remove(self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(state) = self.all.lock().connections.get_mut(&self.number) {
            state.n_busy -= 1;
            if state.n_busy == 0 {
                state.idle_since = Some(Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[tokio::test]
    async fn the_one_that_is_idle_for_longest_makes_room() {
        let all = OpenConnections::new(ConnectionLimits { all: 3, per_address: 3 });
        let first = all.admit(address(1)).unwrap();
        let second = all.admit(address(1)).unwrap();
        let third = all.admit(address(1)).unwrap();
        let busy = first.busy();
        let _also_busy = third.busy();
        let fourth = all.admit(address(2)).unwrap();
        second.closed().await;
        drop(second);
        assert_eq!(all.count(), 3, "its place is counted once");
        let _busy_too = fourth.busy();
        assert!(all.admit(address(2)).is_none(), "all are busy");
        drop(busy);
        assert!(all.admit(address(2)).is_some());
        first.closed().await;
    }

    #[test]
    fn an_address_has_its_share() {
        let all = OpenConnections::new(ConnectionLimits { all: 10, per_address: 2 });
        let of_one: Vec<_> = (0..3).map(|_| all.admit(address(1))).collect();
        assert_eq!(of_one.iter().flatten().count(), 2);
        assert!(all.admit(address(2)).is_some());
        drop(of_one);
        assert_eq!(all.count(), 0);
        assert!(all.admit(address(1)).is_some_and(|open| !open.has_asked()));
    }
}
