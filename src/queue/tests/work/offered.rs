//! What waits or rests while a host has room for it: begun there within half a second. Needs mongod: `make setup`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::kit::{Hosts, host, job, jobs, new_user, until, with_ca};
use culvert_jobs::enqueue;
use culvert_lease::Terms;
use culvert_model::record::{Host, Job, Priority, Purpose, Settings, Tls, Work};
use culvert_model::{HostId, KeyKind, Role};
use culvert_records::{Bus, Guard, Kept, Query, Stored, insert, update};

/// More than half a second, for a machine that is busy with everything else; less than what a queue waits for that hears
/// of nothing.
const SOON: Duration = Duration::from_secs(2);

/// An idle host's queue, once it has been in contact for long enough to claim what others had.
async fn idle_queue(bus: Bus) {
    let terms = Terms::of(1_500);
    tokio::spawn(culvert_queue::attend_on(bus.clone(), terms, std::future::pending()));
    until("contact for a lease", async || {
        bus.here().await.expect("the bus answers");
        (bus.uninterrupted() > terms.length).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_something_urgent() {
    let hosts = Hosts::of(2).await;
    let api = &hosts.bus(0, Role::Api);
    let [busy, idle] = [0, 1].map(|host| hosts.stages[host].host);
    api.insert(&Settings { user_key: KeyKind::Rsa4096, ..Settings::default() }).await.expect("no settings yet");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for id in [busy, idle] {
        api.insert(&Host { cores: cores as u16, ..host(id) }).await.expect("a new host");
    }
    for host in 0..2 {
        idle_queue(hosts.bus(host, Role::Queue)).await;
    }
    let organization = with_ca(api).await;
    let enqueue = async |id: &str, priority| {
        let (_, now) = api.here().await.expect("the bus answers");
        // A minute's work, whose keys take a second or two each. Until the first is made it may be given back: it is
        // interrupted at once.
        let work = Work::Users { organization, users: (0..32).map(|user| new_user(format!("{id}/{user}"))).collect() };
        let job = Job { preferred: Some(busy), created: now, ..job(id, work, priority) };
        api.insert(&job).await.expect("a new job");
    };
    let holder = async |id: &str| {
        let job = api.get::<Job>(id).await.expect("the bus answers").expect("it takes longer");
        (job.held_for() > 0 && job.record.begun.is_some()).then(|| job.lease.expect("it is held").host)
    };
    enqueue("rests", Priority::Normal).await;
    assert_eq!(until("it to be begun", async || holder("rests").await).await, busy);
    let urgent: Vec<String> = (0..cores).map(|number| format!("urgent-{number}")).collect();
    for id in &urgent {
        enqueue(id, Priority::High).await;
    }
    let begun = Instant::now();
    until("another host to have it", async || (holder("rests").await? == idle).then_some(())).await;
    println!("begun by the idle host {:?} after something urgent came to the busy one", begun.elapsed());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for id in urgent {
        assert_eq!(holder(&id).await, Some(busy));
    }
    let rests = api.get::<Job>("rests").await.expect("the bus answers").expect("it takes longer").record;
    assert_eq!(rests.attempts, 1, "making way is no failure");
}

/// Whoever failed holds the job a little longer than the write that says so, and nobody hears of its release. Here that is the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failure() {
    let hosts = Hosts::of(2).await;
    let (api, other) = (hosts.bus(0, Role::Api), hosts.bus(0, Role::Queue));
    let waits = Job { preferred: Some(hosts.stages[0].host), ..job("waits", Work::ConsoleCertificate, Priority::High) };
    api.insert(&waits).await.expect("a new job");
    let Kept::Held(held) = other.claim::<Job>("waits", None, "other", 15_000).await.expect("the bus answers") else {
        panic!("nobody else has it")
    };
    idle_queue(hosts.bus(1, Role::Queue)).await;
    let (_, now) = api.here().await.expect("the bus answers");
    let due = now + 1_000;
    let failed = Job { attempts: 1, not_before: due, error: Some("no luck".into()), ..held.record.clone() };
    let claim = held.claim().expect("it is held");
    let guard = Guard { revision: Some(held.revision), claim: Some(claim.clone()) };
    other.write(vec![update(&failed, guard)]).await.expect("it is held");
    tokio::time::sleep(Duration::from_millis(100)).await;
    other.release::<Job>("waits", &claim).await.expect("the bus answers");
    until("no jobs", async || (jobs(&api).await == 0).then_some(())).await;
    let (_, done) = api.here().await.expect("the bus answers");
    assert!(api.get::<Tls>(Tls::ID).await.expect("the bus answers").is_some());
    println!("done {} ms after it was due", done - due);
    assert!(done >= due && done - due < SOON.as_millis() as u64, "{} ms late", done - due);
}

/// How long a job may wait while a host has a free slot.
const PROMISE: Duration = Duration::from_millis(500);

/// What a watcher saw of a burst of jobs.
#[derive(Debug, Default)]
struct Seen {
    /// How long a job waited at the longest while some host had a free slot all the time.
    longest: Duration,
    /// The time between two looks, at the longest: so late is anybody on this machine.
    slowest: Duration,
    /// How many jobs each host had at a time, at the most.
    most: HashMap<HostId, usize>,
}

/// Watches until no job is left.
async fn watch(api: &Bus, slots: &[(HostId, usize)]) -> Seen {
    let (mut seen, mut waits) = (Seen::default(), HashMap::<String, Instant>::new());
    let mut before = Instant::now();
    loop {
        let open = api.list::<Job>(Query::by("by_state").equal("open")).await.expect("the bus answers");
        let now = Instant::now();
        seen.slowest = seen.slowest.max(now - before);
        before = now;
        if open.is_empty() {
            return seen;
        }
        let holder = |job: &Stored<Job>| job.lease.as_ref().filter(|lease| lease.left > 0).map(|lease| lease.host);
        let mut room = false;
        for (host, cores) in slots {
            let held = open.iter().filter(|job| holder(job) == Some(*host)).count();
            let most = seen.most.entry(*host).or_default();
            *most = held.max(*most);
            room |= held < *cores;
        }
        let waiting = open.into_iter().filter(|job| room && holder(job).is_none()).map(|job| job.record.id);
        waits = waiting.map(|id| waits.remove_entry(&id).unwrap_or((id, now))).collect();
        let longest = waits.values().map(|since| now - *since).max().unwrap_or_default();
        seen.longest = seen.longest.max(longest);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Bursts of jobs for hosts of one, two and four cores: spread over them, and all for the smallest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_unequal_hosts() {
    let hosts = Hosts::of(3).await;
    let api = &hosts.bus(0, Role::Api);
    api.insert(&Settings { user_key: KeyKind::Rsa2048, ..Settings::default() }).await.expect("no settings yet");
    let slots: Vec<(HostId, usize)> = hosts.stages.iter().map(|stage| stage.host).zip([1, 2, 4]).collect();
    for (id, cores) in &slots {
        api.insert(&Host { cores: *cores as u16, ..host(*id) }).await.expect("a new host");
    }
    for host in 0..3 {
        idle_queue(hosts.bus(host, Role::Queue)).await;
    }
    let organization = with_ca(api).await;
    for smallest in [false, true] {
        let (_, now) = api.here().await.expect("the bus answers");
        let work = Work::Certificate { organization, purpose: Purpose::Client };
        let new = |number| Job::new(format!("{smallest}-{number}"), work.clone(), Priority::Normal, now);
        let jobs: Vec<Job> = (0..40).map(new).collect();
        if smallest {
            let all = jobs.into_iter().map(|job| insert(&Job { preferred: Some(slots[0].0), ..job })).collect();
            api.write(all).await.expect("they are new");
        } else {
            enqueue(api, jobs).await.expect("the bus answers");
        }
        let begun = Instant::now();
        let seen = watch(api, &slots).await;
        let most: Vec<usize> = slots.iter().map(|(host, _)| seen.most[host]).collect();
        println!(
            "40 jobs in {:?}, {most:?} at a time; none waited longer than {:?} while a host had a free slot; looks {:?} apart",
            begun.elapsed(),
            seen.longest,
            seen.slowest
        );
        assert_eq!(most, [1, 2, 4], "each slot is used, and no more");
        // The watcher sees a wait's beginning and end as late as it looks.
        assert!(seen.longest <= PROMISE + 2 * seen.slowest, "{seen:?}");
    }
}
