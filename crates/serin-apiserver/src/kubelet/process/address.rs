//! A loopback address for every pod.

use parking_lot::Mutex;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long an address is not reused: clients may still connect to the pod that had it.
const REUSE_DELAY: Duration = Duration::from_secs(60);
/// The numbers used in the third and the fourth octet: 1 to 254.
const ADDRESSES_PER_OCTET: u32 = 254;

#[derive(Default)]
struct Pool {
    next: u32,
    used: BTreeSet<Ipv4Addr>,
    resting: VecDeque<(Instant, Ipv4Addr)>,
}

/// Allocates addresses of 127.x.0.0/16.
#[derive(Clone)]
pub(crate) struct Addresses {
    second: u8,
    pool: Arc<Mutex<Pool>>,
}

/// An allocated address; dropping it releases the address.
pub(crate) struct AddressLease {
    pub(crate) ip: Ipv4Addr,
    pool: Arc<Mutex<Pool>>,
}

impl Addresses {
    pub(crate) fn new(second: u8) -> Self {
        Self { second, pool: Arc::default() }
    }

    /// Allocates an address with no listener on any of `ports`; `None` if there is none.
    pub(crate) fn lease(&self, ports: &[u16]) -> Option<AddressLease> {
        let mut pool = self.pool.lock();
        let now = Instant::now();
        while pool.resting.front().is_some_and(|(until, _)| *until <= now) {
            pool.resting.pop_front();
        }
        for _ in 0..ADDRESSES_PER_OCTET * ADDRESSES_PER_OCTET {
            let count = pool.next;
            pool.next = (count + 1) % (ADDRESSES_PER_OCTET * ADDRESSES_PER_OCTET);
            let number = |count: u32| u8::try_from(count % ADDRESSES_PER_OCTET + 1).unwrap_or(1);
            let ip =
                Ipv4Addr::new(127, self.second, number(count / ADDRESSES_PER_OCTET), number(count));
            let resting = pool.resting.iter().any(|(_, resting)| *resting == ip);
            if !resting && !pool.used.contains(&ip) && is_free(ip, ports) {
                pool.used.insert(ip);
                return Some(AddressLease { ip, pool: Arc::clone(&self.pool) });
            }
        }
        None
    }
}

/// Only a port that is in use makes an address unusable; other errors are left to the container's program to report.
fn is_free(ip: Ipv4Addr, ports: &[u16]) -> bool {
    let taken = |port: &u16| match TcpListener::bind(SocketAddr::new(IpAddr::V4(ip), *port)) {
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::AddrInUse,
    };
    !ports.iter().any(taken)
}

impl Drop for AddressLease {
    fn drop(&mut self) {
        let mut pool = self.pool.lock();
        pool.used.remove(&self.ip);
        pool.resting.push_back((Instant::now() + REUSE_DELAY, self.ip));
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
        tokio::time::advance(REUSE_DELAY).await;
        addresses.pool.lock().next = 0;
        assert_eq!(addresses.lease(&[]).unwrap().ip, ip);
    }

    #[test]
    fn taken_ones_are_skipped() {
        let addresses = Addresses::new(9);
        // A wildcard listener takes the port on every address, but only binding the wildcard address shows it.
        let taken = TcpListener::bind("127.9.1.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(addresses.lease(&[port]).unwrap().ip, Ipv4Addr::new(127, 9, 1, 2));
    }
}
