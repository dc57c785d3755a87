//! Addresses that nobody can have, and users who have none.

use std::net::Ipv4Addr;

use culvert_model::Id;
use culvert_model::record::{Address, Instance, Job, Organization, Server, User, Work};

use crate::kit::{Broken, organization, server, touch, user};
use crate::servers::instance;

/// The address of a user's first device.
pub fn address(server: Id, user: Id, address: Ipv4Addr) -> Address {
    Address::new(server, user, 0, address)
}

struct Scene {
    broken: Broken,
    staff: Organization,
    server: Server,
    users: Vec<User>,
}

const fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 8, 0, last)
}

impl Scene {
    async fn new() -> Self {
        let broken = Broken::new();
        let staff = organization();
        let server = Server { network: "10.8.0.0/24".parse().expect("a network"), ..server(&[staff.id]) };
        broken.put(&staff).await;
        broken.put(&server).await;
        let mut users = Vec::new();
        for last in 10..13 {
            let user = user(staff.id);
            broken.put(&user).await;
            broken.put(&address(server.id, user.id, at(last))).await;
            users.push(user);
        }
        Self { broken, staff, server, users }
    }

    async fn put(&self, address: Address) -> Address {
        self.broken.put(&address).await;
        address
    }

    async fn has(&self, address: &Address) -> bool {
        self.broken.has::<Address>(&address.id).await
    }

    async fn says(&self) -> String {
        self.broken.says("addresses").await
    }

    /// The task asks for the server's job, and nothing else.
    async fn is_settled(&self) {
        assert_eq!(self.says().await, "0 addresses removed, those of 1 server to be settled");
        let jobs: Vec<Work> = self.broken.all::<Job>().await.into_iter().map(|job| job.work).collect();
        assert_eq!(jobs, [Work::AssignAddresses { server: self.server.id }]);
        assert_eq!(self.says().await, NOTHING, "it is asked for already");
    }
}

const NOTHING: &str = "0 addresses removed, those of 0 servers to be settled";

fn removed(addresses: &str) -> String {
    format!("{addresses} removed, those of 0 servers to be settled")
}

#[tokio::test]
async fn what_is_right_stays() {
    let scene = Scene::new().await;
    assert_eq!(scene.says().await, NOTHING);
    // Nobody knows what a record says that cannot be read.
    let (unknown_user, unknown_server) = (Id::new(), Id::new());
    scene.broken.put_damaged::<User>(unknown_user).await;
    scene.broken.put_damaged::<Server>(unknown_server).await;
    scene.put(address(scene.server.id, unknown_user, at(50))).await;
    scene.put(address(unknown_server, scene.users[0].id, at(50))).await;
    assert_eq!(scene.says().await, NOTHING);
}

#[tokio::test]
async fn what_nobody_can_have_goes() {
    let scene = Scene::new().await;
    let server = scene.server.id;
    let [first, second, third] = [0, 1, 2].map(|number| scene.users[number].id);
    let gone = [
        scene.put(address(server, Id::new(), at(20))).await,
        scene.put(address(Id::new(), first, at(21))).await,
        // A second one of the same device, under another id.
        scene.put(Address { id: format!("{server}-{first}-00"), ..address(server, first, at(23)) }).await,
        scene.put(Address { id: "one".into(), ..address(server, second, at(24)) }).await,
        // Of devices that were there as long as the server ran.
        scene.put(Address::new(server, second, 1, Ipv4Addr::new(10, 9, 0, 3))).await,
        scene.put(Address::new(server, second, 2, at(1))).await,
        scene.put(Address::new(server, second, 3, at(255))).await,
        scene.put(Address::new(server, third, 1, at(25))).await,
    ];
    assert_eq!(scene.says().await, removed("8 addresses"));
    for address in &gone {
        assert!(!scene.has(address).await, "{address:?}");
    }
    assert_eq!(scene.says().await, NOTHING);
    assert_eq!(scene.broken.all::<Address>().await.len(), 3);
}

#[tokio::test]
async fn a_devices_address_stays_while_its_server_may_run() {
    let scene = Scene::new().await;
    let device = scene.put(Address::new(scene.server.id, scene.users[0].id, 1, at(30))).await;
    let running = instance(scene.server.id, 0, Some(scene.broken.here));
    scene.broken.put(&running).await;
    assert_eq!(scene.says().await, NOTHING);
    scene.broken.write(vec![touch(&Instance { host: None, ..running })]).await;
    // It is started in just this moment.
    scene.broken.before_the_next(vec![touch(&Server { online: true, ..scene.server.clone() })]);
    assert_eq!(scene.says().await, NOTHING);
    assert!(scene.has(&device).await);
    assert_eq!(scene.says().await, NOTHING, "it is wished to run");
    scene.broken.write(vec![touch(&scene.server)]).await;
    assert_eq!(scene.says().await, removed("1 address"));
}

/// What the server's own job is for: it is asked for it, once.
#[tokio::test]
async fn what_is_wrong_on_a_server_is_settled() {
    let foreign = |scene: &Scene| address(scene.server.id, scene.users[0].id, Ipv4Addr::new(10, 9, 0, 3));
    let gateway = |scene: &Scene| address(scene.server.id, scene.users[0].id, at(1));
    let begun = |scene: &Scene| Address { next: Some(at(40)), ..address(scene.server.id, scene.users[0].id, at(10)) };
    let over = |scene: &Scene| Address { next: Some(at(40)), ..foreign(scene) };
    let cases: [&dyn Fn(&Scene) -> Address; 4] = [&foreign, &gateway, &begun, &over];
    for case in cases {
        let scene = Scene::new().await;
        scene.broken.write(vec![touch(&case(&scene))]).await;
        scene.is_settled().await;
    }
    // A user of an organisation that is not the server's any more.
    let scene = Scene::new().await;
    let stranger = user(organization().id);
    scene.broken.put(&stranger).await;
    scene.put(address(scene.server.id, stranger.id, at(20))).await;
    scene.is_settled().await;
    // A user without an address.
    let scene = Scene::new().await;
    scene.broken.put(&user(scene.staff.id)).await;
    scene.is_settled().await;
}

#[tokio::test]
async fn who_can_have_no_address_is_not_asked_for_one() {
    let scene = Scene::new().await;
    // A server that is being moved, one that is full, and one of others.
    let full: Server = Server { network: "10.7.0.0/30".parse().expect("a network"), ..server(&[scene.staff.id]) };
    let locked = Server { network_lock: Some("job".into()), ..server(&[scene.staff.id]) };
    for server in [&full, &locked, &server(&[Id::new()])] {
        scene.broken.put(server).await;
    }
    scene.put(address(full.id, scene.users[0].id, Ipv4Addr::new(10, 7, 0, 2))).await;
    // Half a move is as it should be, as long as somebody makes it.
    let next = Some(Ipv4Addr::new(10, 9, 0, 2));
    scene.put(Address { next, ..address(locked.id, scene.users[0].id, Ipv4Addr::new(10, 8, 0, 2)) }).await;
    assert_eq!(scene.says().await, NOTHING);
}

/// The organisation is detached in just the moment before: then its users need no addresses.
#[tokio::test]
async fn a_server_that_is_changed_meanwhile_is_left_alone() {
    let scene = Scene::new().await;
    scene.broken.put(&user(scene.staff.id)).await;
    let detached = Server { organizations: Vec::new(), ..scene.server.clone() };
    scene.broken.before_the_next(vec![touch(&detached)]);
    assert_eq!(scene.says().await, NOTHING);
    assert!(scene.broken.all::<Job>().await.is_empty());
}
