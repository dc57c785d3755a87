//! Who may come in: how many connections there are, in all and from one address, and how many requests an address makes.
//! What is over a limit is turned away at once, so that memory is bounded by the limits.

mod bucket;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucket::Bucket;

/// The most connections at a time.
const CONNECTIONS: usize = 1024;
/// The most connections of one address at a time.
const OF_ONE: u32 = 100;
/// The most requests of one address that are being answered at a time.
const AT_ONCE: u32 = 200;
/// The most addresses that are remembered.
const ADDRESSES: usize = 16_384;
/// Requests per second and at once, until the api says something else.
const RATE: (u32, u32) = (50, 200);

/// The limits and who has used how much of them.
#[derive(Debug)]
pub struct Gate {
    rate: AtomicU32,
    burst: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    connections: usize,
    visitors: HashMap<IpAddr, Arc<Visitor>>,
}

/// What one address uses.
#[derive(Debug)]
struct Visitor {
    connections: AtomicU32,
    requests: AtomicU32,
    bucket: Mutex<Bucket>,
}

/// A connection that was let in. It counts until it is dropped.
#[derive(Debug)]
pub struct Visit {
    gate: Arc<crate::Shared>,
    visitor: Arc<Visitor>,
}

/// A request that was let in. It counts until it is dropped.
#[derive(Debug)]
pub struct Admission(Arc<Visitor>);

impl Default for Gate {
    fn default() -> Self {
        Self { rate: AtomicU32::new(RATE.0), burst: AtomicU32::new(RATE.1), table: Mutex::default() }
    }
}

impl Gate {
    /// From now on an address may make `rate` requests per second, and `burst` at once beyond that.
    pub fn allow(&self, rate: u32, burst: u32) {
        self.rate.store(rate.max(1), Ordering::Relaxed);
        self.burst.store(burst.max(1), Ordering::Relaxed);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits(&self) -> (f64, f64) {
        (f64::from(self.rate.load(Ordering::Relaxed)), f64::from(self.burst.load(Ordering::Relaxed)))
    }
}

impl Visit {
    /// Lets a connection of this address in, if there is room.
    #[must_use]
    pub fn begin(shared: &Arc<crate::Shared>, address: IpAddr) -> Option<Self> {
        let key = key(address);
        let gate = &shared.gate;
        let mut table = gate.table();
        if table.connections >= CONNECTIONS {
            return None;
        }
        if !table.visitors.contains_key(&key) && table.visitors.len() >= ADDRESSES {
            let (now, (rate, burst)) = (Instant::now(), gate.limits());
            table.visitors.retain(|_, visitor| !visitor.forgettable(now, rate, burst));
            if table.visitors.len() >= ADDRESSES {
                return None;
            }
        }
        let visitor = table.visitors.entry(key).or_insert_with(|| Arc::new(Visitor::new(gate.limits().1))).clone();
        if visitor.connections.load(Ordering::Relaxed) >= OF_ONE {
            return None;
        }
        visitor.connections.fetch_add(1, Ordering::Relaxed);
        table.connections += 1;
        drop(table);
        Some(Self { gate: shared.clone(), visitor })
    }

    /// Lets a request in, or says how long to wait.
    ///
    /// # Errors
    ///
    /// The address made too many requests, or too many of its requests are being answered.
    pub fn admit(&self) -> Result<Admission, Duration> {
        if self.visitor.requests.load(Ordering::Relaxed) >= AT_ONCE {
            return Err(Duration::from_secs(1));
        }
        let (rate, burst) = self.gate.gate.limits();
        self.visitor.bucket().take(Instant::now(), rate, burst)?;
        self.visitor.requests.fetch_add(1, Ordering::Relaxed);
        Ok(Admission(self.visitor.clone()))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visitor.connections.fetch_sub(1, Ordering::Relaxed);
        self.gate.gate.table().connections -= 1;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Visitor {
    fn new(burst: f64) -> Self {
        Self {
            connections: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            bucket: Mutex::new(Bucket::full(Instant::now(), burst)),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is lost by forgetting the address.
    fn forgettable(&self, now: Instant, rate: f64, burst: f64) -> bool {
        self.connections.load(Ordering::Relaxed) == 0 && self.bucket().is_full(now, rate, burst)
    }
}

/// Whom an address counts for: an IPv6 subscriber has a whole /64.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !0 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let parse = |text: &str| key(text.parse().expect("an address"));
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:0:0:2"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), parse("192.0.2.1"));
        assert_ne!(parse("192.0.2.1"), parse("192.0.2.2"));
    }
}
