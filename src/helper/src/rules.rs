//! The one nftables table, as text for `nft`: rendered from typed values, always whole, so that what is installed is
//! what this file says of the instances that there are.
//!
//! A client can send from the address that `vpn` let in, to the server's routes (to anywhere, if the server does not
//! restrict them), and gets answers back. It reaches neither the host's own services nor link-local addresses nor where
//! else clouds keep a host's credentials, nor clients of another server. Nothing begins a connection towards a client. A server whose
//! clients reach each other has OpenVPN pass these packets on by itself: they never come here.
//!
//! Others' tables are left alone. That cuts both ways: a packet that another table drops stays dropped.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use culvert_model::Slot;
use ipnet::Ipv4Net;

use crate::bounds;
use crate::record::Tunnel;

/// Removes the table, also when there is none.
pub const REMOVAL: &str = "add table inet culvert\ndelete table inet culvert\n";

/// What the proxy's sockets may not do. The proxy lives in a network namespace of its own, but through a socket of the
/// host's that it holds it could begin connections from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The proxy's user.
    pub uid: u32,
    /// The ports that its listening sockets are bound to.
    pub ports: Vec<u16>,
}

/// The whole table, replacing the one that is there in one transaction.
pub fn table(guard: Option<&Guard>, tunnels: &[&Tunnel]) -> String {
    let mut text = format!("{REMOVAL}table inet culvert {{\n");
    if let Some(guard) = guard {
        chain(&mut text, "guard", &guard_rules(guard));
    }
    for tunnel in tunnels {
        clients(&mut text, tunnel);
        let slot = tunnel.slot;
        chain(&mut text, &format!("arrive{slot}"), &arrive(slot));
        chain(&mut text, &format!("input{slot}"), &input(tunnel.network));
        chain(&mut text, &format!("from{slot}"), &from(tunnel));
        chain(&mut text, &format!("to{slot}"), &to());
        chain(&mut text, &format!("nat{slot}"), &nat(tunnel));
    }
    chain(&mut text, "arrive", &hook("filter", "prerouting", "raw", [by("iifname", "goto arrive", tunnels), drop()]));
    chain(&mut text, "input", &hook("filter", "input", "filter", [by("iifname", "goto input", tunnels), drop()]));
    let through = [clamp(), by("iifname", "jump from", tunnels), by("oifname", "goto to", tunnels), drop_to()];
    chain(&mut text, "forward", &hook("filter", "forward", "filter", through));
    chain(&mut text, "postrouting", &hook("nat", "postrouting", "srcnat", [translate(tunnels)]));
    text.push_str("}\n");
    text
}

/// Lets clients in and shuts others out, in one transaction. Those to add must not be in, those to remove must be.
pub fn change(slot: Slot, add: &BTreeSet<Ipv4Addr>, remove: &BTreeSet<Ipv4Addr>) -> String {
    let line = |verb: &str, addresses: &BTreeSet<Ipv4Addr>| match addresses.is_empty() {
        true => String::new(),
        false => format!("{verb} element inet culvert clients{slot} {{ {} }}\n", list(addresses)),
    };
    line("delete", remove) + &line("add", add)
}

/// No connection begins from the proxy's sockets: neither from one that it accepted, which counts as the proxy's, nor
/// from a listening one, which counts as that of whoever made it.
fn guard_rules(guard: &Guard) -> Vec<String> {
    let mut rules = vec![
        "type filter hook output priority filter; policy accept;".to_owned(),
        format!("meta skuid {} tcp flags & (syn | ack) == syn drop", guard.uid),
    ];
    if !guard.ports.is_empty() {
        rules.push(format!("tcp sport {{ {} }} tcp flags & (syn | ack) == syn drop", list(&guard.ports)));
    }
    rules
}

/// Where nobody may: this host, and what clouds tell each host about itself, credentials included (169.254.169.254 nearly
/// everywhere; 100.100.100.200 at Alibaba, 192.0.0.192 at Oracle).
const FORBIDDEN: &str = "127.0.0.0/8, 169.254.0.0/16, 100.100.100.200, 192.0.0.192";

/// The same at Azure, where this address answers questions for names, too: only its two services are forbidden.
const AZURE: &str = "ip daddr 168.63.129.16 tcp dport { 80, 32526 } drop";

/// A packet leaves the tunnel: it is IPv4, comes from a client that was let in, and does not go where nobody may.
fn arrive(slot: Slot) -> Vec<String> {
    let accept = format!("ip saddr @clients{slot} ip daddr != {{ {FORBIDDEN} }} accept");
    vec![AZURE.to_owned(), accept, "drop".to_owned()]
}

/// To the host itself.
fn input(network: Ipv4Net) -> Vec<String> {
    vec![
        "ct state established,related accept".to_owned(),
        format!("ip daddr {} icmp type echo-request accept", bounds::server_address(network)),
        "drop".to_owned(),
    ]
}

/// From a client through the host.
fn from(tunnel: &Tunnel) -> Vec<String> {
    if !tunnel.restrict_routes {
        return vec!["return".to_owned()];
    }
    let mut rules = vec!["ct state established,related return".to_owned()];
    let networks = Ipv4Net::aggregate(&tunnel.networks().map(|(network, _)| network).collect());
    if !networks.is_empty() {
        rules.push(format!("ip daddr {{ {} }} return", list(&networks)));
    }
    rules.push("drop".to_owned());
    rules
}

