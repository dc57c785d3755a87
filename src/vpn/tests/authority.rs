//! Decisions about clients, against a bus that keeps records in memory.

mod kit;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use argon2::{Argon2, PasswordHasher};
use culvert_model::record::{Address, Settings, UserSecret};
use culvert_vpn::addresses::Addresses;
use culvert_vpn::authority::{Authority, Denial, Pins, Proof, Question, Verdict};
use culvert_vpn::directory::{Directory, Shared};
use culvert_vpn::management::{Environment, Event, Parser};
use kit::bus::Bus;
use kit::records;

/// An authority for the server 200.
struct World {
    bus: Bus,
    client: culvert_records::Bus,
    authority: Authority,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(prepare: impl FnOnce(&Bus)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("bus.sock");
        let bus = Bus::start(&socket, records::host());
        bus.put(&records::organization());
        bus.put(&records::server());
        for number in 1..4 {
            bus.put(&records::user(number));
            bus.put(&records::certificate(number));
        }
        prepare(&bus);
        let client = culvert_records::Bus::new(socket);
        let authority = authority(&client).await;
        Self { bus, client, authority, _folder: folder }
    }

    async fn ask(&self, client: u64, user: u8, entries: &[(&str, &str)]) -> Verdict {
        self.authority.decide(&question(client, user, entries)).await
    }

    async fn address(&self, client: u64, user: u8) -> Ipv4Addr {
        match self.ask(client, user, &[]).await {
            Verdict::Allowed { address: Some(address), .. } => address,
            other => panic!("{other:?}"),
        }
    }
}

async fn authority(bus: &culvert_records::Bus) -> Authority {
    let directory = Arc::new(Shared::default());
    let read = Directory::load(bus, records::host()).await.expect("read");
    let network = read.servers[&records::id(200)].network;
    directory.change(|directory| *directory = read);
    let addresses = Arc::new(Addresses::new(bus.clone(), records::id(200), network));
    addresses.load().await.expect("read");
    Authority {
        bus: bus.clone(),
        directory,
        addresses,
        pins: Arc::new(Pins::default()),
        server: records::id(200),
        patience: Duration::from_secs(1),
    }
}

fn question(client: u64, user: u8, entries: &[(&str, &str)]) -> Question {
    let environment = environment(user, entries);
    Question { client, key: 1, renewal: false, environment, damaged: false, proof: None }
}

fn environment(user: u8, entries: &[(&str, &str)]) -> Environment {
    let mut text = format!(">CLIENT:CONNECT,1,1\n>CLIENT:ENV,tls_digest_sha256_0={}\n", records::fingerprint(user));
    text += &format!(">CLIENT:ENV,tls_serial_hex_0={}\n", records::serial(user));
    for (name, value) in entries {
        text += &format!(">CLIENT:ENV,{name}={value}\n");
    }
    text += ">CLIENT:ENV,END\n";
    match Parser::default().push(text.as_bytes()).pop() {
        Some(Event::Client { environment, .. }) => environment,
        other => panic!("{other:?}"),
    }
}

fn denial(verdict: &Verdict) -> Option<Denial> {
    match verdict {
        Verdict::Denied(denial) => Some(*denial),
        _ => None,
    }
}

fn with_pin(bus: &Bus) {
    let mut user = records::user(1);
    user.pin = true;
    bus.put(&user);
    let pin = Argon2::default().hash_password(b"271828").expect("a hash").to_string();
    let secret = UserSecret { id: user.id, pin: Some(pin), otp_secret: None, sync_token: None, sync_secret: None };
    bus.put(&secret);
}

#[tokio::test]
async fn an_address_is_the_lowest_and_stays_the_users() {
    let world = World::new(|_| {}).await;
    assert_eq!(world.address(1, 1).await, Ipv4Addr::new(10, 201, 0, 2));
    assert_eq!(world.address(2, 2).await, Ipv4Addr::new(10, 201, 0, 3));
    let asked = world.bus.asked.load(Ordering::Relaxed);
    assert_eq!(world.address(3, 1).await, Ipv4Addr::new(10, 201, 0, 2));
    assert_eq!(world.bus.asked.load(Ordering::Relaxed), asked, "what is known costs no store operation");
    let again = authority(&world.client).await;
    let Verdict::Allowed { address, options, .. } = again.decide(&question(9, 2, &[])).await else { panic!("allowed") };
    assert_eq!(address, Some(Ipv4Addr::new(10, 201, 0, 3)));
    assert_eq!(options[0], "ifconfig-push 10.201.0.3 255.255.255.0");
}

#[tokio::test]
async fn a_new_client_costs_one_store_operation_or_two() {
    let world = World::new(|_| {}).await;
    let asked = world.bus.asked.load(Ordering::Relaxed);
    let given = Address::new(records::id(200), records::id(2), 0, Ipv4Addr::new(10, 201, 0, 77));
    world.bus.put(&given);
    assert_eq!(world.address(2, 2).await, given.address, "given by the queue while the server runs");
    assert_eq!(world.bus.asked.load(Ordering::Relaxed), asked + 1);
    world.address(1, 1).await;
    assert_eq!(world.bus.asked.load(Ordering::Relaxed), asked + 3);
}

