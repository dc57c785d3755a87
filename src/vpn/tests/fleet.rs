//! A whole fleet: a bus in memory, a helper that notes what it is asked, and an OpenVPN that is only its socket.

mod kit;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use culvert_model::Slot;
use culvert_model::record::{Bytes, Connection, Dh, Instance, InstanceState, Server, Settings, User};
use culvert_vpn::authority::Pins;
use culvert_vpn::directory::{Shared, follow};
use culvert_vpn::fleet::Fleet;
use culvert_vpn::helper::Helper;
use culvert_vpn::instance::Setup;
use culvert_wire::bus::Claim;
use culvert_wire::helper::Request;
use kit::bus::Bus;
use kit::openvpn::{Controller, Openvpn};
use kit::{helper, records};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(5);

/// Everything around the process.
struct World {
    folder: tempfile::TempDir,
    bus: Bus,
    helper: helper::Helper,
    openvpn: Openvpn,
}

/// The process: dropping it is a kill.
struct Process {
    _tasks: JoinSet<()>,
    stop: Arc<Notify>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let bus = Bus::start(&path("bus.sock"), records::host());
        let helper = helper::Helper::start(&path("helper.sock"));
        let openvpn = Openvpn::start(&path("instances/0/management.sock"));
        bus.put(&records::organization());
        bus.put(&records::server());
        let (certificate, key, shared) = records::server_keys();
        bus.put(&certificate);
        bus.put(&key);
        bus.put(&shared);
        for number in 1..3 {
            bus.put(&records::user(number));
            bus.put(&records::certificate(number));
        }
        Self { folder, bus, helper, openvpn }
    }

    fn start(&self) -> Process {
        start(self.folder.path())
    }

    /// Waits until something is so.
    async fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let waited = timeout(SOON, async {
            while !is() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "not in time: {what}");
    }

    fn asked(&self) -> Vec<Request> {
        self.helper.asked.lock().expect("asked").clone()
    }

    fn instance(&self) -> Option<Instance> {
        self.bus.all::<Instance>().pop()
    }

    /// A process with its controller attached, serving.
    async fn serving(&self) -> (Process, Controller) {
        let process = self.start();
        let mut controller = self.openvpn.controller().await;
        controller.until("status").await;
        (process, controller)
    }
}

fn start(run: &Path) -> Process {
    let setup = Setup {
        bus: culvert_records::Bus::new(run.join("bus.sock")),
        helper: Helper::new(run.join("helper.sock")),
        directory: Arc::new(Shared::default()),
        pins: Arc::new(Pins::default()),
        notify: None,
        run: run.into(),
        host: records::host(),
    };
    let (changed, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(setup.bus.clone(), setup.host, setup.directory.clone(), changed.clone()));
    let mut fleet = Fleet::new(setup, BTreeMap::new());
    let stopping = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = fleet.run(changed) => {}
            () = stopping.notified() => {}
        }
        fleet.leave(Duration::from_secs(1)).await;
    });
    Process { _tasks: tasks, stop }
}

async fn knock(controller: &mut Controller, client: u64, user: u8) {
    let (digest, serial) = (records::fingerprint(user), records::serial(user));
    let environment = [
        ("tls_digest_sha256_0", digest.as_str()),
        ("tls_serial_hex_0", &serial),
        ("untrusted_ip", "192.0.2.9"),
        ("untrusted_port", "5"),
    ];
    controller.notice(&format!("CONNECT,{client},1"), &environment).await;
}

async fn connect(world: &World, controller: &mut Controller, client: u64, user: u8) {
    knock(controller, client, user).await;
    controller.until(&format!("client-auth {client} 1")).await;
    controller.notice(&format!("ESTABLISHED,{client}"), &[]).await;
    world.until("recorded", || world.bus.all::<Connection>().iter().any(|one| one.client == client)).await;
}

/// A client of the user 1 in OpenVPN's list: it came a minute ago.
fn listed(client: u8) -> String {
    let (name, address) = (records::id(1), Ipv4Addr::new(10, 201, 0, client - 2));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() - 60;
    format!("CLIENT_LIST\t{name}\t192.0.2.9:5\t{address}\t\t1\t1\tx\t{since}\tUNDEF\t{client}\t0\tAES-256-GCM\r\n")
}

