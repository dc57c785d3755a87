//! Which jobs to claim now, and when to look again.

use std::collections::HashSet;

use culvert_lease::{Last, may_claim};
use culvert_model::record::{Job, Priority};
use culvert_model::{HostId, Millis};
use culvert_records::Stored;

use crate::TERMS;

/// How long a job that prefers another host waits for it, milliseconds.
pub const PREFERENCE: Millis = 500;

/// What the choice depends on besides the jobs.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// This host.
    pub host: HostId,
    /// Milliseconds since 1970 by the store's clock.
    pub now: Millis,
    /// For how long the store has answered.
    pub uninterrupted: Millis,
    /// Jobs that this process is doing.
    pub running: &'a HashSet<String>,
    /// Whether a job of low priority may be begun beside what is running.
    pub low: bool,
    /// How many jobs may be begun beside what is running.
    pub free: usize,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The places of the jobs that are to be claimed, most urgent first.
    pub claim: Vec<usize>,
    /// In how many milliseconds another one can be claimed, if nothing changes.
    pub again: Option<Millis>,
}

/// The choice among open jobs in the order of priority and age.
pub fn choose(jobs: &[Stored<Job>], view: &View<'_>) -> Choice {
    let mut choice = Choice::default();
    let mut low = view.low;
    for (place, job) in jobs.iter().enumerate() {
        if view.running.contains(&job.record.id) {
            continue;
        }
        let wait = wait(job, view);
        if wait > 0 {
            choice.again = Some(choice.again.map_or(wait, |again| again.min(wait)));
            continue;
        }
        let lowest = job.record.priority == Priority::Low;
        if choice.claim.len() < view.free && (low || !lowest) {
            low &= !lowest;
            choice.claim.push(place);
        }
    }
    choice
}

/// How many milliseconds from now this host may claim the job.
fn wait(job: &Stored<Job>, view: &View<'_>) -> Millis {
    let preferred = match job.record.preferred {
        Some(host) if host != view.host => job.record.created.max(job.record.not_before) + PREFERENCE,
        _ => 0,
    };
    let ready = job.record.not_before.max(preferred).saturating_sub(view.now);
    let held = job.held_for();
    let last = match &job.lease {
        None => Last::Nobody,
        Some(lease) if lease.host == view.host => Last::Us,
        Some(_) => Last::Another,
    };
    let outage = if may_claim(last, 0, TERMS.length, view.uninterrupted) {
        0
    } else {
        TERMS.length.saturating_sub(view.uninterrupted)
    };
    ready.max(held).max(outage)
}

#[cfg(test)]
mod tests {
    use culvert_model::record::Work;
    use culvert_records::Lease;
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    fn job(number: usize, priority: Priority) -> Stored<Job> {
        let record = Job::new(format!("job-{number}"), Work::ConsoleCertificate, priority, NOW - 10_000);
        Stored { record, revision: 1, lease: None }
    }

    fn view(running: &HashSet<String>) -> View<'_> {
        View { host: HostId::new(), now: NOW, uninterrupted: TERMS.length, running, low: true, free: 3 }
    }

    #[test]
    fn one_of_low_priority_beside_urgent_ones() {
        let none = HashSet::new();
        let jobs = [job(0, Priority::High), job(1, Priority::Low), job(2, Priority::Low)];
        assert_eq!(choose(&jobs, &view(&none)), Choice { claim: vec![0, 1], again: None });
        assert_eq!(choose(&jobs, &View { low: false, ..view(&none) }).claim, [0]);
        let running = HashSet::from(["job-0".to_string()]);
        assert_eq!(choose(&jobs, &view(&running)).claim, [1]);
    }

    #[test]
    fn a_preferred_host_comes_first_for_a_while() {
        let none = HashSet::new();
        let mut jobs = [job(0, Priority::High)];
        jobs[0].record.preferred = Some(HostId::new());
        jobs[0].record.created = NOW - 100;
        assert_eq!(choose(&jobs, &view(&none)), Choice { claim: vec![], again: Some(400) });
        let mine = View { host: jobs[0].record.preferred.expect("set above"), ..view(&none) };
        assert_eq!(choose(&jobs, &mine).claim, [0]);
        assert_eq!(choose(&jobs, &View { now: NOW + 400, ..view(&none) }).claim, [0]);
    }

    #[test]
    fn holders_come_first_after_an_outage() {
        let none = HashSet::new();
        let mut jobs = [job(0, Priority::High)];
        let lease = Lease { host: HostId::new(), owner: "queue-1".into(), epoch: 4, left: 0 };
        jobs[0].lease = Some(lease.clone());
        let choice = choose(&jobs, &View { uninterrupted: 5_000, ..view(&none) });
        assert_eq!(choice, Choice { claim: vec![], again: Some(10_000) });
        assert_eq!(choose(&jobs, &View { uninterrupted: 15_000, ..view(&none) }).claim, [0]);
        assert_eq!(choose(&jobs, &View { uninterrupted: 0, host: lease.host, ..view(&none) }).claim, [0]);
    }

    proptest! {
        #[test]
        fn within_bounds_and_never_too_early(
            jobs in prop::collection::vec((0..3_u8, 0..2_000_u64, prop::option::of(0..2_000_u64), any::<bool>()), 0..30),
            free in 0..5_usize,
            low: bool,
        ) {
            let none = HashSet::new();
            let mut jobs: Vec<_> = jobs.into_iter().enumerate().map(|(number, (priority, wait, left, other))| {
                let mut job = job(number, Priority::try_from(priority).expect("0 to 2"));
                job.record.not_before = NOW - 1_000 + wait;
                job.record.preferred = other.then(HostId::new);
                job.lease = left.map(|left| Lease { host: HostId::new(), owner: String::new(), epoch: 1, left });
                job
            }).collect();
            jobs.sort_by_key(|job| job.record.priority);
            let view = View { low, free, ..view(&none) };
            let choice = choose(&jobs, &view);
            prop_assert!(choice.claim.len() <= free);
            let lows = choice.claim.iter().filter(|place| jobs[**place].record.priority == Priority::Low).count();
            prop_assert!(lows <= usize::from(low));
            for place in &choice.claim {
                prop_assert!(jobs[*place].record.not_before <= NOW && jobs[*place].held_for() == 0);
            }
            // At the time that was named, one can be claimed that could not before.
            if let Some(again) = choice.again {
                let waits: Vec<_> = jobs.iter().map(|job| wait(job, &view)).collect();
                for job in &mut jobs {
                    if let Some(lease) = &mut job.lease {
                        lease.left = lease.left.saturating_sub(again);
                    }
                }
                let later = View { now: NOW + again, ..view };
                prop_assert!(jobs.iter().zip(&waits).any(|(job, before)| *before > 0 && wait(job, &later) == 0));
            }
        }
    }
}
