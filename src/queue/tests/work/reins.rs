//! Jobs that are not simply done: cancelled, resting, late, or of a newer release.

use std::time::{Duration, Instant};

use crate::kit::{Cluster, job, until, with_ca};
use culvert_model::record::{CertificateState, Dh, DhParams, Job, JobState, Priority, Purpose, Tls, Work};
use culvert_model::{HostId, KeyKind, Kind, Role};
use culvert_records::{Bus, Kept, Query, Stored, Write};
use serde_json::json;

async fn get(bus: &Bus, id: &str) -> Option<Stored<Job>> {
    bus.get::<Job>(id).await.expect("the bus answers")
}

/// The job once it is like this; nothing if it is gone.
async fn see(bus: &Bus, id: &str, what: &str, is: impl Fn(&Stored<Job>) -> bool) -> Option<Stored<Job>> {
    until(what, async || match get(bus, id).await {
        Some(job) if !is(&job) => None,
        seen => Some(seen),
    })
    .await
}

/// Goes on with a search for Diffie-Hellman parameters under way, which takes minutes. One in a hundred is lucky within
/// seconds: then once more.
async fn with_search(test: impl AsyncFn(&Cluster, &Bus, Stored<Job>) -> Option<()>) {
    for _ in 0..3 {
        let cluster = Cluster::new();
        cluster.settings(|settings| (settings.dh, settings.user_key) = (Dh::Own, KeyKind::Rsa4096)).await;
        let queue = cluster.queue();
        let bus = cluster.api();
        bus.insert(&job("search", Work::DhParams { bits: 4096 }, Priority::Low)).await.expect("a new job");
        if let Some(found) = see(bus, "search", "progress", |job| job.record.progress.is_some()).await
            && test(&cluster, bus, found).await.is_some()
        {
            return;
        }
        queue.abort();
    }
    panic!("three searches in turn were lucky");
}

async fn change(bus: &Bus, id: &str, change: impl Fn(&mut Job)) -> Option<()> {
    loop {
        let mut job = get(bus, id).await?;
        change(&mut job.record);
        // It tells how far it is meanwhile.
        if bus.update(&mut job).await.is_ok() {
            return Some(());
        }
    }
}

async fn cancel(bus: &Bus, id: &str) -> Option<()> {
    change(bus, id, |job| job.cancelled = true).await
}

async fn gone(bus: &Bus, id: &str) -> Duration {
    let begun = Instant::now();
    until("the job to be gone", async || get(bus, id).await.is_none().then_some(())).await;
    begun.elapsed()
}

#[tokio::test]
async fn cancelled_in_the_middle() {
    with_search(async |_, bus, found| {
        // It tells how far it is once a second, not more; how soon it is farther is up to what else the cores do.
        let begun = Instant::now();
        let done = |job: &Stored<Job>| job.record.progress.map(|progress| progress.done);
        let farther = |job: &Stored<Job>| done(job) > done(&found) && begun.elapsed() > Duration::from_millis(2_500);
        let later = see(bus, "search", "more progress", farther).await?;
        let (written, took) = (later.revision - found.revision, begun.elapsed());
        assert!((1..=took.as_secs() + 1).contains(&written), "{written} writes in {took:?}");
        assert!(later.record.begun.is_some() && later.held_for() > 0);

        cancel(bus, "search").await?;
        let took = gone(bus, "search").await;
        if !bus.list::<DhParams>(Query::all()).await.expect("the bus answers").is_empty() {
            return None;
        }
        assert!(took < Duration::from_secs(1), "removed after {took:?}");
        // What filled a pool made room for the next.
        bus.insert(&job("next", Work::DhParams { bits: 4096 }, Priority::Low)).await.expect("a new job");
        see(bus, "next", "progress", |job| job.record.progress.is_some()).await.map(drop)
    })
    .await;
}

