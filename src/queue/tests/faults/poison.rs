//! A job that brings its process down whenever it is begun: it takes others with it once, and is given up in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::kit::process::Process;
use crate::kit::{Cluster, job, until, with_ca};
use culvert_model::record::{Certificate, Dh, Job, JobState, Priority, Purpose, Work};
use culvert_model::{Id, KeyKind, Millis};
use culvert_records::{Query, Stored, insert};

/// The id of the job that is to blame.
const POISON: &str = "poison";

/// How many others there are.
const OTHERS: usize = 3;

/// What is seen of a crash.
#[derive(Debug)]
struct Crash {
    /// The attempt of the job that is to blame.
    attempt: u16,
    /// How many other jobs were held then.
    beside: usize,
}

/// A store with the job and others, whose keys take about as long as it lives.
async fn with_poison(attempts: u16) -> Cluster {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.user_key = KeyKind::Rsa4096).await;
    let queue = cluster.queue();
    let organization = with_ca(cluster.api()).await;
    queue.abort();
    let work = Work::Certificate { organization, purpose: Purpose::Client };
    for number in 0..OTHERS {
        let other = job(&format!("other-{number}"), work.clone(), Priority::Normal);
        // The job that is to blame is the second to be begun.
        let created = if number == 0 { 1 } else { 3 };
        cluster.api().insert(&Job { created, ..other }).await.expect("a new job");
    }
    let poison = Job { created: 2, attempts, ..job(POISON, work, Priority::Normal) };
    cluster.api().insert(&poison).await.expect("a new job");
    cluster
}

/// Runs queues, each until the job is begun in it, until it was begun so often; and says how often others were.
async fn crash(cluster: &Cluster, most: usize) -> (Vec<Crash>, BTreeMap<String, u16>) {
    let socket = cluster.socket();
    let (mut crashes, mut attempts) = (Vec::new(), BTreeMap::new());
    let mut queue = Some(Process::start(&socket));
    let mut known: Option<Millis> = None;
    until("so many crashes", async || {
        let jobs = cluster.api().list::<Job>(Query::all()).await.expect("the bus answers");
        for Stored { record, .. } in jobs.iter().filter(|job| job.record.id != POISON) {
            attempts.insert(record.id.clone(), record.attempts);
        }
        let poison = jobs.iter().find(|job| job.record.id == POISON).expect("it is never done");
        if poison.record.begun.is_some() && poison.record.begun != known && poison.held_for() > 0 {
            drop(queue.take());
            known = poison.record.begun;
            let beside = jobs.iter().filter(|job| job.held_for() > 0).count() - 1;
            crashes.push(Crash { attempt: poison.record.attempts, beside });
            queue = (crashes.len() < most).then(|| Process::start(&socket));
        }
        (crashes.len() == most).then_some(())
    })
    .await;
    (crashes, attempts)
}

async fn made(cluster: &Cluster) -> usize {
    cluster.api().list::<Certificate>(Query::all()).await.expect("the bus answers").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_takes_others_with_it_once() {
    let cluster = with_poison(0).await;
    let (crashes, attempts) = crash(&cluster, 3).await;
    println!("{crashes:?} {attempts:?}");
    assert_eq!(crashes.iter().map(|crash| crash.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(crashes[1..].iter().all(|crash| crash.beside == 0), "it is done alone: {crashes:?}");
    assert!(attempts.values().all(|attempts| *attempts <= 2), "others lose one attempt at most: {attempts:?}");
    // It waits for its next attempt; whatever else there is goes on.
    let queue = Process::start(&cluster.socket());
    until("one job", async || (cluster.jobs().await == 1).then_some(())).await;
    assert_eq!(made(&cluster).await, OTHERS);
    drop(queue);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_given_up() {
    let cluster = with_poison(4).await;
    let (crashes, _) = crash(&cluster, 1).await;
    assert_eq!(crashes[0].attempt, 5);
    let _queue = Process::start(&cluster.socket());
    let dead = until("the end of it", async || {
        let job = cluster.api().get::<Job>(POISON).await.expect("the bus answers").expect("an administrator sees it");
        (job.record.state == JobState::Dead && job.held_for() == 0).then_some(job.record)
    });
    let dead = tokio::time::timeout(Duration::from_secs(10), dead).await.expect("soon");
    assert!(dead.error.as_deref().is_some_and(|why| why.contains("went down with it")), "{:?}", dead.error);
    assert!(dead.attempts == 5 && dead.begun.is_some(), "whoever tries it again has to know: {dead:?}");
    until("one job", async || (cluster.jobs().await == 1).then_some(())).await;
    assert_eq!(made(&cluster).await, OTHERS);
}

/// A search for minutes that a queue went down with, for whatever reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_wait_for_one_that_lives_for_seconds_only() {
    // It may have luck within seconds.
    for _ in 0..4 {
        let cluster = Cluster::new();
        cluster.settings(|settings| settings.dh = Dh::Own).await;
        let api = cluster.api();
        let search = job("search", Work::DhParams { bits: 4096 }, Priority::High);
        api.insert(&Job { attempts: 1, begun: Some(1), ..search }).await.expect("a new job");
        let _queue = Process::start(&cluster.socket());
        let find = async |id: &str| api.get::<Job>(id).await.expect("the bus answers");
        let held = async || find("search").await.is_none_or(|found| found.held_for() > 0).then_some(());
        until("the search", held).await;
        let others = [
            job("list", Work::Crl { organization: Id::new() }, Priority::Normal),
            job("certificate", Work::ConsoleCertificate, Priority::Normal),
        ];
        let begun = Instant::now();
        api.write(others.iter().map(insert).collect()).await.expect("new jobs");
        let gone = async |id: &str| until(id, async || find(id).await.is_none().then(|| begun.elapsed())).await;
        let (list, certificate) = (gone("list").await, gone("certificate").await);
        if find("search").await.is_some() {
            println!("a list after {list:?}, a certificate after {certificate:?}");
            assert!(list < Duration::from_secs(2), "what is only writes goes on beside it: {list:?}");
            let seconds = certificate.as_secs();
            assert!((8..14).contains(&seconds), "then it is one like any other: {certificate:?}");
            return;
        }
    }
    panic!("four searches of 4096 bits in seconds each");
}
