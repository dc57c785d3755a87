//! The queue is killed at each request that it makes of the bus, before and after it is done: the job's effect is there
//! exactly once all the same, whatever kind of job it is.
//!
//! On the embedded store, at what changes anything: a kill before a question leaves the store as one after the change
//! before it does. One kind is killed at the questions, too; `cargo test -p culvert-queue --test faults kills -- --ignored`
//! does that with all of them, on MongoDB, and with a search, which take longer.

mod effects;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::mongod::ReplicaSet;
use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy, ends_a_job};
use crate::kit::{Stage, jobs, queue, with_ca};
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::mongo::Mongo;
use culvert_model::{HostId, Role};
use culvert_wire::bus::Request;
use effects::{Case, QUICK, Scene};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// How many are killed at a time, each with a store of its own.
const TOGETHER: usize = 8;

/// How many places of one kind are tried before it is looked whether there are more.
const WAVE: usize = 4;

/// More requests than a job takes.
const MOST: usize = 100;

/// A search may have bad luck; all else takes seconds.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which requests count.
type Counts = fn(&Request) -> bool;

fn changes(request: &Request) -> bool {
    matches!(request, Request::Claim { .. } | Request::Write { .. } | Request::WriteAgain { .. })
}

/// Kills the queue at its n-th request that counts, and says whether it made so many before the job was done.
async fn killed_at<S: Store>(stage: Stage<S>, case: Case, counts: Counts, place: usize, moment: Moment) -> bool {
    let api = stage.bus(Role::Api);
    let other = queue(&stage);
    let organization = with_ca(&api).await;
    other.abort();
    let scene = Scene::new([api.clone(), stage.bus(Role::Queue)], case, organization).await;
    scene.enqueue().await;

    let mut count = 0;
    let proxy = Proxy::start(&stage.socket(Role::Queue), move |request| {
        count += usize::from(counts(request));
        (counts(request) && count == place).then_some(moment)
    });
    let none = async || {
        let all = async {
            while jobs(&api).await > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, all)
            .await
            .unwrap_or_else(|_| panic!("{case:?}, killed {moment:?} request {place}: not done"));
    };
    let queue = Process::start(&proxy.socket);
    let reached = tokio::select! {
        biased;
        () = proxy.reached() => true,
        () = none() => false,
    };
    drop(queue);
    let next = Process::start(&stage.socket(Role::Queue));
    none().await;
    drop(next);
    println!("{case:?}, killed {moment:?} request {place}");
    scene.once().await;
    reached
}

/// Kills of jobs of all these kinds, each until the queue makes no more requests.
async fn killed_everywhere<S: Store>(
    cases: &[Case],
    counts: Counts,
    least: usize,
    open: impl AsyncFn(usize) -> Stage<S>,
) {
    let (permits, runs) = (Semaphore::new(TOGETHER), AtomicUsize::new(0));
    let run = async |case, place, moment| {
        let _permit = permits.acquire().await.expect("it is never closed");
        let stage = open(runs.fetch_add(1, Ordering::Relaxed)).await;
        killed_at(stage, case, counts, place, moment).await
    };
    let sweep = async |case: Case, moment: Moment| {
        for first in (1..MOST).step_by(WAVE) {
            let reached = join_all((first..first + WAVE).map(|place| run(case, place, moment))).await;
            if let Some(more) = reached.iter().position(|reached| !reached) {
                let all = first - 1 + more;
                assert!(all >= least, "{case:?}: only {all} requests");
                return println!("{case:?}: killed {moment:?} each of {all} requests");
            }
        }
        panic!("{case:?}: a job takes fewer requests");
    };
    let moments = [Moment::Before, Moment::After];
    join_all(cases.iter().flat_map(|case| moments.map(|moment| sweep(*case, moment)))).await;
}

fn embedded(folder: &TempDir, run: usize) -> Stage<Embedded> {
    let host = HostId::new();
    Stage::over(Embedded::open(&folder.path().join(format!("{run}.sqlite")), host).expect("a new store"), host)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_each_change() {
    let folder = TempDir::new().expect("a temporary folder");
    // It is claimed, begun and ended.
    killed_everywhere(&QUICK, changes, 3, async |run| embedded(&folder, run)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_each_request() {
    let folder = TempDir::new().expect("a temporary folder");
    killed_everywhere(&[Case::Certificate], |_| true, 10, async |run| embedded(&folder, run)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes longer"]
async fn at_each_request_on_mongodb() {
    for case in QUICK {
        // Some hundred databases are too many files for one.
        let set = ReplicaSet::start(1).expect("a replica set");
        let open = async |run| {
            let host = HostId::new();
            let uri = set.uri(&format!("culvert{run}"));
            Stage::over(Mongo::connect(&uri, host).await.expect("the store opens"), host)
        };
        killed_everywhere(&[case], |_| true, 6, open).await;
    }
}

/// How often a search tells how far it is, is luck: its claim and its end count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "searches take minutes"]
async fn at_the_ends_of_a_search() {
    let folder = TempDir::new().expect("a temporary folder");
    let ends: Counts = |request| matches!(request, Request::Claim { .. }) || ends_a_job(request);
    killed_everywhere(&[Case::DhParams], ends, 2, async |run| embedded(&folder, run)).await;
}
