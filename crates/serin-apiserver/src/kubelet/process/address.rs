//! A loopback address for every pod.

use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// A client may still try an address for a while after its pod is gone.
const REST: Duration = Duration::from_secs(60);
/// In each of the third and fourth number; 0 and 255 are left out.
const PER_NUMBER: u32 = 254;

#[derive(Default)]
struct Pool {
    next: u32,
    used: BTreeSet<Ipv4Addr>,
    resting: VecDeque<(Instant, Ipv4Addr)>,
}

/// Hands out addresses of 127.x.0.0/16.
#[derive(Clone)]
pub(crate) struct Addresses {
    second: u8,
    pool: Arc<Mutex<Pool>>,
}

/// An address in use; it is given back when dropped.
pub(crate) struct Lease {
    pub(crate) ip: Ipv4Addr,
    pool: Arc<Mutex<Pool>>,
}

impl Addresses {
    pub(crate) fn new(second: u8) -> Self {
        Self { second, pool: Arc::default() }
    }

    /// A free address on which nobody listens on any of `ports`; `None` when all are taken.
    pub(crate) fn lease(&self, ports: &[u16]) -> Option<Lease> {
        let mut pool = self.pool.lock();
        let now = Instant::now();
        while pool.resting.front().is_some_and(|(until, _)| *until <= now) {
            pool.resting.pop_front();
        }
        for _ in 0..PER_NUMBER * PER_NUMBER {
            let count = pool.next;
            pool.next = (count + 1) % (PER_NUMBER * PER_NUMBER);
            let number = |count: u32| u8::try_from(count % PER_NUMBER + 1).unwrap_or(1);
            let ip = Ipv4Addr::new(127, self.second, number(count / PER_NUMBER), number(count));
            let resting = pool.resting.iter().any(|(_, resting)| *resting == ip);
            if !resting && !pool.used.contains(&ip) && is_free(ip, ports) {
                pool.used.insert(ip);
                return Some(Lease { ip, pool: Arc::clone(&self.pool) });
            }
        }
        None
    }
}

/// Only someone who listens already makes an address useless; what else may be wrong the program itself will say.
fn is_free(ip: Ipv4Addr, ports: &[u16]) -> bool {
    let taken = |port: &u16| match TcpListener::bind(SocketAddr::new(IpAddr::V4(ip), *port)) {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::AddrInUse,
    };
    !ports.iter().any(taken)
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pool = self.pool.lock();
        pool.used.remove(&self.ip);
        pool.resting.push_back((Instant::now() + REST, self.ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_rests_before_it_is_used_again() {
        let addresses = Addresses::new(9);
        let first = addresses.lease(&[]).unwrap();
        let ip = first.ip;
        assert_eq!(ip, Ipv4Addr::new(127, 9, 1, 1));
        drop(first);
        addresses.pool.lock().next = 0;
        assert_eq!(addresses.lease(&[]).unwrap().ip, Ipv4Addr::new(127, 9, 1, 2));
        tokio::time::advance(REST).await;
        addresses.pool.lock().next = 0;
        assert_eq!(addresses.lease(&[]).unwrap().ip, ip);
    }

    #[test]
    fn taken_ones_are_skipped() {
        let addresses = Addresses::new(9);
        // A wildcard listener takes the port on every address but says so only on its own.
        let taken = TcpListener::bind("127.9.1.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(addresses.lease(&[port]).unwrap().ip, Ipv4Addr::new(127, 9, 1, 2));
    }
}