#[tokio::test]
async fn another_host_may_be_faster_with_an_address() {
    let world = World::new(|_| {}).await;
    let record = Address::new(records::id(200), records::id(3), 0, Ipv4Addr::new(10, 201, 0, 2));
    world.bus.put(&record);
    assert_eq!(world.address(1, 1).await, Ipv4Addr::new(10, 201, 0, 3));
    assert_eq!(world.address(2, 3).await, Ipv4Addr::new(10, 201, 0, 2));
}

#[tokio::test]
async fn an_address_of_another_network_is_replaced() {
    let old = Address::new(records::id(200), records::id(1), 0, Ipv4Addr::new(10, 9, 9, 9));
    let world = World::new(|bus| bus.put(&old)).await;
    assert_eq!(world.address(1, 1).await, Ipv4Addr::new(10, 201, 0, 2));
    assert_eq!(world.bus.all::<Address>().len(), 1);
}

#[tokio::test]
async fn while_the_network_is_changed_addresses_are_kept_and_none_is_given() {
    let held = Address {
        next: Some(Ipv4Addr::new(10, 77, 0, 9)),
        ..Address::new(records::id(200), records::id(1), 0, Ipv4Addr::new(10, 201, 0, 9))
    };
    let moved = Address {
        next: Some(Ipv4Addr::new(10, 201, 0, 8)),
        ..Address::new(records::id(200), records::id(3), 0, Ipv4Addr::new(10, 99, 0, 8))
    };
    let world = World::new(|bus| {
        bus.put(&held);
        bus.put(&moved);
        let mut server = records::server();
        server.network_lock = Some("job".into());
        bus.put(&server);
    })
    .await;
    assert_eq!(world.address(1, 1).await, Ipv4Addr::new(10, 201, 0, 9));
    assert_eq!(world.address(3, 3).await, Ipv4Addr::new(10, 201, 0, 8), "the server has been moved here already");
    assert!(matches!(world.ask(2, 2, &[]).await, Verdict::Later));
    assert_eq!(world.bus.all::<Address>().len(), 2);
}

#[tokio::test]
async fn many_at_once_get_different_addresses() {
    let world = Arc::new(World::new(|_| {}).await);
    let mut asking = tokio::task::JoinSet::new();
    for user in 1..4 {
        let world = world.clone();
        asking.spawn(async move { world.address(u64::from(user), user).await });
    }
    let addresses: std::collections::BTreeSet<Ipv4Addr> = asking.join_all().await.into_iter().collect();
    assert_eq!(addresses.len(), 3);
}

#[tokio::test]
async fn a_full_network_says_so() {
    let world = World::new(|bus| {
        let mut server = records::server();
        server.network = "10.201.0.0/30".parse().expect("a network");
        bus.put(&server);
    })
    .await;
    assert_eq!(world.address(1, 1).await, Ipv4Addr::new(10, 201, 0, 2));
    assert_eq!(denial(&world.ask(2, 2, &[]).await), Some(Denial::NoAddress));
}

#[tokio::test]
async fn devices_of_one_user() {
    let world = World::new(|bus| {
        let mut server = records::server();
        (server.multi_device, server.max_devices) = (true, 2);
        bus.put(&server);
    })
    .await;
    let first = world.address(1, 1).await;
    let second = world.address(2, 1).await;
    assert_ne!(first, second);
    assert_eq!(denial(&world.ask(3, 1, &[]).await), Some(Denial::TooManyDevices));
    world.authority.addresses.leave(1);
    assert_eq!(world.address(3, 1).await, first);
}

#[tokio::test]
async fn only_the_certificate_that_the_user_has_now() {
    let world = World::new(|bus| {
        let mut user = records::user(1);
        user.certificate = records::id(99);
        bus.put(&user);
    })
    .await;
    assert_eq!(denial(&world.ask(1, 1, &[]).await), Some(Denial::UnknownCertificate));
    assert_eq!(denial(&world.ask(2, 77, &[]).await), Some(Denial::UnknownCertificate));
    let mut damaged = question(3, 2, &[]);
    damaged.damaged = true;
    assert_eq!(denial(&world.authority.decide(&damaged).await), Some(Denial::Damaged));
}

