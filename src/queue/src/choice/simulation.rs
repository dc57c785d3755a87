//! Hosts, whoever enqueues, and jobs, as the whole of them behaves: time goes in steps of some milliseconds, and hosts hear
//! of changes a little late.

mod world;

use proptest::prelude::*;
use world::{Machine, Order, World};

use super::*;

fn machines(cores: std::ops::Range<u16>) -> impl Strategy<Value = Vec<Machine>> {
    prop::collection::vec((cores, 1..8_u64).prop_map(|(cores, speed)| Machine { cores, speed }), 1..6)
}

fn order() -> impl Strategy<Value = Order> {
    let all = (0..4_000_u64, 0..4_u8, 20..4_000_u64, 1..9_u64, prop::bool::weighted(0.1));
    all.prop_map(|(at, priority, work, parts, fails)| {
        let priority = Priority::try_from(priority).expect("0 to 3");
        Order { at, priority, work, parts, fails }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_for_long_while_a_host_has_room(
        machines in machines(1..9),
        orders in prop::collection::vec(order(), 1..150),
    ) {
        World::of(&machines).run(orders);
    }

    /// Few enough for one host to have nothing to do while another has too much.
    #[test]
    fn nor_among_few_jobs(machines in machines(1..3), orders in prop::collection::vec(order(), 1..12)) {
        World::of(&machines).run(orders);
    }

    /// Nor while the queue of a host that counts as online is down, or after an outage; and it all comes to an end.
    #[test]
    fn nor_in_trouble(
        machines in machines(1..4),
        orders in prop::collection::vec(order(), 1..60),
        outage: bool,
        down: bool,
    ) {
        let mut world = World::of(&machines);
        if outage {
            world = world.after_an_outage();
        }
        world.hosts[0].down = down && machines.len() > 1;
        world.run(orders);
    }

    #[test]
    fn equal_hosts_get_as_much(
        cores in 1..5_u16,
        jobs in 100..250_usize,
        work in 50..1_000_u64,
        // All at once, as fast as they can be done, or each when the one before it has long ended.
        pace in prop::sample::select(vec![0, 1, 40]),
        low: bool,
        seed in any::<u32>(),
    ) {
        let mut world = World::of(&[Machine { cores, speed: 1 }; 4]);
        let orders = (0..jobs).map(|number| {
            // Keys take more or less by chance.
            let chance = u64::from((number as u32).wrapping_mul(2_654_435_761) ^ seed) % 40;
            let at = number as u64 * pace * work / u64::from(cores) / 5;
            let priority = if low { Priority::Low } else { Priority::Normal };
            Order { at, priority, work: work * (80 + chance) / 100, parts: 1, fails: false }
        });
        world.run(orders.collect());
        let counts: Vec<u64> = world.hosts.iter().map(|host| host.jobs).collect();
        let (idlest, busiest) = (counts.iter().min(), counts.iter().max());
        prop_assert!(busiest.zip(idlest).is_some_and(|(busiest, idlest)| busiest * 4 <= idlest * 5), "{counts:?}");
    }
}

/// One large job among small ones, or hosts of different sizes: what counts is that nobody is idle while there is work.
#[test]
fn unequal_hosts_get_what_they_can_do() {
    let mut world = World::of(&[Machine { cores: 1, speed: 1 }, Machine { cores: 4, speed: 2 }]);
    let orders = vec![Order { at: 0, priority: Priority::Normal, work: 1_000, parts: 1, fails: false }; 180];
    let took = world.run(orders);
    let counts: Vec<u64> = world.hosts.iter().map(|host| host.jobs).collect();
    // Nine units of work a millisecond in all.
    let longest = world.longest;
    println!(
        "180 jobs took {took} ms of at least 20000, {counts:?}; none waited more than {longest} ms for a host with room"
    );
    assert!(took <= 22_000 && (18..=22).contains(&counts[0]), "{took} ms, {counts:?}");
}

/// Something urgent comes to one of two hosts that are busy; then the other has nothing to do any more.
#[test]
fn what_rests_on_a_busy_host_is_begun_on_an_idle_one() {
    let order = |at, priority, work| Order { at, priority, work, parts: 1, fails: false };
    let orders =
        vec![order(0, Priority::Normal, 4_000), order(0, Priority::Normal, 500), order(400, Priority::High, 3_000)];
    let worlds = (0..20).map(|_| {
        let mut world = World::of(&[Machine { cores: 1, speed: 1 }; 2]);
        let took = world.run(orders.clone());
        assert!(took < 5_500, "{took} ms");
        world.offered
    });
    // Which of the two it comes to is decided by their ids.
    assert!(worlds.sum::<usize>() > 0);
}

/// Sixteen seconds of work in so many parts, on one host that gets something urgent every second; another counts as having
/// room, and does nothing.
fn interrupted(parts: u64, change: impl FnOnce(World) -> World) -> World {
    let urgent =
        |second: u64| Order { at: second * 1_000, priority: Priority::High, work: 400, parts: 1, fails: false };
    let mut orders: Vec<Order> = (1..120).map(urgent).collect();
    orders.push(Order { at: 0, priority: Priority::Normal, work: 16_000, parts, fails: false });
    let mut world = change(World::of(&[Machine { cores: 1, speed: 1 }; 2]));
    world.hosts[1].down = true;
    world.run(orders);
    world
}

#[test]
fn what_nobody_takes_is_given_back_once() {
    let world = interrupted(1, |world| world);
    let ended = world.end_of(Priority::Normal);
    println!("given back {} times, done after {ended} ms", world.offered);
    assert_eq!(world.offered, 1);
    assert!(ended < 35_000, "{ended} ms");
}

#[test]
fn nor_is_what_is_made_thrown_away() {
    // Each part takes half a second, and the first is made before anything urgent comes.
    let world = interrupted(32, |world| world);
    assert_eq!((world.offered, world.lost.iter().sum::<u64>()), (0, 0));
    assert!(world.end_of(Priority::Normal) < 35_000);
}

#[test]
fn nothing_is_given_back_that_nobody_may_take() {
    let world = interrupted(1, World::after_an_outage);
    let ended = world.end_of(Priority::Normal);
    // Once, when there has been contact for a lease.
    assert!(world.offered <= 1, "{} times", world.offered);
    assert!(world.first_offer.is_none_or(|at| at >= crate::TERMS.length), "{:?}", world.first_offer);
    assert!(ended < 60_000, "{ended} ms");
}