/// A search that only filled a pool, and somebody waits for its result now.
#[tokio::test]
async fn raised_in_the_middle() {
    with_search(async |_, bus, before| {
        let raise = |job: &mut Job| (job.priority, job.reserved) = (Priority::High, Some("office".into()));
        change(bus, "search", raise).await?;
        let anew = |job: &Stored<Job>| job.claim() != before.claim() && job.record.begun.is_some();
        let again = see(bus, "search", "another attempt", anew).await?;
        assert_eq!((again.record.attempts, again.record.reserved.as_deref()), (1, Some("office")));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn cancelled_before_it_is_begun() {
    let cluster = Cluster::new();
    let _queue = cluster.queue();
    let bus = cluster.api();
    let (_, now) = bus.here().await.expect("the bus answers");
    let waits = Job { not_before: now + 3_600_000, ..job("waits", Work::ConsoleCertificate, Priority::Low) };
    let held = Job { not_before: now + 3_600_000, ..job("held", Work::ConsoleCertificate, Priority::Low) };
    bus.insert(&waits).await.expect("a new job");
    bus.insert(&held).await.expect("a new job");
    let other = cluster.bus_of(HostId::new(), Role::Queue);
    let kept = other.claim::<Job>("held", None, "other", 5_000).await.expect("the bus answers");
    assert!(matches!(kept, Kept::Held(_)));
    cancel(bus, "waits").await.expect("it is there");
    cancel(bus, "held").await.expect("it is there");
    assert!(gone(bus, "waits").await < Duration::from_secs(1));
    // Whoever holds it sees to it, as long as it is held.
    assert!(get(bus, "held").await.is_some());
    assert!(bus.get::<Tls>(Tls::ID).await.expect("the bus answers").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fills_a_pool_rests_while_its_core_is_needed() {
    with_search(async |cluster, bus, before| {
        let organization = with_ca(bus).await;
        let many = std::thread::available_parallelism().map_or(1, usize::from) * 3;
        for number in 0..many {
            let work = Work::Certificate { organization, purpose: Purpose::Client };
            bus.insert(&job(&format!("urgent-{number}"), work, Priority::High)).await.expect("a new job");
        }
        let resting = see(bus, "search", "rest", |job| job.record.paused).await?;
        assert!(resting.held_for() > 0 && resting.claim() == before.claim(), "it stays held");
        assert!(cluster.jobs().await > 1, "something urgent is being done");
        let resumed = see(bus, "search", "work", |job| !job.record.paused).await?;
        assert!(cluster.jobs().await - 1 < many / 3, "every urgent one came first");
        assert_eq!((resumed.record.attempts, resumed.claim()), (1, before.claim()), "it goes on where it was");
        let done = |job: &Stored<Job>| job.record.progress.map(|progress| progress.done);
        see(bus, "search", "progress", |job| done(job) > done(&resting)).await?;
        until("one job", async || (cluster.jobs().await <= 1).then_some(())).await;
        let made = cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await;
        assert_eq!(made.len(), many);
        Some(())
    })
    .await;
}

/// What may bring its process down is alone: what is less urgent is given back for it, and begun again when it is done.
#[tokio::test]
async fn a_suspect_is_alone() {
    with_search(async |_, bus, before| {
        let organization = with_ca(bus).await;
        let of = |id, purpose| job(id, Work::Certificate { organization, purpose }, Priority::Normal);
        let suspect = Job { attempts: 2, begun: Some(1), ..of("suspect", Purpose::Client) };
        bus.insert(&suspect).await.expect("a new job");
        bus.insert(&Job { created: 1, ..of("innocent", Purpose::Server) }).await.expect("a new job");
        see(bus, "suspect", "the suspect to be begun", |job| job.record.attempts == 3).await?;
        for id in ["search", "innocent"] {
            let other = get(bus, id).await?;
            assert_eq!((other.held_for(), other.record.attempts, other.record.begun), (0, 0, None), "{id}");
        }
        gone(bus, "suspect").await;
        gone(bus, "innocent").await;
        let again = see(bus, "search", "the search", |job| job.record.begun.is_some()).await?;
        assert!(again.record.attempts == 1 && again.claim() != before.claim(), "it begins anew");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn too_late() {
    let cluster = Cluster::new();
    let bus = cluster.api();
    let (_, now) = bus.here().await.expect("the bus answers");
    let late = |id, priority| Job { deadline: Some(now - 1), ..job(id, Work::ConsoleCertificate, priority) };
    bus.insert(&late("awaited", Priority::High)).await.expect("a new job");
    bus.insert(&late("pool", Priority::Low)).await.expect("a new job");
    let _queue = cluster.queue();
    gone(bus, "pool").await;
    let dead = async || get(bus, "awaited").await.filter(|job| job.record.state == JobState::Dead);
    let dead = until("an end", dead).await.record;
    assert_eq!((dead.attempts, dead.begun), (0, None));
    assert!(dead.error.is_some_and(|why| why.contains("deadline")));
    assert!(bus.get::<Tls>(Tls::ID).await.expect("the bus answers").is_none(), "neither was done");
    // One that is in time is done.
    let job = Job { deadline: Some(now + 60_000), ..job("in-time", Work::ConsoleCertificate, Priority::High) };
    bus.insert(&job).await.expect("a new job");
    gone(bus, "in-time").await;
}

#[tokio::test]
async fn of_a_newer_release() {
    let cluster = Cluster::new();
    let bus = cluster.api();
    let newer = |number: usize| {
        let mut body =
            serde_json::to_value(job(&format!("newer-{number:03}"), Work::ConsoleCertificate, Priority::High));
        let body = body.as_mut().expect("it has a form");
        body["work"] = json!({ "what": "entangle", "photons": 7 });
        // More than a page of them, and some that somebody would have tidied away.
        body["attempts"] = json!(number % 7);
        body["more"] = json!("kept");
        Write::Insert {
            kind: Kind::Job,
            id: format!("newer-{number:03}"),
            body: serde_json::to_vec(&body).expect("JSON"),
        }
    };
    for numbers in [0..75, 75..150] {
        bus.write(numbers.map(newer).collect()).await.expect("new jobs");
    }
    let _queue = cluster.queue();
    bus.insert(&job("known", Work::ConsoleCertificate, Priority::Low)).await.expect("a new job");
    gone(bus, "known").await;
    let left = bus.list::<Job>(Query::all()).await.expect("the bus answers");
    assert_eq!(left.len(), 150);
    assert!(left.iter().all(|job| job.revision == 1 && job.lease.is_none()), "nobody touched them");
}
