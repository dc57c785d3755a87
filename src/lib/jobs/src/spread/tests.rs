use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn hosts(loads: &[(u16, u64)]) -> Vec<Load> {
    loads.iter().map(|&(cores, open)| Load { host: HostId::new(), cores, open }).collect()
}

/// How many of these jobs each host gets.
fn counts(hosts: &[Load], jobs: impl IntoIterator<Item = String>) -> BTreeMap<HostId, u64> {
    let mut spread = Spread::over(hosts.to_vec());
    let mut counts: BTreeMap<HostId, u64> = hosts.iter().map(|load| (load.host, 0)).collect();
    for job in jobs {
        *counts.entry(spread.next(&job).expect("there are hosts")).or_default() += 1;
    }
    counts
}

#[test]
fn nobody_is_there() {
    assert_eq!(Spread::over(Vec::new()).next("job"), None);
}

#[test]
fn several_who_enqueue_one_at_once_name_different_hosts() {
    let hosts = hosts(&[(2, 0); 4]);
    let mut counts = BTreeMap::new();
    // Each knows of none of the others' jobs.
    for job in 0..400 {
        let host = Spread::over(hosts.clone()).next(&format!("certificate/{job}")).expect("there are hosts");
        *counts.entry(host).or_insert(0) += 1;
    }
    assert!(counts.len() == 4 && counts.values().all(|count| (60..=140).contains(count)), "{counts:?}");
}

proptest! {
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
        let first = Spread::over(hosts.clone()).next(&job);
        let by = turn % hosts.len();
        hosts.rotate_left(by);
        prop_assert_eq!(Spread::over(hosts).next(&job), first);
    }
}