/// Through the host to a client.
fn to() -> Vec<String> {
    vec!["ct state established,related accept".to_owned(), "drop".to_owned()]
}

/// A connection leaves the host: the most specific route says whether it does so in the host's name.
fn nat(tunnel: &Tunnel) -> Vec<String> {
    let mut routes: Vec<(Ipv4Net, bool)> = tunnel.networks().collect();
    routes.sort_by_key(|(network, _)| Reverse(network.prefix_len()));
    let rule = |(network, nat)| format!("ip daddr {network} {}", if nat { "masquerade" } else { "return" });
    std::iter::once("oifname \"culvert*\" return".to_owned()).chain(routes.into_iter().map(rule)).collect()
}

/// Segments of TCP that fit into the tunnel, whatever the path says.
fn clamp() -> Option<String> {
    let rule = |direction| {
        format!("{direction} \"culvert*\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu")
    };
    Some(format!("{}\n\t\t{}", rule("iifname"), rule("oifname")))
}

/// To the chains of the tunnel that a packet comes from or goes to.
fn by(key: &str, verdict: &str, tunnels: &[&Tunnel]) -> Option<String> {
    let element = |tunnel: &&Tunnel| format!("\"culvert{0}\" : {verdict}{0}", tunnel.slot);
    verdicts(&format!("{key} vmap"), tunnels.iter().map(element).collect())
}

/// To the chain of the tunnel whose client begins a connection.
fn translate(tunnels: &[&Tunnel]) -> Option<String> {
    let element = |tunnel: &&Tunnel| format!("{} : goto nat{}", tunnel.network, tunnel.slot);
    verdicts("ip saddr vmap", tunnels.iter().map(element).collect())
}

fn verdicts(key: &str, elements: Vec<String>) -> Option<String> {
    (!elements.is_empty()).then(|| format!("{key} {{ {} }}", elements.join(", ")))
}

/// Nothing comes from a tunnel that we don't know.
fn drop() -> Option<String> {
    Some("iifname \"culvert*\" drop".to_owned())
}

/// Nothing goes to a tunnel that we don't know.
fn drop_to() -> Option<String> {
    Some("oifname \"culvert*\" drop".to_owned())
}

fn hook<const N: usize>(kind: &str, hook: &str, priority: &str, rules: [Option<String>; N]) -> Vec<String> {
    let head = format!("type {kind} hook {hook} priority {priority}; policy accept;");
    std::iter::once(head).chain(rules.into_iter().flatten()).collect()
}

fn chain(text: &mut String, name: &str, rules: &[String]) {
    let _ = write!(text, "\tchain {name} {{\n\t\t{}\n\t}}\n", rules.join("\n\t\t"));
}

fn clients(text: &mut String, tunnel: &Tunnel) {
    let _ = write!(text, "\tset clients{} {{\n\t\ttype ipv4_addr\n", tunnel.slot);
    if !tunnel.clients.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", list(&tunnel.clients));
    }
    text.push_str("\t}\n");
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn tunnel() -> Tunnel {
        let mut tunnel = Tunnel::of(&example::start());
        tunnel.clients = [[10, 8, 0, 2].into(), [10, 8, 0, 3].into()].into();
        tunnel
    }

    #[test]
    fn the_example_in_full() {
        let guard = Guard { uid: 998, ports: vec![443, 80] };
        assert_eq!(table(Some(&guard), &[&tunnel()]), include_str!("../snapshots/rules.nft"));
    }

    #[test]
    fn without_instances_only_the_guard_and_the_default_are_there() {
        let text = table(Some(&Guard { uid: 998, ports: Vec::new() }), &[]);
        assert!(text.contains("meta skuid 998") && !text.contains("vmap") && !text.contains("tcp sport"));
        assert!(text.contains("iifname \"culvert*\" drop"));
    }

    #[test]
    fn the_most_specific_route_decides_about_translation() {
        let rules = nat(&tunnel());
        assert_eq!(
            rules,
            ["oifname \"culvert*\" return", "ip daddr 192.168.7.0/24 return", "ip daddr 192.168.0.0/16 masquerade"]
        );
    }

    #[test]
    fn an_unrestricted_server_lets_its_clients_go_anywhere() {
        let tunnel = Tunnel { restrict_routes: false, ..tunnel() };
        assert_eq!(from(&tunnel), ["return"]);
        assert_eq!(
            from(&Tunnel { restrict_routes: true, routes: Vec::new(), ..tunnel }).last().expect("a rule"),
            "drop"
        );
    }

    #[test]
    fn changes_are_one_transaction() {
        let slot = Slot::try_from(3).expect("a slot");
        let text = change(slot, &[[10, 8, 0, 4].into()].into(), &[[10, 8, 0, 2].into(), [10, 8, 0, 3].into()].into());
        let expected = "delete element inet culvert clients3 { 10.8.0.2, 10.8.0.3 }\n\
                        add element inet culvert clients3 { 10.8.0.4 }\n";
        assert_eq!(text, expected);
        assert_eq!(change(slot, &BTreeSet::new(), &BTreeSet::new()), "");
    }
}
