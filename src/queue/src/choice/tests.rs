use culvert_records::Lease;
use proptest::prelude::*;

use super::*;
use crate::TERMS;

const NOW: Millis = 1_790_000_000_000;

fn job(number: usize, priority: Priority) -> Stored<Job> {
    let record = Job::new(format!("job-{number}"), Work::ConsoleCertificate, priority, NOW - 10_000);
    Stored { record, revision: 1, lease: None }
}

fn view() -> View {
    View { host: HostId::new(), now: NOW, uninterrupted: TERMS.length, lease: TERMS.length }
}

fn ready(jobs: impl IntoIterator<Item = Stored<Job>>, view: &View) -> Ready {
    let mut ready = Ready::default();
    ready.add(jobs, &HashSet::new(), view);
    ready
}

fn held(priority: Priority) -> Held {
    Held::of(&job(0, priority).record)
}

fn long(priority: Priority) -> Held {
    let work = Work::DhParams { bits: 2048 };
    Held::of(&Job { work, ..job(0, priority).record })
}

fn suspect(priority: Priority) -> Held {
    Held { suspect: true, ..held(priority) }
}

fn light(priority: Priority) -> Held {
    Held { heavy: false, ..held(priority) }
}

use Priority::{High, Low, Lowest, Normal};
use Wish::{Leave, Rest, Work as Go};

#[test]
fn a_preferred_host_comes_first_for_a_while() {
    let view = view();
    let mut one = job(0, High);
    one.record.preferred = Some(HostId::new());
    one.record.created = NOW - 100;
    let found = ready([one.clone()], &view);
    assert_eq!((found.work.len(), found.again), (0, Some(PREFERENCE - 100)));
    let theirs = View { host: one.record.preferred.expect("set above"), ..view };
    assert_eq!(ready([one.clone()], &theirs).work.len(), 1);
    assert_eq!(ready([one.clone()], &View { now: NOW + PREFERENCE - 100, ..view }).work.len(), 1);
    // Whoever has several takes its own first, among those that are as urgent and not old.
    one.record.created = NOW - 1_000;
    let own = Job { created: NOW - 500, ..job(1, High).record };
    let own = Stored { record: own, revision: 1, lease: None };
    let ids = |found: Ready| found.work.into_iter().map(|job| job.record.id).collect::<Vec<_>>();
    assert_eq!(ids(ready([one.clone(), own.clone(), job(2, Normal)], &view)), ["job-1", "job-0", "job-2"]);
    let later = View { now: NOW + 10_000, ..view };
    assert_eq!(ids(ready([one, own, job(2, Normal)], &later)), ["job-0", "job-1", "job-2"]);
}

#[test]
fn holders_come_first_after_an_outage() {
    let view = view();
    let mut one = job(0, High);
    let lease = Lease { host: HostId::new(), owner: "queue-1".into(), epoch: 4, left: 0 };
    one.lease = Some(lease.clone());
    assert_eq!(ready([one.clone()], &View { uninterrupted: 5_000, ..view }).again, Some(10_000));
    assert_eq!(ready([one.clone()], &View { uninterrupted: 15_000, ..view }).work.len(), 1);
    assert_eq!(ready([one], &View { uninterrupted: 0, host: lease.host, ..view }).work.len(), 1);
}

#[test]
fn what_is_not_to_be_done() {
    let mut jobs = [job(0, High), job(1, High), job(2, High), job(3, High)];
    jobs[0].record.work = Work::Unknown;
    jobs[1].record.cancelled = true;
    jobs[1].record.not_before = NOW + 1_000;
    jobs[2].record.deadline = Some(NOW - 1);
    let found = ready(jobs, &view());
    let ids = |jobs: &[Stored<Job>]| jobs.iter().map(|job| job.record.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&found.work), ids(&found.tidy)), (vec!["job-3".into()], vec!["job-1".into(), "job-2".into()]));
}

#[test]
fn a_suspect_waits_as_if_it_had_failed() {
    let mut one = job(0, High);
    (one.record.begun, one.record.attempts) = (Some(NOW - 500), 2);
    assert_eq!(ready([one.clone()], &view()).again, Some(3_500));
    one.record.begun = Some(NOW - 4_000);
    assert_eq!(ready([one], &view()).work.len(), 1);
}

