//! What is missing in which pool.

use std::collections::BTreeSet;

use culvert_model::record::{Job, Priority, Purpose, Settings, Work};
use culvert_model::{Id, Millis};

/// One organisation's certificates of one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The organisation.
    pub organization: Id,
    /// What the certificates are for.
    pub purpose: Purpose,
    /// How many are to be ready.
    pub level: u16,
    /// How many are.
    pub ready: u64,
    /// How many jobs are open whose result will be ready, and not somebody's who waits.
    pub coming: u64,
    /// The slots whose job is in the store: it is open, or it failed too often and waits for an administrator.
    pub occupied: BTreeSet<u16>,
}

/// A job that is to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// The organisation.
    pub organization: Id,
    /// What the certificate is for.
    pub purpose: Purpose,
    /// Which of the pool's slots it fills.
    pub slot: u16,
}

/// How many certificates of a purpose an organisation has ready.
#[must_use]
pub const fn level(settings: &Settings, purpose: Purpose) -> u16 {
    match purpose {
        Purpose::Client => settings.client_pool,
        Purpose::Server => settings.server_pool,
        Purpose::Authority => settings.ca_pool,
    }
}

impl Pool {
    fn missing(&self) -> u64 {
        u64::from(self.level).saturating_sub(self.ready).saturating_sub(self.coming)
    }

    fn free(&self) -> impl Iterator<Item = u16> {
        (0..self.level).filter(|slot| !self.occupied.contains(slot))
    }
}

/// What is to be enqueued, in this order: the pool that is filled least comes first, after each order anew.
#[must_use]
pub fn orders(pools: &[Pool]) -> Vec<Order> {
    let mut orders = Vec::new();
    for pool in pools {
        let there = pool.ready + pool.coming;
        for (slot, more) in pool.free().zip(0..pool.missing()) {
            // At most the level, which has 16 bits: no precision is lost.
            let filled = (there + more) as f64 / f64::from(pool.level);
            orders.push((filled, Order { organization: pool.organization, purpose: pool.purpose, slot }));
        }
    }
    orders.sort_by(|(one, left), (other, right)| one.total_cmp(other).then(left.cmp(right)));
    orders.into_iter().map(|(_, order)| order).collect()
}

/// The word for a purpose in a job's id.
const fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Client => "client",
        Purpose::Server => "server",
        Purpose::Authority => "authority",
    }
}

impl Order {
    /// The id of the job: whoever else enqueues for the same slot enqueues the same job.
    #[must_use]
    pub fn id(&self) -> String {
        format!("certificate/{}/{}/{}", self.organization, word(self.purpose), self.slot)
    }

    /// The job.
    #[must_use]
    pub fn job(&self, created: Millis) -> Job {
        let work = Work::Certificate { organization: self.organization, purpose: self.purpose };
        Job::new(self.id(), work, Priority::Low, created)
    }

    /// The slot that a job's id names, if it names one of this organisation and purpose.
    pub(crate) fn slot(id: &str, organization: Id, purpose: Purpose) -> Option<u16> {
        let prefix = format!("certificate/{organization}/{}/", word(purpose));
        id.strip_prefix(&prefix)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pool(number: u8, level: u16, ready: u64, coming: u64, occupied: BTreeSet<u16>) -> Pool {
        let organization = Id::from_bytes([number; 12]);
        Pool { organization, purpose: Purpose::Client, level, ready, coming, occupied }
    }

    fn pools() -> impl Strategy<Value = Vec<Pool>> {
        let one = (0..20_u16, 0..25_u64, prop::collection::btree_set((0..20_u16, any::<bool>()), 0..20));
        prop::collection::vec(one, 0..8).prop_map(|pools| {
            let pools = pools.into_iter().zip(0..);
            pools
                .map(|((level, ready, jobs), number)| {
                    let coming = jobs.iter().filter(|(_, comes)| *comes).count() as u64;
                    pool(number, level, ready, coming, jobs.into_iter().map(|(slot, _)| slot).collect())
                })
                .collect()
        })
    }

    #[test]
    fn the_emptiest_comes_first() {
        let pools = [pool(1, 4, 2, 1, [0].into()), pool(2, 2, 0, 0, [].into()), pool(3, 4, 2, 0, [].into())];
        let order = |number, slot| Order { organization: Id::from_bytes([number; 12]), purpose: Purpose::Client, slot };
        assert_eq!(orders(&pools), [order(2, 0), order(2, 1), order(3, 0), order(1, 1), order(3, 1)]);
    }

    #[test]
    fn an_id_names_its_slot() {
        let organization = Id::from_bytes([7; 12]);
        let order = Order { organization, purpose: Purpose::Server, slot: 3 };
        assert_eq!(order.id(), "certificate/070707070707070707070707/server/3");
        assert_eq!(Order::slot(&order.id(), organization, Purpose::Server), Some(3));
        assert_eq!(Order::slot(&order.id(), organization, Purpose::Client), None);
        assert_eq!(
            Order::slot("certificate/070707070707070707070707/server/5f3a77", organization, Purpose::Server),
            None
        );
    }

    proptest! {
        #[test]
        fn never_above_the_level_and_never_twice(pools in pools()) {
            let orders = orders(&pools);
            let distinct: BTreeSet<_> = orders.iter().collect();
            prop_assert_eq!(distinct.len(), orders.len());
            for pool in &pools {
                let mine: Vec<_> = orders.iter().filter(|order| order.organization == pool.organization).collect();
                prop_assert!(mine.iter().all(|order| order.slot < pool.level && !pool.occupied.contains(&order.slot)));
                let after = pool.ready + pool.coming + mine.len() as u64;
                prop_assert!(mine.is_empty() || after <= u64::from(pool.level));
                let room = pool.free().count() as u64;
                prop_assert_eq!(mine.len() as u64, pool.missing().min(room), "what is missing is ordered if there is a slot");
            }
        }

        /// Two hosts that see the same enqueue the same jobs: the second finds them all there.
        #[test]
        fn enqueued_once(pools in pools()) {
            let first = orders(&pools);
            prop_assert_eq!(&first, &orders(&pools));
            let after: Vec<Pool> = pools.iter().cloned().map(|mut pool| {
                for order in first.iter().filter(|order| order.organization == pool.organization) {
                    pool.occupied.insert(order.slot);
                    pool.coming += 1;
                }
                pool
            }).collect();
            prop_assert_eq!(orders(&after), []);
        }

        #[test]
        fn in_the_order_of_need(pools in pools()) {
            let mut filled: Vec<u64> = pools.iter().map(|pool| pool.ready + pool.coming).collect();
            let share = |filled: &[u64], place: usize| filled[place] as f64 / f64::from(pools[place].level);
            let mut last = 0.0;
            for order in orders(&pools) {
                let place = pools.iter().position(|pool| pool.organization == order.organization).expect("one of them");
                let now = share(&filled, place);
                prop_assert!(now >= last);
                last = now;
                filled[place] += 1;
            }
        }
    }
}