#[tokio::test]
async fn a_replaced_certificate_is_good_for_as_long_as_its_record_is_there() {
    let mut old = records::certificate(1);
    (old.id, old.replaced) = (records::id(98), Some(1));
    old.fingerprint = records::fingerprint(77);
    let world = World::new(|bus| bus.put(&old)).await;
    let with_old = || async { world.authority.decide(&question(1, 77, &[])).await };
    assert!(matches!(with_old().await, Verdict::Allowed { user, .. } if user == records::id(1)));
    assert!(matches!(world.ask(2, 1, &[]).await, Verdict::Allowed { .. }), "and so is the new one");
    world.bus.remove::<culvert_model::record::Certificate>(&old.id.to_string());
    world.authority.directory.change(|directory| directory.drop_certificate(old.id));
    assert_eq!(denial(&with_old().await), Some(Denial::UnknownCertificate));
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_whatever_else_is_known_of_it() {
    let world = World::new(|bus| {
        bus.put(&records::revocation(1));
        bus.put(&records::revocation(7));
    })
    .await;
    assert_eq!(denial(&world.ask(1, 1, &[]).await), Some(Denial::Revoked));
    let asked = world.bus.asked.load(Ordering::Relaxed);
    assert_eq!(denial(&world.ask(2, 7, &[]).await), Some(Denial::Revoked), "nothing else is left of it");
    assert_eq!(world.bus.asked.load(Ordering::Relaxed), asked, "which costs no store operation");
    assert!(matches!(world.ask(3, 2, &[]).await, Verdict::Allowed { .. }));
    // A renewal of session keys is asked about, too.
    let renewal = Question { renewal: true, ..question(4, 1, &[]) };
    assert_eq!(denial(&world.authority.decide(&renewal).await), Some(Denial::Revoked));
}

#[tokio::test]
async fn who_shows_no_serial_number_is_not_let_in() {
    let world = World::new(|_| {}).await;
    let mut question = question(1, 1, &[]);
    let text =
        format!(">CLIENT:CONNECT,1,1\n>CLIENT:ENV,tls_digest_sha256_0={}\n>CLIENT:ENV,END\n", records::fingerprint(1));
    if let Some(Event::Client { environment, .. }) = Parser::default().push(text.as_bytes()).pop() {
        question.environment = environment;
    }
    assert_eq!(denial(&world.authority.decide(&question).await), Some(Denial::Damaged));
}

#[tokio::test]
async fn a_certificate_that_no_message_told_of_is_looked_up() {
    let world = World::new(|_| {}).await;
    world.bus.put(&records::user(7));
    world.bus.put(&records::certificate(7));
    assert!(matches!(world.ask(1, 7, &[]).await, Verdict::Allowed { .. }));
}

#[tokio::test]
async fn a_pin_is_needed_and_remembered_for_renewals() {
    let world = World::new(with_pin).await;
    assert_eq!(denial(&world.ask(1, 1, &[]).await), Some(Denial::PinRequired));
    assert_eq!(denial(&world.ask(1, 1, &[("password", "1")]).await), Some(Denial::PinWrong));
    let Verdict::Allowed { proof, .. } = world.ask(1, 1, &[("password", "271828")]).await else { panic!("allowed") };
    let renewal = |password: &str, proof: Option<Proof>| Question {
        renewal: true,
        proof,
        ..question(1, 1, &[("password", password)])
    };
    world.bus.away.store(true, Ordering::Relaxed);
    let again = world.authority.decide(&renewal("271828", proof.clone())).await;
    assert!(matches!(again, Verdict::Allowed { address: None, .. }), "{again:?}");
    world.bus.away.store(false, Ordering::Relaxed);
    assert_eq!(denial(&world.authority.decide(&renewal("271829", proof)).await), Some(Denial::PinWrong));
    assert!(matches!(world.authority.decide(&renewal("271828", None)).await, Verdict::Allowed { .. }));
}

#[tokio::test]
async fn what_the_settings_and_the_user_ask_for() {
    let settings = |mode: &str| Settings { pin_mode: mode.into(), ..Settings::default() };
    let world = World::new(|bus| bus.put(&settings("required"))).await;
    assert_eq!(denial(&world.ask(1, 1, &[]).await), Some(Denial::PinMissing));
    let world = World::new(|bus| {
        with_pin(bus);
        bus.put(&settings("disabled"));
    })
    .await;
    assert!(matches!(world.ask(1, 1, &[]).await, Verdict::Allowed { .. }));
    let world = World::new(|bus| {
        let mut user = records::user(1);
        user.mac_addresses = Some(vec!["02-AA-00-00-00-01".into()]);
        bus.put(&user);
        let mut server = records::server();
        server.groups = vec!["staff".into()];
        bus.put(&server);
    })
    .await;
    assert_eq!(denial(&world.ask(1, 1, &[]).await), Some(Denial::NotInGroup));
    let mut server = records::server();
    server.otp_auth = true;
    world.authority.directory.change(|directory| drop(directory.servers.insert(server.id, server)));
    assert_eq!(denial(&world.ask(1, 1, &[]).await), Some(Denial::WrongDevice));
    let right = [("IV_HWADDR", "02:aa:00:00:00:01")];
    assert_eq!(denial(&world.ask(1, 1, &right).await), Some(Denial::SecondFactor));
}

#[tokio::test]
async fn without_the_store_a_known_client_is_served_and_a_new_one_is_to_come_again() {
    let world = World::new(|_| {}).await;
    world.address(1, 1).await;
    world.bus.away.store(true, Ordering::Relaxed);
    assert!(matches!(world.ask(2, 1, &[]).await, Verdict::Allowed { .. }));
    assert!(matches!(world.ask(3, 2, &[]).await, Verdict::Later));
}