#[tokio::test]
async fn a_server_starts_and_a_client_comes_and_goes() {
    let world = World::new();
    let (_process, mut controller) = world.serving().await;
    assert!(matches!(&world.asked()[0], Request::Start(start) if start.tls_crypt.len() == 256));
    world.until("online", || world.instance().is_some_and(|one| one.state == InstanceState::Online)).await;
    assert_eq!(world.instance().and_then(|one| one.certificate), records::server().certificate);

    knock(&mut controller, 4, 1).await;
    let command = controller.until("client-auth ").await;
    assert!(command.starts_with("client-auth 4 1\nifconfig-push 10.201.0.2 255.255.255.0\n"), "{command}");
    let slot = Slot::try_from(0).expect("a slot");
    let let_in = Request::Change { slot, add: vec![Ipv4Addr::new(10, 201, 0, 2)], remove: Vec::new() };
    assert!(world.asked().contains(&let_in), "the rule is there before the client is let in");

    controller.notice("ESTABLISHED,4", &[]).await;
    world.until("recorded", || world.bus.all::<Connection>().len() == 1).await;
    let connection = world.bus.all::<Connection>().remove(0);
    assert_eq!((connection.client, connection.user), (4, records::id(1)));
    assert_eq!(connection.real_address, "192.0.2.9:5");
    world.until("active", || world.bus.all::<User>()[0].last_active.is_some()).await;

    controller.notice("DISCONNECT,4", &[]).await;
    world.until("forgotten", || world.bus.all::<Connection>().is_empty()).await;
    let shut_out = Request::Change { slot, add: Vec::new(), remove: vec![Ipv4Addr::new(10, 201, 0, 2)] };
    world.until("shut out", || world.asked().contains(&shut_out)).await;
}

#[tokio::test]
async fn a_disabled_user_is_cut_off_at_once_and_refused_again() {
    let world = World::new();
    let (_process, mut controller) = world.serving().await;
    connect(&world, &mut controller, 4, 1).await;
    let mut user = records::user(1);
    user.disabled = true;
    let begun = Instant::now();
    world.bus.put(&user);
    assert_eq!(controller.until("client-kill").await, "client-kill 4 HALT");
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    world.until("forgotten", || world.bus.all::<Connection>().is_empty()).await;
    controller.notice("DISCONNECT,4", &[]).await;
    knock(&mut controller, 5, 1).await;
    assert!(controller.until("client-deny 5 1").await.contains("disabled"));
}

#[tokio::test]
async fn who_has_a_revoked_certificate_is_cut_off_at_once_and_refused_again() {
    let world = World::new();
    let (_process, mut controller) = world.serving().await;
    connect(&world, &mut controller, 4, 1).await;
    let begun = Instant::now();
    world.bus.put(&records::revocation(1));
    assert_eq!(controller.until("client-kill").await, "client-kill 4 HALT");
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    controller.notice("DISCONNECT,4", &[]).await;
    knock(&mut controller, 5, 1).await;
    assert!(controller.until("client-deny 5 1").await.contains("revoked"));
}

/// OpenVPN's list does not say which certificates its clients have; the records do.
#[tokio::test]
async fn what_was_revoked_while_the_process_was_away_is_found_by_the_next_one() {
    let world = World::new();
    let (process, mut controller) = world.serving().await;
    connect(&world, &mut controller, 4, 1).await;
    assert_eq!(world.bus.all::<Connection>()[0].serial, Some(records::serial(1)));
    world.until("online", || world.instance().is_some_and(|one| one.state == InstanceState::Online)).await;
    drop(process);
    drop(controller);
    world.bus.put(&records::revocation(1));

    let _process = world.start();
    let mut controller = world.openvpn.controller().await;
    controller.rows = vec![listed(4)];
    assert_eq!(controller.until("client-kill").await, "client-kill 4 HALT");
}

