//! What happens to users, servers and jobs while a server's users get their addresses.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::{Store, write_id};
use culvert_model::record::{Address, Job, JobState, Priority, Server, User, Work};
use culvert_model::{Id, Kind, Role};
use culvert_records::{BATCH, Bus, Guard, Query, Write, delete, insert, update};
use culvert_wire::bus::Request;

use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy};
use crate::kit::samples::{self, user};
use crate::kit::{Stage, job, jobs, organization, until};

/// When a job is due that nobody is to begin yet.
const NEVER: u64 = u64::MAX / 4;

/// A server, and users of its organisation.
struct Scene {
    stage: Stage<Embedded>,
    api: Bus,
    server: Server,
    organization: Id,
    users: Vec<Id>,
}

impl Scene {
    async fn of(count: usize) -> Self {
        let stage = Stage::embedded();
        let api = stage.bus(Role::Api);
        let organization = organization(&api).await;
        let network = "10.40.0.0/20".parse().expect("a network");
        let server = Server { network, ..samples::server(&[organization]) };
        api.insert(&server).await.expect("a new server");
        let mut scene = Self { stage, api, server, organization, users: Vec::new() };
        for _ in 0..count {
            let user = scene.user(organization).await;
            scene.users.push(user);
        }
        scene
    }

    async fn user(&self, organization: Id) -> Id {
        let user = user(organization);
        self.api.insert(&user).await.expect("a new user");
        user.id
    }

    /// An address of the server's network, as the job of a single user gives it.
    async fn give(&self, user: Id, last: u8) -> String {
        let address = Address::new(self.server.id, user, 0, Ipv4Addr::new(10, 40, 0, last));
        self.api.insert(&address).await.expect("a new address");
        address.id
    }

    /// Has everybody's addresses brought up to date, as whoever makes users does.
    async fn assign_all(&self) {
        let work = Work::AssignAddresses { server: self.server.id };
        let job = Job::new(Job::of_addresses(self.server.id), work, Priority::Normal, 0);
        let write = culvert_jobs::anew(&self.api, job).await.expect("the bus answers");
        self.api.write(vec![write]).await.expect("nobody else writes it");
    }

    async fn held(&self) -> Vec<Address> {
        let held = self.api.list::<Address>(Query::by("by_address").equal(self.server.id)).await;
        held.expect("the bus answers").into_iter().map(|held| held.record).collect()
    }

    /// How many users have an address in the server's network.
    async fn with_addresses(&self) -> usize {
        let held = self.held().await;
        let within = held.iter().filter(|held| held.within(self.server.network).is_some());
        within.map(|held| held.user).collect::<BTreeSet<_>>().len()
    }

    /// Until so many jobs are left.
    async fn left(&self, count: usize) {
        until("the jobs to be done", async || (jobs(&self.api).await == count).then_some(())).await;
    }

    /// Writes a record that nobody can read.
    async fn damaged(&self, kind: Kind, id: impl ToString) {
        let write = Write::Insert { kind, id: id.to_string(), body: b"{}".to_vec() };
        self.stage.store.write(write_id(), vec![write]).await.expect("it is not there");
    }

    /// In front of the bus of a queue, whose requests of this kind are held before they are done: so many of them.
    fn holds(&self, count: usize, asks: impl Fn(&Request) -> bool + Send + 'static) -> Proxy {
        let mut left = count;
        Proxy::start(&self.stage.socket(Role::Queue), move |request| {
            let holds = left > 0 && asks(request);
            left -= usize::from(holds);
            holds.then_some(Moment::Before)
        })
    }
}

fn reads_addresses(request: &Request) -> bool {
    matches!(request, Request::Find(find) if find.kind == Kind::Address)
}

fn gives_addresses(request: &Request) -> bool {
    let gives = |write: &Write| {
        matches!(write, Write::Insert { kind: Kind::Address, .. } | Write::Update { kind: Kind::Address, .. })
    };
    matches!(request, Request::Write { writes, .. } if writes.iter().any(gives))
}

/// Who was made after the users were read, and has an address already, keeps it; and so does whose record can't be read.
#[tokio::test(flavor = "multi_thread")]
async fn made_meanwhile() {
    let scene = Scene::of(1).await;
    let elsewhere = organization(&scene.api).await;
    scene.assign_all().await;
    let proxy = scene.holds(1, reads_addresses);
    let _queue = Process::start(&proxy.socket);
    proxy.reached().await;
    let damaged = Id::new();
    scene.damaged(Kind::User, damaged).await;
    let made = scene.user(scene.organization).await;
    let mut kept = BTreeSet::new();
    for (last, user) in [(3, made), (4, damaged)] {
        kept.insert(scene.give(user, last).await);
    }
    for (last, nobody) in [(5, Id::new()), (6, scene.user(elsewhere).await)] {
        scene.give(nobody, last).await;
    }
    proxy.go();
    scene.left(0).await;
    kept.insert(Address::name(scene.server.id, scene.users[0], 0));
    assert_eq!(scene.held().await.into_iter().map(|held| held.id).collect::<BTreeSet<_>>(), kept);
}

/// More users are made all the time: those who were there get their addresses nevertheless, and then the others do. Whether
/// they have none yet, or some of a former network.
#[tokio::test(flavor = "multi_thread")]
async fn more_to_do_meanwhile() {
    for former in [false, true] {
        let scene = Scene::of(2 * BATCH).await;
        for (last, user) in (0..).zip(&scene.users).take_while(|_| former) {
            let address = Address::new(scene.server.id, *user, 0, Ipv4Addr::new(10, 39, 0, last));
            scene.api.insert(&address).await.expect("a new address");
        }
        scene.assign_all().await;
        let proxy = scene.holds(2, gives_addresses);
        let _queue = Process::start(&proxy.socket);
        proxy.reached().await;
        scene.user(scene.organization).await;
        scene.assign_all().await;
        proxy.go();
        proxy.reached().await;
        let first = scene.with_addresses().await;
        assert!(first > BATCH / 2, "{first} of the first batch");
        proxy.go();
        scene.left(0).await;
        assert_eq!(scene.with_addresses().await, 2 * BATCH + 1);
    }
}

