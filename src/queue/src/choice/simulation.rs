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
    (0..4_000_u64, 0..3_u8, 20..4_000_u64, prop::bool::weighted(0.1)).prop_map(|(at, priority, work, fails)| {
        let priority = Priority::try_from(priority).expect("0 to 2");
        Order { at, priority, work, fails }
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

    #[test]
    fn equal_hosts_get_as_much(
        cores in 1..5_u16,
        jobs in 100..250_usize,
        work in 50..1_000_u64,
        at_once: bool,
        low: bool,
        seed in any::<u32>(),
    ) {
        let mut world = World::of(&[Machine { cores, speed: 1 }; 4]);
        let orders = (0..jobs).map(|number| {
            // Keys take more or less by chance.
            let chance = u64::from((number as u32).wrapping_mul(2_654_435_761) ^ seed) % 40;
            let at = if at_once { 0 } else { number as u64 * work / u64::from(cores) / 5 };
            let priority = if low { Priority::Low } else { Priority::Normal };
            Order { at, priority, work: work * (80 + chance) / 100, fails: false }
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
    let orders = vec![Order { at: 0, priority: Priority::Normal, work: 1_000, fails: false }; 180];
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
    let order = |at, priority, work| Order { at, priority, work, fails: false };
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