#[tokio::test]
async fn a_killed_process_is_followed_by_one_that_takes_over() {
    let world = World::new();
    let (process, mut controller) = world.serving().await;
    connect(&world, &mut controller, 4, 1).await;
    let before = world.bus.all::<Connection>();
    world.until("online", || world.instance().is_some_and(|one| one.state == InstanceState::Online)).await;
    drop(process);
    drop(controller);

    let process = world.start();
    let mut controller = world.openvpn.controller().await;
    let name = records::id(1);
    controller.rows =
        vec![listed(4), format!("CLIENT_LIST\t{name}\t192.0.2.9:6\t\t\t1\t1\tx\t1\tUNDEF\t5\t0\tBF-CBC\r\n")];
    let commands = controller.during(Duration::from_millis(600)).await;
    assert!(commands.contains(&"client-auth-nt 4 3".to_owned()), "a renewal that nobody answered is rescued");
    assert!(commands.contains(&"client-kill 5".to_owned()), "who was asked about in vain comes again");
    assert!(!commands.iter().any(|command| command.starts_with("client-kill 4")));
    assert_eq!(world.bus.all::<Connection>(), before, "the same client is listed as connected");
    let starts = world.asked().iter().filter(|request| matches!(request, Request::Start(_))).count();
    assert_eq!(starts, 1, "what runs is not started again");
    let slot = Slot::try_from(0).expect("a slot");
    let all = Request::Clients { slot, addresses: vec![Ipv4Addr::new(10, 201, 0, 2)] };
    assert_eq!(world.asked().last(), Some(&all));

    process.stop.notify_one();
    sleep(Duration::from_millis(100)).await;
    assert!(!world.asked().iter().any(|request| matches!(request, Request::Stop(_))), "a stop is a restart");
}

/// Every one of them may wait for an answer that the process before did not give: that makes more commands than fit into
/// the sockets, and OpenVPN takes none before its answers are read.
#[tokio::test]
async fn very_many_clients_are_taken_over() {
    let world = World::new();
    let (process, controller) = world.serving().await;
    drop(process);
    drop(controller);
    let _process = world.start();
    let mut controller = world.openvpn.controller().await;
    controller.rows = (4..=254).map(listed).collect();
    controller.until("client-auth-nt 254 5").await;
}

/// A server that is stopped gives its claim back; what of that is still on its way when the process is killed must not
/// take the server from the next one, which goes on under the same epoch.
#[tokio::test]
async fn a_late_release_of_the_process_before_ends_nothing() {
    let world = World::new();
    let (process, controller) = world.serving().await;
    let seat = Instance::name(records::id(200), 0);
    let before = world.bus.leased::<Instance>(&seat).expect("it is held");
    drop(process);
    drop(controller);

    let (_process, _controller) = world.serving().await;
    let late = Claim { owner: before.owner, epoch: before.epoch };
    let bus = culvert_records::Bus::new(world.folder.path().join("bus.sock"));
    bus.release::<Instance>(&seat, &late).await.expect("the bus answers");
    let after = world.bus.leased::<Instance>(&seat).expect("it is held");
    assert_eq!((after.epoch, after.left > 0), (before.epoch, true));
}

#[tokio::test]
async fn a_stopped_server_leaves_nothing() {
    let world = World::new();
    let (_process, mut controller) = world.serving().await;
    connect(&world, &mut controller, 4, 1).await;
    let mut server = records::server();
    server.online = false;
    world.bus.put(&server);
    let slot = Slot::try_from(0).expect("a slot");
    world.until("stopped", || world.asked().contains(&Request::Stop(slot))).await;
    world.until("forgotten", || world.bus.all::<Connection>().is_empty()).await;
    world.until("given up", || world.instance().is_some_and(|one| one.state == InstanceState::Idle)).await;
    assert_eq!(world.instance().and_then(|one| one.host), None);
}

#[tokio::test]
async fn the_store_goes_away_and_nothing_stops() {
    let world = World::new();
    let (_process, mut controller) = world.serving().await;
    connect(&world, &mut controller, 4, 1).await;
    world.bus.away.store(true, Ordering::Relaxed);
    let environment = [("tls_digest_sha256_0", records::fingerprint(1)), ("tls_serial_hex_0", records::serial(1))];
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    controller.notice("REAUTH,4,3", &environment).await;
    assert_eq!(controller.until("client-auth-nt").await, "client-auth-nt 4 3");
    // Its address is known: it may come again.
    knock(&mut controller, 6, 1).await;
    controller.until("client-auth 6 1").await;
    let commands = controller.during(Duration::from_secs(4)).await;
    assert!(!commands.iter().any(|command| command.starts_with("client-kill")), "{commands:?}");
    assert!(!world.asked().iter().any(|request| matches!(request, Request::Stop(_))));
    world.bus.away.store(false, Ordering::Relaxed);
    let commands = controller.during(Duration::from_secs(2)).await;
    assert!(!commands.iter().any(|command| command.starts_with("client-kill")), "{commands:?}");
}

