//! The queue is killed at each request that it makes of the bus, before and after it is done: the job's effect is there
//! exactly once all the same. On the embedded store; `cargo test -p culvert-queue --test faults -- --ignored` does it on
//! MongoDB, which takes longer.

use crate::kit::mongod::ReplicaSet;
use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy};
use crate::kit::{Stage, job, jobs, queue, until, with_ca};
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Certificate, CertificateKey, Priority, Purpose, Work};
use culvert_model::{HostId, Role};
use culvert_records::Query;
use tempfile::TempDir;
use tokio::task::{JoinSet, LocalSet};

/// How many are killed at a time, each with a store of its own.
const WAVE: usize = 8;

/// More requests than a job takes.
const MOST: usize = 60;

/// Kills the queue at its n-th request, and says whether it made so many before the job was done.
async fn killed_at<S: Store>(store: S, host: HostId, place: usize, moment: Moment) -> bool {
    let stage = Stage::over(store, host);
    let api = stage.bus(Role::Api);
    let other = queue(&stage);
    let organization = with_ca(&api).await;
    other.abort();
    let work = Work::Certificate { organization, purpose: Purpose::Server };
    api.insert(&job("one", work, Priority::High)).await.expect("a new job");

    let mut count = 0;
    let proxy = Proxy::start(&stage.socket(Role::Queue), move |_| {
        count += 1;
        (count == place).then_some(moment)
    });
    let queue = Process::start(&proxy.socket);
    let none = async || (jobs(&api).await == 0).then_some(());
    let reached = tokio::select! {
        biased;
        () = proxy.reached() => true,
        () = until("no jobs", none) => false,
    };
    drop(queue);
    let _next = Process::start(&stage.socket(Role::Queue));
    until("no jobs", none).await;
    let made = api.list::<Certificate>(Query::all()).await.expect("the bus answers");
    let keys = api.list::<CertificateKey>(Query::all()).await.expect("the bus answers");
    assert_eq!((made.len(), keys.len()), (1, 1), "killed {moment:?} request {place}");
    assert_eq!(made[0].record.id, keys[0].record.id);
    reached
}

/// All kills, until the queue makes no more requests.
async fn killed_everywhere<S: Store>(open: impl AsyncFn(usize) -> (S, HostId)) {
    for (wave, moment) in [Moment::Before, Moment::After].into_iter().enumerate() {
        let mut place = 0;
        let mut all = true;
        while all {
            let mut runs = JoinSet::new();
            for _ in 0..WAVE {
                place += 1;
                let (store, host) = open(wave * MOST + place).await;
                runs.spawn_local(killed_at(store, host, place, moment));
            }
            all = runs.join_all().await.into_iter().all(|reached| reached);
            assert!(place < MOST, "a job takes fewer requests");
        }
        println!("killed {moment:?} each of {place} requests");
        assert!(place > 10, "a job takes more requests");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_store() {
    let folder = TempDir::new().expect("a temporary folder");
    let open = async |run| {
        let host = HostId::new();
        (Embedded::open(&folder.path().join(format!("{run}.sqlite")), host).expect("a new store"), host)
    };
    LocalSet::new().run_until(killed_everywhere(open)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes longer"]
async fn on_mongodb() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let open = async |run| {
        let host = HostId::new();
        (Mongo::connect(&set.uri(&format!("culvert{run}")), host).await.expect("the store opens"), host)
    };
    LocalSet::new().run_until(killed_everywhere(open)).await;
}