/// The server is deleted as the first addresses are about to be written.
async fn deleted_meanwhile(scene: &Scene) {
    let proxy = scene.holds(1, gives_addresses);
    let _queue = Process::start(&proxy.socket);
    proxy.reached().await;
    scene.api.write(vec![delete::<Server>(scene.server.id, Guard::default())]).await.expect("it is there");
    proxy.go();
    scene.left(0).await;
    assert_eq!(scene.held().await, []);
}

/// A server that is deleted has no addresses any more, also if some were about to be given.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_deleted_meanwhile() {
    let scene = Scene::of(2 * BATCH).await;
    scene.assign_all().await;
    deleted_meanwhile(&scene).await;
}

/// The same, while a single user was about to get one.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_deleted_before_a_single_address() {
    let scene = Scene::of(1).await;
    let work = Work::AssignAddress { server: scene.server.id, user: scene.users[0] };
    scene.api.insert(&job("one", work, Priority::High)).await.expect("a new job");
    deleted_meanwhile(&scene).await;
}

/// While a server is moved, nobody gets an address, and no job waits for that: the move's end gives them, well or not.
#[tokio::test(flavor = "multi_thread")]
async fn made_during_a_move() {
    for cancelled in [false, true] {
        let scene = Scene::of(2).await;
        let [old, new] = [scene.server.network, "10.80.0.0/20".parse().expect("a network")];
        scene.give(scene.users[0], 2).await;
        let mut server = scene.api.get::<Server>(scene.server.id).await.expect("the bus answers").expect("it is there");
        server.record.network_lock = Some("move".into());
        let work = Work::AssignPool { server: scene.server.id, old, new };
        let moving = Job { not_before: NEVER, ..job("move", work, Priority::High) };
        let single = Work::AssignAddress { server: scene.server.id, user: scene.users[1] };
        let writes = vec![
            update(&server.record, server.unchanged()),
            insert(&moving),
            insert(&job("one", single, Priority::Normal)),
        ];
        scene.api.write(writes).await.expect("nobody else writes it");
        scene.assign_all().await;
        let _queue = Process::start(&scene.stage.socket(Role::Queue));
        scene.left(1).await;
        assert_eq!(scene.held().await.len(), 1, "nobody got one");
        let mut moving = scene.api.get::<Job>("move").await.expect("the bus answers").expect("it was not begun");
        (moving.record.not_before, moving.record.cancelled) = (0, cancelled);
        scene.api.update(&mut moving).await.expect("nobody else writes it");
        scene.left(0).await;
        let server = scene.api.get::<Server>(scene.server.id).await.expect("the bus answers").expect("it is there");
        let network = if cancelled { old } else { new };
        assert_eq!((server.record.network, server.record.network_lock), (network, None));
        let held: Vec<_> = scene.held().await.iter().filter_map(|held| held.within(network)).collect();
        assert_eq!(held.len(), 2, "{held:?}");
    }
}

/// Whose address can't be read keeps it; all others get theirs.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_damaged() {
    let scene = Scene::of(3).await;
    scene.damaged(Kind::Address, Address::name(scene.server.id, scene.users[1], 0)).await;
    scene.assign_all().await;
    let _queue = Process::start(&scene.stage.socket(Role::Queue));
    scene.left(0).await;
    assert_eq!(
        scene.held().await.iter().map(|held| held.user).collect::<BTreeSet<_>>(),
        [0, 2].map(|user| scene.users[user]).into()
    );
}

/// Users are made whatever becomes of their addresses.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_addresses_that_is_damaged() {
    let scene = Scene::of(0).await;
    let queue = Process::start(&scene.stage.socket(Role::Queue));
    let ca = Work::Ca { organization: scene.organization };
    scene.api.insert(&job("ca", ca, Priority::High)).await.expect("a new job");
    scene.left(0).await;
    drop(queue);
    scene.damaged(Kind::Job, Job::of_addresses(scene.server.id)).await;
    let users = vec![crate::kit::new_user("ann".into())];
    let work = Work::Users { organization: scene.organization, users };
    scene.api.insert(&job("users/one", work, Priority::Normal)).await.expect("a new job");
    let _queue = Process::start(&scene.stage.socket(Role::Queue));
    scene.left(0).await;
    assert_eq!(scene.api.count::<User>(Query::all()).await.expect("the bus answers"), 1);
}

/// It is given up once, although nobody knows whether the server is still locked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_a_server_that_is_damaged() {
    let scene = Scene::of(0).await;
    let server = Id::new();
    scene.damaged(Kind::Server, server).await;
    let [old, new] = ["10.40.0.0/20", "10.41.0.0/20"].map(|network| network.parse().expect("a network"));
    let last = Job { attempts: 5, ..job("move", Work::AssignPool { server, old, new }, Priority::High) };
    scene.api.insert(&last).await.expect("a new job");
    let _queue = Process::start(&scene.stage.socket(Role::Queue));
    until("the job to be dead", async || {
        let job = scene.api.get::<Job>("move").await.expect("the bus answers").expect("it is there");
        (job.record.state == JobState::Dead).then_some(())
    })
    .await;
}