#[tokio::test]
async fn a_claim_that_ran_out_is_claimed_again_and_nothing_stops() {
    let world = World::new();
    let (_process, mut controller) = world.serving().await;
    let seat = Instance::name(records::id(200), 0);
    world.bus.lease::<Instance>(&seat, |lease| lease.left = 0);
    let commands = controller.during(Duration::from_secs(4)).await;
    assert!(!commands.iter().any(|command| command.starts_with("client-kill")));
    assert_eq!(world.bus.leased::<Instance>(&seat).map(|lease| (lease.epoch, lease.left > 0)), Some((2, true)));
    assert!(!world.asked().iter().any(|request| matches!(request, Request::Stop(_))));
}

/// As the task for lost hosts does it, when this one was away for longer than its leases.
#[tokio::test]
async fn what_was_freed_meanwhile_is_taken_back_and_says_where_it_runs() {
    let world = World::new();
    let (_process, _controller) = world.serving().await;
    world.until("online", || world.instance().is_some_and(|one| one.state == InstanceState::Online)).await;
    let serving = world.instance().expect("an instance");
    world.bus.put(&Instance { host: None, slot: None, state: InstanceState::Idle, ..serving.clone() });
    world.bus.lease::<Instance>(&serving.id, |lease| {
        (lease.owner, lease.epoch, lease.left) = ("tasks".into(), lease.epoch + 1, 0);
    });
    let there = |one: Instance| (one.host, one.slot, one.state) == (serving.host, serving.slot, InstanceState::Online);
    world.until("online again", || world.instance().is_some_and(there)).await;
    assert!(serving.host.is_some() && !world.asked().iter().any(|request| matches!(request, Request::Stop(_))));
}

#[tokio::test]
async fn a_claim_of_another_host_ends_this_instance() {
    let world = World::new();
    let (_process, _controller) = world.serving().await;
    world.until("online", || world.instance().is_some_and(|one| one.state == InstanceState::Online)).await;
    let other = "00000000000000000000000000000002".parse().expect("a host id");
    let mut instance = world.instance().expect("an instance");
    instance.host = Some(other);
    world.bus.put(&instance);
    world.bus.lease::<Instance>(&instance.id, |lease| (lease.host, lease.epoch) = (other, lease.epoch + 1));
    let slot = Slot::try_from(0).expect("a slot");
    // The next renewal tells.
    world.until("stopped", || world.asked().contains(&Request::Stop(slot))).await;
    assert_eq!(world.instance(), Some(instance), "the other host's record is left alone");
}

#[tokio::test]
async fn a_server_has_the_diffie_hellman_parameters_that_the_settings_say() {
    let started = async |dh: Dh, own: Option<&[u8]>| {
        let world = World::new();
        world.bus.put(&Settings { dh, ..Settings::default() });
        // What is smaller than 2048 bits gets 2048.
        let dh_params = own.map(|own| Bytes(own.to_vec()));
        world.bus.put(&Server { dh_param_bits: 1024, dh_params, ..records::server() });
        let _process = world.start();
        world.until("asked", || !world.asked().is_empty()).await;
        match &world.asked()[0] {
            Request::Start(start) => start.dh.clone(),
            other => panic!("not started: {other:?}"),
        }
    };
    assert_eq!(started(Dh::None, Some(&[1])).await, None);
    assert_eq!(started(Dh::Group, Some(&[1])).await, culvert_model::group(2048));
    assert_eq!(started(Dh::Own, Some(&[1])).await, Some(vec![1]));
}

#[tokio::test]
async fn a_server_waits_for_parameters_of_its_own() {
    let world = World::new();
    world.bus.put(&Settings { dh: Dh::Own, ..Settings::default() });
    let _process = world.start();
    world.until("said", || world.instance().is_some_and(|one| one.state == InstanceState::Failed)).await;
    let reason = world.instance().and_then(|one| one.reason).expect("a reason");
    assert!(reason.contains("Diffie-Hellman") && world.asked().is_empty(), "{reason}");
    let there = Instant::now();
    world.bus.put(&Server { dh_params: Some(Bytes(vec![1])), ..records::server() });
    world.until("started", || matches!(world.asked().first(), Some(Request::Start(_)))).await;
    assert!(there.elapsed() < Duration::from_millis(500), "it rests no longer: {:?}", there.elapsed());
}
