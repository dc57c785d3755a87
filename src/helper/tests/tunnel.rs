//! The helper as `vpn` meets it, with a real openvpn and a real client, in network namespaces of their own: started,
//! killed, adopted, robbed of its rules, stopped. Needs root, openvpn, nft, iproute2 and the openssl program.

mod kit;

use std::net::Ipv4Addr;
use std::time::Duration;

use culvert_model::{Cipher, Digest, Protocol};
use culvert_wire::helper::{CLIENTS, PACKET, Refusal, Reply, Request, Start};
use kit::{Lab, Pinging};
use nix::sys::wait::WaitStatus;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const SERVER: &str = "10.8.0.1";
const BEHIND: &str = "10.98.0.2";

#[test]
fn a_tunnel_from_start_to_stop() {
    let mut lab = Lab::new();
    lab.start_helper();

    // Refused, and nothing is left.
    assert_eq!(lab.ask(Request::Start(Box::new(lab.request(|start| start.mtu = 9001)))).0, refused(Refusal::Value));
    let taken = lab.request(|start| start.network = "10.97.0.0/16".parse().expect("a network"));
    assert_eq!(lab.ask(Request::Start(Box::new(taken))).0, refused(Refusal::NetworkInUse));
    assert_eq!(lab.ask(Request::List).0, Reply::Instances(Vec::new()));
    assert!(!lab.device());

    // Started: the process has no privilege, its output is read.
    let (reply, output) = lab.ask(Request::Start(Box::new(lab.request(|_| {}))));
    assert_eq!(reply, Reply::Done);
    let output = output.expect("the end for reading");
    let again = lab.request(|start| start.network = "10.9.0.0/16".parse().expect("a network"));
    assert_eq!(lab.ask(Request::Start(Box::new(again))).0, refused(Refusal::InUse));
    let pid = lab.running();
    assert_eq!(kit::status(pid, "CapBnd"), "0000000000000000");
    assert_eq!(kit::status(pid, "CapEff"), "0000000000000000");
    assert_eq!(kit::status(pid, "NoNewPrivs"), "1");
    assert_eq!(kit::status(pid, "Uid"), "1900000000\t1900000000\t1900000000\t1900000000");
    assert_eq!(kit::status(pid, "Groups"), "");
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).expect("its environment"), b"");

    // A client connects. Nothing passes before it is let in.
    lab.attach();
    lab.connect_client();
    assert!(kit::read(&mut output.into()).contains("Initialization Sequence Completed"));
    assert!(!lab.reaches(SERVER));
    assert_eq!(lab.ask(Request::Clients { slot: kit::slot(), addresses: vec![CLIENT] }).0, Reply::Done);
    assert!(lab.reaches(SERVER), "the server's address");
    assert!(lab.reaches(BEHIND), "a host behind it, through address translation");
    assert!(!lab.reaches("10.98.0.1"), "the host's other addresses");
    assert!(!lab.reaches("10.96.0.1"), "what is no route");
    assert!(lab.answers("c", 0, BEHIND), "TCP behind it");
    assert!(!lab.answers("c", 0, SERVER), "the host's own services");
    let remove = Request::Change { slot: kit::slot(), add: Vec::new(), remove: vec![CLIENT] };
    assert_eq!(lab.ask(remove).0, Reply::Done);
    assert!(!lab.reaches(SERVER), "shut out");
    let add = Request::Change { slot: kit::slot(), add: vec![CLIENT], remove: Vec::new() };
    assert_eq!(lab.ask(add).0, Reply::Done);
    assert!(lab.reaches(SERVER), "let in again");
    let many = Request::Change { slot: kit::slot(), add: Vec::new(), remove: vec![CLIENT; CLIENTS + 1] };
    assert_eq!(lab.ask(many).0, refused(Refusal::Value));
    let bad = Request::Clients { slot: kit::slot(), addresses: vec![Ipv4Addr::new(10, 8, 0, 1)] };
    assert_eq!(lab.ask(bad).0, refused(Refusal::Value));

    // Killed and started again: adopted, and no packet is lost.
    let pinging = Pinging::start(&lab, SERVER, 100);
    lab.kill_helper();
    std::thread::sleep(Duration::from_millis(700));
    lab.start_helper();
    assert_eq!(lab.running(), pid);
    assert!(matches!(lab.ask(Request::Output(kit::slot())), (Reply::Done, Some(_))));
    pinging.finish_without_loss();
    assert!(lab.reaches(BEHIND), "its rules are there");

    // Somebody flushes all rules: they come back by themselves.
    lab.flush_rules();
    kit::until("the rules are back", || lab.rules().contains("culvert0"));
    assert!(lab.rules().contains(&CLIENT.to_string()));

    // Stopped: all is gone. Once more is no fault.
    for _ in 0..2 {
        assert_eq!(lab.ask(Request::Stop(kit::slot())).0, Reply::Done);
        assert_eq!(lab.ask(Request::List).0, Reply::Instances(Vec::new()));
    }
    assert!(!lab.device() && !lab.rules().contains("culvert0") && !kit::alive(pid));
    assert_eq!(lab.left(), ["helper", "helper/forwarding", "instances"]);
    assert_eq!(lab.ask(Request::Output(kit::slot())).0, refused(Refusal::Missing));
}

#[test]
fn an_interrupt_removes_all_that_was_made() {
    let mut lab = Lab::new();
    lab.start_helper();
    assert_eq!(lab.ask(Request::Start(Box::new(lab.request(|_| {})))).0, Reply::Done);
    let pid = lab.running();
    assert_eq!(lab.forwarding(), "1");
    lab.interrupt_helper();
    assert!(!kit::alive(pid) && !lab.device());
    assert_eq!((lab.forwarding().as_str(), lab.rules().as_str()), ("0", ""));
    assert!(lab.left().is_empty());
}

