use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn hosts(loads: &[(u16, u64)]) -> Vec<Load> {
    loads.iter().map(|&(cores, open)| Load { host: HostId::new(), cores, open }).collect()
}

/// How many of these jobs each host gets.
fn counts(hosts: &[Load], jobs: impl IntoIterator<Item = String>) -> BTreeMap<HostId, u64> {
    let mut given = Given::new();
    let mut spread = Spread::over(hosts.to_vec(), &mut given);
    let mut counts: BTreeMap<HostId, u64> = hosts.iter().map(|load| (load.host, 0)).collect();
    for job in jobs {
        *counts.entry(spread.next(&job).expect("there are hosts")).or_default() += 1;
    }
    counts
}

/// The host that a job gets of somebody who enqueues for the first time.
fn alone(hosts: Vec<Load>, job: &str) -> Option<HostId> {
    Spread::over(hosts, &mut Given::new()).next(job)
}

#[test]
fn nobody_is_there() {
    assert_eq!(alone(Vec::new(), "job"), None);
}

#[test]
fn several_who_enqueue_one_at_once_name_different_hosts() {
    let hosts = hosts(&[(2, 0); 4]);
    let mut counts = BTreeMap::new();
    // Each knows of none of the others' jobs.
    for job in 0..400 {
        let host = alone(hosts.clone(), &format!("certificate/{job}")).expect("there are hosts");
        *counts.entry(host).or_insert(0) += 1;
    }
    assert!(counts.len() == 4 && counts.values().all(|count| (60..=140).contains(count)), "{counts:?}");
}

/// Nobody has anything to do when a job comes; hosts come and go. None is owed more than it could do.
#[test]
fn who_was_away_gets_a_few_more() {
    let hosts = hosts(&[(2, 0); 3]);
    let mut given = Given::new();
    let mut deal = |hosts: &[Load], jobs: std::ops::Range<u64>| {
        let job = |job: u64| Spread::over(hosts.to_vec(), &mut given).next(&job.to_string()).expect("there are hosts");
        jobs.map(job).collect::<Vec<_>>()
    };
    assert!(!deal(&hosts[..2], 0..100).contains(&hosts[2].host), "it is away");
    let after = deal(&hosts, 100..200);
    let (new, run) = (hosts[2].host, after.iter().take_while(|host| **host == hosts[2].host).count() as u64);
    assert!(run <= DEBT + 1, "{run} one after the other");
    let share = after.iter().filter(|host| **host == new).count() as u64;
    assert!((33..=33 + DEBT).contains(&share), "{share} of 100");
}

#[test]
fn what_was_there_already_is_taken_back() {
    let hosts = hosts(&[(2, 0); 4]);
    let mut given = [Given::new(), Given::new()];
    let mut counts = BTreeMap::new();
    // Both enqueue the same, and by turns the one or the other is first.
    for job in 0..100 {
        let id = job.to_string();
        let named =
            given.each_mut().map(|given| Spread::over(hosts.clone(), given).next(&id).expect("there are hosts"));
        let first = usize::from(job % 3 == 0);
        *counts.entry(named[first]).or_insert(0) += 1;
        given[1 - first].take_back(named[1 - first]);
    }
    assert!(counts.len() == 4 && counts.values().all(|count| (24..=26).contains(count)), "{counts:?}");
}

proptest! {
    /// Each ends before the next one is enqueued, so that nobody has anything to do when it comes.
    #[test]
    fn even_for_a_trickle(number in 2..8_usize, enqueuers in 1..9_usize, by in prop::collection::vec(0..9_usize, 100..400)) {
        let hosts = hosts(&vec![(2, 0); number]);
        let mut counts: BTreeMap<HostId, usize> = hosts.iter().map(|load| (load.host, 0)).collect();
        let mut given: Vec<Given> = (0..enqueuers).map(|_| Given::new()).collect();
        for (job, by) in by.iter().enumerate() {
            let host = Spread::over(hosts.clone(), &mut given[by % enqueuers]).next(&job.to_string());
            *counts.entry(host.expect("there are hosts")).or_default() += 1;
        }
        let (idlest, busiest) = (counts.values().min().copied(), counts.values().max().copied());
        prop_assert!(busiest <= idlest.map(|idlest| idlest + enqueuers), "{counts:?}");
    }

    #[test]
    fn even_over_equal_hosts(number in 2..8_usize, cores in 1..65_u16, jobs in 100..400_usize) {
        let counts = counts(&hosts(&vec![(cores, 0); number]), (0..jobs).map(|job| job.to_string()));
        let (idlest, busiest) = (counts.values().min().copied(), counts.values().max().copied());
        prop_assert!(busiest <= idlest.map(|idlest| idlest + 1), "{counts:?}");
    }

    #[test]
    fn by_cores_over_unequal_hosts(loads in prop::collection::vec((1..17_u16, 0..50_u64), 1..8), jobs in 0..400_u64) {
        let hosts = hosts(&loads);
        let counts = counts(&hosts, (0..jobs).map(|job| job.to_string()));
        prop_assert_eq!(counts.values().sum::<u64>(), jobs);
        // Nobody who was given a job would have fewer per core with it elsewhere.
        for given in hosts.iter().filter(|load| counts[&load.host] > 0) {
            let has = (given.open + counts[&given.host], u64::from(given.cores));
            for other in &hosts {
                let would = (other.open + counts[&other.host] + 1, u64::from(other.cores));
                prop_assert!(has.0 * would.1 <= would.0 * has.1, "{hosts:?} {counts:?}");
            }
        }
    }

    #[test]
    fn the_same_whoever_asks(loads in prop::collection::vec((1..5_u16, 0..5_u64), 1..8), job in "[a-z/]{1,30}", turn in 0..8_usize) {
        let mut hosts = hosts(&loads);
        let first = alone(hosts.clone(), &job);
        let by = turn % hosts.len();
        hosts.rotate_left(by);
        prop_assert_eq!(alone(hosts, &job), first);
    }
}
