//! Any number of pools of every kind, as full as they may be.

use culvert_model::Id;
use culvert_model::record::Work;
use proptest::prelude::*;

use super::*;

/// A pool of any kind; pools of different numbers are different ones.
fn stock(number: u8) -> impl Strategy<Value = Stock> {
    let organization = Id::from_bytes([number; 12]);
    let bits = 2048 + u16::from(number);
    // There is one pool of CAs.
    prop_oneof![
        Just(if number == 0 { Stock::Authority } else { Stock::DhParams(bits) }),
        Just(Stock::Client(organization)),
        Just(Stock::Server(organization)),
    ]
}

/// A job in a slot, or one that somebody ordered besides.
fn job(stock: Stock) -> impl Strategy<Value = Job> {
    let slot = prop_oneof![(0..20_u16).prop_map(|slot| slot.to_string()), "[a-z]{4}[a-z0-9]{4}"];
    (slot, any::<[bool; 3]>()).prop_map(move |(slot, [dead, reserved, cancelled])| {
        let job = Job::new(format!("{}{slot}", stock.prefix()), stock.work(), Priority::Low, 1);
        let state = if dead { JobState::Dead } else { JobState::Open };
        Job { state, reserved: reserved.then(|| "somebody".into()), cancelled, ..job }
    })
}

fn pool(number: u8) -> impl Strategy<Value = Pool> {
    stock(number).prop_flat_map(|stock| {
        let jobs = prop::collection::vec(job(stock), 0..20).prop_map(|mut jobs| {
            jobs.sort_by(|one, other| one.id.cmp(&other.id));
            jobs.dedup_by(|one, other| one.id == other.id);
            jobs
        });
        (0..20_u16, 0..25_u64, jobs).prop_map(move |(level, ready, jobs)| Pool::of(stock, level, ready, &jobs))
    })
}

fn pools() -> impl Strategy<Value = Vec<Pool>> {
    (0..8_u8).prop_flat_map(|count| (0..count).map(pool).collect::<Vec<_>>())
}

fn of(pool: &Pool, orders: &[Order]) -> Vec<u16> {
    orders.iter().filter(|order| order.stock == pool.stock).map(|order| order.slot).collect()
}

#[test]
fn the_emptiest_comes_first() {
    let organization = Id::from_bytes([1; 12]);
    let empty = |stock, level, ready| Pool::of(stock, level, ready, &[]);
    let coming = Order { stock: Stock::Client(organization), slot: 0 }.job(1);
    let pools = [
        Pool::of(Stock::Client(organization), 4, 2, &[coming]),
        empty(Stock::Authority, 2, 0),
        empty(Stock::DhParams(2048), 4, 2),
    ];
    let order = |stock, slot| Order { stock, slot };
    let (client, dh) = (Stock::Client(organization), Stock::DhParams(2048));
    let expected =
        [order(Stock::Authority, 0), order(Stock::Authority, 1), order(dh, 0), order(client, 1), order(dh, 1)];
    assert_eq!(orders(&pools), expected);
}

#[test]
fn an_id_names_its_slot() {
    let organization = Id::from_bytes([7; 12]);
    let order = Order { stock: Stock::Server(organization), slot: 3 };
    assert_eq!(order.id(), "certificate/070707070707070707070707/server/3");
    assert_eq!(order.stock.slot(&order.id()), Some(3));
    assert_eq!(Stock::Client(organization).slot(&order.id()), None);
    assert_eq!(order.stock.slot("certificate/070707070707070707070707/server/5f3a77"), None);
    assert_eq!(Order { stock: Stock::DhParams(3072), slot: 0 }.id(), "dh-params/3072/0");
    assert_eq!(Order { stock: Stock::Authority, slot: 1 }.job(1).work, Work::SpareCa);
}

proptest! {
    #[test]
    fn never_above_the_level_and_never_twice(pools in pools()) {
        let orders = orders(&pools);
        let distinct: BTreeSet<_> = orders.iter().map(Order::id).collect();
        prop_assert_eq!(distinct.len(), orders.len());
        for pool in &pools {
            let mine = of(pool, &orders);
            prop_assert!(mine.iter().all(|slot| *slot < pool.level && !pool.occupied.contains(slot)));
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
            for slot in of(&pool, &first) {
                pool.occupied.insert(slot);
                pool.coming += 1;
            }
            pool
        }).collect();
        prop_assert_eq!(orders(&after), []);
    }

    /// Whatever is taken, done or given up: the pool is full at once, but for the slots of dead jobs, and never above.
    #[test]
    fn filled_whatever_happens(stock in stock(0), level in 1..10_u16, steps in prop::collection::vec(0..3_u8, 1..60)) {
        let (mut ready, mut jobs) = (0_u64, Vec::<Job>::new());
        for step in steps {
            let open = jobs.iter().position(|job| job.state == JobState::Open);
            match (step, open) {
                (0, _) => ready = ready.saturating_sub(1),
                (1, Some(place)) => {
                    jobs.remove(place);
                    ready += 1;
                }
                (2, Some(place)) => jobs[place].state = JobState::Dead,
                _ => {}
            }
            let look = |jobs: &[Job]| Pool::of(stock, level, ready, jobs);
            jobs.extend(orders(&[look(&jobs)]).iter().map(|order| order.job(1)));
            let pool = look(&jobs);
            let there = pool.ready + pool.coming;
            prop_assert!(there <= u64::from(level));
            prop_assert!(there == u64::from(level) || there + pool.dead >= u64::from(level));
        }
    }

    #[test]
    fn in_the_order_of_need(pools in pools()) {
        let mut filled: Vec<u64> = pools.iter().map(|pool| pool.ready + pool.coming).collect();
        let share = |filled: &[u64], place: usize| filled[place] as f64 / f64::from(pools[place].level);
        let mut last = 0.0;
        for order in orders(&pools) {
            let place = pools.iter().position(|pool| pool.stock == order.stock).expect("one of them");
            let now = share(&filled, place);
            prop_assert!(now >= last);
            last = now;
            filled[place] += 1;
        }
    }

    /// Dead and cancelled jobs and those that somebody waits for fill nothing, but dead ones keep their slot.
    #[test]
    fn what_counts(stock in stock(0), jobs in prop::collection::vec(job(Stock::Authority), 0..10)) {
        let jobs: Vec<Job> = jobs.into_iter().enumerate().map(|(number, job)| {
            Job { id: format!("{}{number}", stock.prefix()), work: stock.work(), ..job }
        }).collect();
        let pool = Pool::of(stock, 20, 0, &jobs);
        prop_assert_eq!(pool.occupied.len(), jobs.len());
        prop_assert!(pool.coming + pool.dead <= jobs.len() as u64);
        let ordered = of(&pool, &orders(std::slice::from_ref(&pool))).len() as u64;
        prop_assert_eq!(ordered, (20 - pool.coming).min(20 - jobs.len() as u64));
    }
}
