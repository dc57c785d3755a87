//! Which clients of an instance the rules let through. The wish is state, not a queue: whatever fails is tried again,
//! and a new helper is told everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_model::Slot;
use culvert_wire::helper::{CLIENTS, Request};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::helper::Helper;

/// The rules change at most so often; what comes in between goes together.
const SPACING: Duration = Duration::from_millis(20);

/// Between two tries with a helper that is away.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a client may wait for its rule.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything is told again after this time, whatever anybody believes.
const REPEAT: Duration = Duration::from_secs(60);

/// The rules of one instance.
#[derive(Debug)]
pub struct Gate {
    helper: Helper,
    slot: Slot,
    wish: Mutex<Wish>,
    changed: Notify,
    /// What the helper is known to have put in place.
    installed: watch::Sender<BTreeSet<Ipv4Addr>>,
    /// Whether it has heard everything once.
    told: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Wish {
    /// Nothing is told before the clients that were there before this process are known.
    open: bool,
    holders: BTreeMap<Ipv4Addr, BTreeSet<u64>>,
    /// Of an address that went and came back between two requests, the helper hears nothing.
    whole: bool,
}

impl Gate {
    /// The gate of the instance in this slot, closed.
    #[must_use]
    pub fn new(helper: Helper, slot: Slot) -> Self {
        let wish = Wish { whole: true, ..Wish::default() };
        let installed = watch::Sender::new(BTreeSet::new());
        let told = watch::Sender::new(false);
        Self { helper, slot, wish: Mutex::new(wish), changed: Notify::new(), installed, told }
    }

    /// From now on the rules follow the wish.
    pub fn open(&self) {
        self.wish().open = true;
        self.changed.notify_one();
    }

    /// Lets a client through. Does not wait.
    pub fn let_in(&self, client: u64, address: Ipv4Addr) {
        self.wish().holders.entry(address).or_default().insert(client);
        self.changed.notify_one();
    }

    /// Shuts a client out, unless another one has its address. Does not wait.
    pub fn shut_out(&self, client: u64) {
        self.wish().holders.retain(|_, clients| {
            clients.remove(&client);
            !clients.is_empty()
        });
        self.changed.notify_one();
    }

    /// Waits until an address is let through; tells whether it is.
    pub async fn through(&self, address: Ipv4Addr) -> bool {
        let mut installed = self.installed.subscribe();
        timeout(PATIENCE, installed.wait_for(|all| all.contains(&address))).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Waits until the helper has heard everything once.
    pub async fn settled(&self) {
        // The sender is a part of this gate.
        let _ = self.told.subscribe().wait_for(|told| *told).await;
    }

    /// Keeps the rules as wished, for as long as it is polled.
    pub async fn run(&self) {
        let mut connections = self.helper.connections();
        let mut repeat = Instant::now() + REPEAT;
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = connections.changed() => self.wish().whole = true,
                () = sleep_until(repeat) => self.wish().whole = true,
            }
            while let Some((request, after, whole)) = self.next() {
                let begun = Instant::now();
                match self.helper.done(request).await {
                    Ok(_) => {
                        if whole {
                            repeat = Instant::now() + REPEAT;
                            self.told.send_replace(true);
                        }
                        self.installed.send_replace(after);
                        sleep_until(begun + SPACING).await;
                    }
                    Err(failure) => {
                        tracing::warn!(slot = %self.slot, %failure, "the rules of clients cannot be changed yet");
                        self.wish().whole = true;
                        sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// The request that brings the rules nearer to the wish, what is in place after it, and whether it tells all.
    fn next(&self) -> Option<(Request, BTreeSet<Ipv4Addr>, bool)> {
        let mut wish = self.wish();
        if !wish.open {
            return None;
        }
        let wanted: BTreeSet<Ipv4Addr> = wish.holders.keys().copied().collect();
        let slot = self.slot;
        if std::mem::take(&mut wish.whole) {
            let addresses = wanted.iter().copied().take(CLIENTS).collect::<Vec<_>>();
            let after = addresses.iter().copied().collect();
            return Some((Request::Clients { slot, addresses }, after, true));
        }
        let mut after = self.installed.borrow().clone();
        let add: Vec<_> = wanted.difference(&after).copied().take(CLIENTS / 2).collect();
        let remove: Vec<_> = after.difference(&wanted).copied().take(CLIENTS / 2).collect();
        if add.is_empty() && remove.is_empty() {
            return None;
        }
        after.extend(&add);
        after.retain(|address| !remove.contains(address));
        Some((Request::Change { slot, add, remove }, after, false))
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(Helper::new("/nonexistent".into()), Slot::try_from(1).expect("a slot"))
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn step(gate: &Gate) -> Option<Request> {
        let (request, after, _) = gate.next()?;
        gate.installed.send_replace(after);
        Some(request)
    }

    #[tokio::test]
    async fn the_first_request_tells_all_and_the_next_ones_what_changes() {
        let gate = gate();
        let slot = gate.slot;
        gate.let_in(1, address(2));
        assert_eq!(step(&gate), None);
        gate.open();
        assert_eq!(step(&gate), Some(Request::Clients { slot, addresses: vec![address(2)] }));
        assert_eq!(step(&gate), None);
        gate.let_in(2, address(3));
        gate.shut_out(1);
        assert_eq!(step(&gate), Some(Request::Change { slot, add: vec![address(3)], remove: vec![address(2)] }));
    }

    #[tokio::test]
    async fn an_address_stays_until_its_last_client_is_gone() {
        let gate = gate();
        gate.open();
        gate.let_in(1, address(2));
        let _ = step(&gate);
        gate.let_in(9, address(2));
        gate.shut_out(1);
        assert_eq!(step(&gate), None);
        gate.shut_out(9);
        assert!(matches!(step(&gate), Some(Request::Change { remove, .. }) if remove == [address(2)]));
    }
}
