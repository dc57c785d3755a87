//! Which hosts stand by.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn host((group, there, priority): (&str, bool, i64)) -> Host {
    let host = json!({
        "id": HostId::new(), "name": "", "hostname": "", "version": "", "status": if there { "online" } else { "offline" },
        "started": 0, "cores": 1, "public_address": null, "public_address6": null, "local_address": null,
        "local_networks": [], "sync_address": null, "availability_group": group, "priority": priority,
    });
    serde_json::from_value(host).expect("a host")
}

/// A server of these hosts in this order, of which those of `standby` stand by.
fn server(hosts: &[Host], replica_count: u16, standby: &[usize]) -> Server {
    let standby: Vec<HostId> = standby.iter().map(|place| hosts[*place].id).collect();
    let hosts: Vec<HostId> = hosts.iter().map(|host| host.id).collect();
    let server = json!({
        "id": culvert_model::Id::new(), "name": "", "online": true, "started": null, "network": "10.8.0.0/24",
        "bind_address": null, "protocol": "udp", "port": 1194, "organizations": [], "hosts": hosts, "standby": standby,
        "replica_count": replica_count, "routes": [], "certificate": null, "groups": [], "dns_servers": [],
        "search_domain": null, "cipher": "aes128", "hash": "sha256", "dh_param_bits": 2048, "multi_device": false,
        "inter_client": true, "restrict_routes": true, "otp_auth": false, "ping_interval": 10, "ping_timeout": 60,
        "inactive_timeout": null, "session_timeout": null, "max_clients": 100, "max_devices": 0, "tun_mtu": null,
        "mss_fix": null, "debug": false, "block_outside_dns": false, "pre_connect_msg": null,
    });
    serde_json::from_value(server).expect("a server")
}

/// The places of the hosts that are to stand by.
fn chosen(hosts: &[(&str, bool, i64)], replica_count: u16, before: &[usize]) -> Vec<usize> {
    let hosts: Vec<Host> = hosts.iter().copied().map(host).collect();
    let server = server(&hosts, replica_count, before);
    let known = hosts.iter().map(|host| (host.id, host)).collect();
    let place = |id: &HostId| hosts.iter().position(|host| host.id == *id).expect("one of them");
    standby(&server, &known).iter().map(place).collect()
}

const HERE: bool = true;
const LOST: bool = false;

#[test]
fn one_group_runs_it_and_the_others_stand_by() {
    assert_eq!(chosen(&[("a", HERE, 0), ("a", HERE, 0)], 1, &[]), [0; 0], "there is but one");
    assert_eq!(chosen(&[("a", HERE, 0), ("b", HERE, 9)], 1, &[]), [1], "whoever is attached later stands by");
    assert_eq!(chosen(&[("a", HERE, 0), ("b", HERE, 0)], 1, &[0]), [0], "and nothing changes without need");
    assert_eq!(chosen(&[("a", HERE, 0), ("b", HERE, 0), ("b", HERE, 0)], 1, &[1, 2]), [1, 2], "one is enough");
}

#[test]
fn it_moves_when_too_few_are_there() {
    assert_eq!(chosen(&[("a", LOST, 0), ("b", HERE, 0)], 1, &[1]), [0]);
    assert_eq!(chosen(&[("a", HERE, 0), ("b", LOST, 0)], 1, &[0]), [1], "and back when it has to");
    let three = [("a", HERE, 0), ("a", LOST, 0), ("b", HERE, 0), ("b", HERE, 0)];
    assert_eq!(chosen(&three, 2, &[2, 3]), [0, 1], "another has more");
    assert_eq!(chosen(&three, 1, &[2, 3]), [2, 3], "it has enough");
    assert_eq!(chosen(&[("a", HERE, 0), ("b", HERE, 9)], 2, &[1]), [1], "no other has more");
    assert_eq!(chosen(&[("a", LOST, 0), ("b", LOST, 0)], 1, &[1]), [1], "nor anybody any");
    assert_eq!(chosen(&[("a", LOST, 0), ("b", HERE, 1), ("c", HERE, 2)], 1, &[1, 2]), [0, 1], "the dearer one");
}

#[test]
fn a_group_that_left_is_replaced() {
    assert_eq!(chosen(&[("b", HERE, 0), ("b", HERE, 0)], 1, &[0, 1]), [0; 0], "its last host was detached");
    assert_eq!(chosen(&[], 1, &[]), [0; 0]);
}

proptest! {
    #[test]
    fn one_group_and_no_move_to_a_worse_one(
        hosts in prop::collection::vec((0..3_usize, any::<bool>(), 0..3_i64), 1..8),
        replicas in 1..4_u16,
        first in 0..3_usize,
    ) {
        let hosts: Vec<_> = hosts.into_iter().map(|(group, there, priority)| (["a", "b", "c"][group], there, priority)).collect();
        let before: Vec<usize> = (0..hosts.len()).filter(|place| hosts[*place].0 != ["a", "b", "c"][first]).collect();
        let after = chosen(&hosts, replicas, &before);
        let running: Vec<_> = (0..hosts.len()).filter(|place| !after.contains(place)).collect();
        let group = hosts[*running.first().expect("somebody runs it")].0;
        prop_assert!(running.iter().all(|place| hosts[*place].0 == group) && after.iter().all(|place| hosts[*place].0 != group));
        let there = |group: &str| hosts.iter().filter(|host| host.0 == group && host.1).count();
        let old = ["a", "b", "c"][first];
        if before.len() < hosts.len() && group != old {
            prop_assert!(there(group) > there(old) && there(old) < usize::from(replicas));
        }
        prop_assert_eq!(chosen(&hosts, replicas, &after), after, "and then it stays");
    }
}