/// Whoever ended an attempt holds the job for a moment, and nobody is told when it is given back.
#[test]
fn what_rests_after_a_failure_is_looked_at_when_it_is_due() {
    let mut one = job(0, High);
    one.lease = Some(Lease { host: HostId::new(), owner: "queue-1".into(), epoch: 4, left: 14_999 });
    one.record.not_before = NOW + 1_000;
    assert_eq!(ready([one.clone()], &view()).again, Some(1_000));
    one.record.not_before = 0;
    assert_eq!(ready([one.clone()], &view()).again, Some(MOMENT));
    one.record.begun = Some(NOW - 10_000);
    assert_eq!(ready([one], &view()).again, Some(14_999));
}

#[test]
fn one_fills_a_pool_beside_urgent_ones() {
    let all = [held(High), held(Low), held(Low)];
    assert_eq!(
        choose(&all, &[], 3),
        Choice { claim: vec![0, 1], wishes: vec![], full: Full { heavy: true, light: false } }
    );
    assert_eq!(choose(&all, &[held(Low)], 3).claim, [0]);
    assert_eq!(choose(&all[1..], &[held(High)], 3).claim, [0]);
}

#[test]
fn pools_come_before_what_can_wait_for_them() {
    assert_eq!(choose(&[held(Low), held(Lowest)], &[], 3).claim, [0]);
    assert_eq!(choose(&[held(Lowest)], &[held(Low)], 3).claim, [] as [usize; 0]);
}

#[test]
fn what_fills_a_pool_rests_while_its_core_is_needed() {
    let choice = choose(&[held(High)], &[held(Low)], 1);
    assert_eq!((choice.claim, choice.wishes), (vec![0], vec![Rest]));
    // It goes on before another is begun, and while there is a core for both.
    assert_eq!(
        choose(&[held(Low)], &[held(Low)], 1),
        Choice { claim: vec![], wishes: vec![Go], full: Full { heavy: true, light: false } }
    );
    assert_eq!(choose(&[], &[held(High), held(Low)], 1).wishes, [Go, Rest]);
    assert_eq!(choose(&[held(Normal)], &[held(High), held(Low)], 3).wishes, [Go, Go]);
}

#[test]
fn what_takes_long_makes_way_for_what_is_as_urgent() {
    let choice = choose(&[held(High)], &[long(High)], 1);
    assert_eq!((choice.claim, choice.wishes), (vec![0], vec![Rest]));
    assert_eq!(choose(&[held(Normal)], &[long(High)], 1).claim, [] as [usize; 0]);
}

#[test]
fn a_suspect_has_all_cores_to_itself() {
    assert_eq!(choose(&[suspect(High), held(High)], &[], 4).claim, [0]);
    assert_eq!(choose(&[held(High), suspect(High), held(High)], &[], 4).claim, [0], "first what comes before it");
    // What is as urgent is waited for, what is less makes way; nothing else that takes a core is begun meanwhile.
    let choice = choose(&[suspect(Normal), held(Normal)], &[held(High), held(Normal), held(Low)], 8);
    assert_eq!((choice.claim, choice.wishes), (vec![], vec![Go, Go, Leave]));
    // While it is done, others wait, unless they are more urgent.
    assert_eq!(choose(&[held(Normal)], &[suspect(Normal)], 4).wishes, [Go]);
    let choice = choose(&[held(High)], &[suspect(Normal)], 4);
    assert_eq!((choice.claim, choice.wishes), (vec![], vec![Leave]));
}

#[test]
fn writes_go_beside_a_suspect() {
    assert_eq!(choose(&[suspect(High), light(Normal)], &[], 4).claim, [1, 0]);
    let choice = choose(&[light(High), held(Normal), light(Normal)], &[suspect(Normal), light(Low)], 4);
    assert_eq!((choice.claim, choice.wishes), (vec![0, 2], vec![Go, Go]));
    assert_eq!(choice.full, Full { heavy: true, light: false });
    // Nor do they keep it waiting.
    assert_eq!(choose(&[suspect(Normal)], &[light(High)], 4).claim, [0]);
}

#[test]
fn a_search_makes_way_for_a_suspect() {
    let choice = choose(&[suspect(Normal)], &[long(High)], 4);
    assert_eq!((choice.claim, choice.wishes), (vec![], vec![Leave]));
    // And waits for it, here and where it is held.
    assert_eq!(choose(&[long(High), suspect(Normal)], &[], 4).claim, [1]);
    assert_eq!(choose(&[long(High)], &[suspect(Normal)], 4).wishes, [Go]);
    // But not for one that has to wait itself.
    let choice = choose(&[suspect(Normal)], &[held(High), long(High)], 4);
    assert_eq!((choice.claim, choice.wishes), (vec![], vec![Go, Go]));
    assert_eq!(choose(&[held(High), long(High), suspect(Normal)], &[], 4).claim, [0, 1]);
}

