//! Several hosts with one database that hear of the same takes: one job for each slot. Needs mongod: `make setup`.

mod kit;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;

use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Certificate, CertificateState};
use culvert_model::{HostId, Role};
use culvert_pool::{Stock, refill_all};
use kit::{Stage, finish, ids, pools, prepare, slots, until};
use mongod::ReplicaSet;
use tokio::task::JoinSet;

/// Hosts that hear of the same.
const HOSTS: usize = 4;

async fn hosts() -> (Vec<Stage<Mongo>>, ReplicaSet) {
    let set = ReplicaSet::start(1).expect("a replica set");
    let mut hosts = Vec::new();
    for _ in 0..HOSTS {
        let host = HostId::new();
        hosts.push(Stage::over(Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens"), host));
    }
    (hosts, set)
}

/// What each of them does when it hears of something, at the same time: the sum is what one alone would have done.
#[tokio::test(flavor = "multi_thread")]
async fn each_slot_is_filled_by_one() {
    let (hosts, _set) = hosts().await;
    let api = hosts[0].bus(Role::Api);
    let organization = prepare(&api).await;
    let buses: Vec<_> = hosts.iter().map(|host| host.bus(Role::Pools)).collect();
    let together = async || {
        let mut all = JoinSet::new();
        for bus in &buses {
            let bus = bus.clone();
            all.spawn(async move { refill_all(&bus).await.expect("the bus answers") });
        }
        all.join_all().await.into_iter().map(|done| done.enqueued).sum::<usize>()
    };
    assert_eq!(together().await, slots(organization).len());
    assert_eq!(ids(&api).await, slots(organization));
    assert_eq!(together().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_hear_is_done_once() {
    let (hosts, _set) = hosts().await;
    let api = hosts[0].bus(Role::Api);
    let queue = hosts[1].bus(Role::Queue);
    let organization = prepare(&api).await;
    hosts.iter().for_each(pools);
    until("all jobs", async || (ids(&api).await == slots(organization)).then_some(())).await;
    finish(&queue).await;
    let client = Stock::Client(organization);
    for round in 0..3 {
        // All that is there is taken at once: every host hears of each.
        let ready = api.list::<Certificate>(client.ready()).await.expect("certificates");
        assert_eq!(ready.len(), 3, "round {round}");
        for mut one in ready {
            one.record.state = CertificateState::Taken;
            api.update(&mut one).await.expect("nobody else takes it");
        }
        let wanted = |slot| format!("{}{slot}", client.prefix());
        until("three jobs", async || (ids(&api).await == (0..3).map(wanted).collect()).then_some(())).await;
        finish(&queue).await;
    }
}