#[test]
fn an_instance_that_died_is_reported_and_can_be_stopped() {
    let mut lab = Lab::new();
    lab.start_helper();
    assert_eq!(lab.ask(Request::Start(Box::new(lab.request(|_| {})))).0, Reply::Done);
    let pid = lab.running();
    kit::kill(pid);
    kit::until("its end is noticed", || !lab.instance().running);
    lab.kill_helper();
    lab.start_helper();
    assert!(!lab.instance().running);
    assert_eq!(lab.ask(Request::Stop(kit::slot())).0, Reply::Done);
    assert!(!lab.device());
}

/// A change to a request.
type Change = dyn Fn(&mut Start);

#[test]
fn openvpn_takes_every_setting() {
    let mut lab = Lab::new();
    lab.start_helper();
    let other = lab.other_authority();
    let any = |text: &str| Some(text.parse().expect("an address"));
    let changes: [(&str, Box<Change>); 24] = [
        ("no cipher", Box::new(|start| start.cipher = Cipher::None)),
        ("aes128", Box::new(|start| start.cipher = Cipher::Aes128)),
        ("chacha", Box::new(|start| start.cipher = Cipher::Chacha20Poly1305)),
        ("no digest", Box::new(|start| start.digest = Digest::None)),
        ("md5", Box::new(|start| start.digest = Digest::Md5)),
        ("sha256", Box::new(|start| start.digest = Digest::Sha256)),
        ("sha512", Box::new(|start| start.digest = Digest::Sha512)),
        ("tcp", Box::new(|start| start.protocol = Protocol::Tcp)),
        ("tcp on a low port", Box::new(|start| (start.protocol, start.port) = (Protocol::Tcp, kit::port(443)))),
        ("udp on a low port", Box::new(|start| start.port = kit::port(53))),
        ("an address", Box::new(move |start| start.bind = any("10.97.0.1"))),
        ("IPv6", Box::new(move |start| start.bind = any("::1"))),
        ("TCP over IPv6", Box::new(move |start| (start.protocol, start.bind) = (Protocol::Tcp, any("::1")))),
        ("the largest network", Box::new(|start| start.network = "100.64.0.0/10".parse().expect("a network"))),
        ("the smallest network", Box::new(|start| start.network = "10.8.0.8/29".parse().expect("a network"))),
        ("a small mtu", Box::new(|start| start.mtu = 576)),
        ("a large mtu", Box::new(|start| start.mtu = 9000)),
        ("all switches", Box::new(|start| (start.inter_client, start.multi_device, start.debug) = (true, true, true))),
        ("no restriction", Box::new(|start| start.restrict_routes = false)),
        ("no routes", Box::new(|start| start.routes.clear())),
        (
            "overlapping routes",
            Box::new(|start| start.routes = kit::routes(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"])),
        ),
        ("no renegotiation", Box::new(|start| start.renegotiate = 0)),
        ("the most clients", Box::new(|start| start.max_clients = 4096)),
        ("two organisations", Box::new(move |start| start.ca.push(other.clone()))),
    ];
    for (name, change) in changes {
        let (reply, output) = lab.ask(Request::Start(Box::new(lab.request(change))));
        assert_eq!(reply, Reply::Done, "{name}");
        lab.attach();
        let mut text = String::new();
        let mut output = std::fs::File::from(output.expect("the end for reading"));
        kit::until(&format!("openvpn is up with {name}"), || {
            text += &kit::read(&mut output);
            assert!(lab.instance().running, "{name}: {text}");
            text.contains("Initialization Sequence Completed")
        });
        assert_eq!(lab.ask(Request::Stop(kit::slot())).0, Reply::Done, "{name}");
    }
}

#[test]
fn the_proxys_user_begins_no_connection() {
    let mut lab = Lab::new();
    lab.start_helper();
    assert!(!lab.answers("s", kit::GUARDED, BEHIND), "the guarded user's");
    assert!(lab.answers("s", kit::GUARDED - 1, BEHIND), "anybody else's");
    lab.flush_rules();
    kit::until("the guard is back", || lab.rules().contains("guard"));
    assert!(!lab.answers("s", kit::GUARDED, BEHIND));
}

#[test]
fn others_than_vpn_are_not_answered() {
    let mut lab = Lab::new();
    lab.start_helper();
    assert!(lab.refuses_root());
    assert_eq!(lab.ask(Request::List).0, Reply::Instances(Vec::new()));
}

#[test]
fn a_second_appliance_in_one_network_is_refused() {
    let mut lab = Lab::new();
    lab.start_helper();
    let rules = lab.rules();
    assert!(matches!(lab.second_helper(), Some(WaitStatus::Exited(_, 1))));
    assert_eq!(lab.rules(), rules, "the first's are as they were");
    assert_eq!(lab.ask(Request::List).0, Reply::Instances(Vec::new()));
}

#[test]
fn what_is_no_request_closes_its_connection_alone() {
    let mut lab = Lab::new();
    lab.start_helper();
    let list = culvert_wire::encode(&Request::List).expect("a form");
    assert!(lab.closes_for(&[200]), "an unknown request");
    assert!(lab.closes_for(&[&list[..], &[0]].concat()), "something behind a request");
    assert!(lab.closes_for(&[3, 100]), "a slot that there is not");
    assert!(lab.closes_for(&vec![0; PACKET + 1]), "a packet that is too long");
    assert_eq!(lab.ask(Request::List).0, Reply::Instances(Vec::new()));
}

fn refused(why: Refusal) -> Reply {
    Reply::Refused(why)
}