fn anything() -> impl Strategy<Value = Held> {
    (0..4_u8, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(priority, heavy, long, suspect)| {
        let urgency = Urgency { priority: Priority::try_from(priority).expect("0 to 3"), long: long && heavy };
        Held { urgency, heavy, suspect }
    })
}

proptest! {
    #[test]
    fn within_bounds(
        mut ready in prop::collection::vec(anything(), 0..20),
        mut held in prop::collection::vec(anything(), 0..6),
        cores in 1..5_usize,
    ) {
        ready.sort_by_key(|job| job.urgency);
        // What takes a core is not held beside a suspect.
        if held.iter().filter(|job| !job.goes_beside()).count() > 1 {
            held.iter_mut().for_each(|job| job.suspect = false);
        }
        let choice = choose(&ready, &held, cores);
        prop_assert_eq!(choice.wishes.len(), held.len());
        let goes = held.iter().zip(&choice.wishes).filter(|(_, wish)| **wish == Go).map(|(job, _)| *job);
        let begun: Vec<Held> = choice.claim.iter().map(|place| ready[*place]).collect();
        let active: Vec<Held> = goes.chain(begun.iter().copied()).collect();
        prop_assert!(active.iter().filter(|job| job.heavy).count() <= cores);
        prop_assert!(active.iter().filter(|job| job.goes_beside()).count() <= LIGHT);
        let behind = active.iter().filter(|job| job.urgency.priority.in_background() && !job.suspect);
        prop_assert!(behind.count() <= 1);
        let cores = active.iter().filter(|job| !job.goes_beside()).count();
        prop_assert!(cores <= 1 || !active.iter().any(|job| job.suspect), "{active:?}");
        prop_assert!(!begun.iter().any(|job| job.suspect) || held.iter().all(Held::goes_beside));
        // What is only writes waits for nothing but what is only writes, and for the background.
        let lights = held.iter().chain(&begun).filter(|job| !job.heavy).count();
        let unused = ready.iter().enumerate().filter(|(place, job)| job.goes_beside() && !choice.claim.contains(place));
        prop_assert!(lights >= LIGHT || unused.into_iter().all(|(_, job)| job.urgency.priority.in_background()));
        // Nothing rests for what is less urgent.
        for (job, wish) in held.iter().zip(&choice.wishes) {
            prop_assert!(*wish != Rest || begun.iter().all(|other| other.suspect || other.urgency < job.urgency || other.heavy != job.heavy || job.urgency.priority.in_background()));
        }
        // Somebody goes on, or is about to when those that leave are gone.
        let idle = active.is_empty() && !choice.wishes.contains(&Leave);
        prop_assert!(!idle || ready.is_empty() && held.is_empty(), "{choice:?}");
    }

    #[test]
    fn at_the_time_that_was_named_one_is_ready(
        jobs in prop::collection::vec((0..4_u8, 0..2_000_u64, prop::option::of(0..2_000_u64), any::<bool>(), any::<bool>()), 0..30),
    ) {
        let view = view();
        let jobs = jobs.into_iter().enumerate().map(|(number, (priority, wait, left, other, suspect))| {
            let mut job = job(number, Priority::try_from(priority).expect("0 to 3"));
            job.record.not_before = NOW - 1_000 + wait;
            job.record.preferred = other.then(HostId::new);
            job.record.begun = suspect.then_some(NOW - wait);
            // Of what nobody has begun, the lease is about to change.
            let left = left.map(|left| if suspect { left } else { left % (MOMENT + 1) });
            job.lease = left.map(|left| Lease { host: HostId::new(), owner: String::new(), epoch: 1, left });
            job
        });
        let mut jobs: Vec<Stored<Job>> = jobs.collect();
        let now = ready(jobs.clone(), &view);
        prop_assert!(now.work.iter().all(|job| job.record.not_before <= NOW && job.held_for() == 0));
        if let Some(again) = now.again {
            for lease in jobs.iter_mut().filter_map(|job| job.lease.as_mut()) {
                lease.left = lease.left.saturating_sub(again);
            }
            let later = ready(jobs, &View { now: NOW + again, ..view });
            prop_assert!(later.work.len() > now.work.len());
        }
    }
}
