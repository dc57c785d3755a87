//! What a client gets when it is let in: its address, its routes, its name servers, as OpenVPN's own options.
//!
//! Everything is made from typed values. Text that an administrator typed (a search domain) goes in only if it is made of
//! letters, digits, dots, dashes and underscores.

use std::net::{IpAddr, Ipv4Addr};

use culvert_model::Protocol;
use culvert_model::network::gateway;
use culvert_model::record::{Server, User};
use ipnet::IpNet;

/// The options for one client.
#[must_use]
pub fn options(server: &Server, user: &User, address: Ipv4Addr) -> Vec<String> {
    let mut options = vec![format!("ifconfig-push {address} {}", server.network.netmask())];
    let mut push = |option: String| options.push(format!("push \"{option}\""));
    push("topology subnet".into());
    push(format!("route-gateway {}", gateway(server.network)));
    push(format!("ping {}", server.ping_interval));
    push(format!("ping-restart {}", server.ping_timeout));
    if server.protocol == Protocol::Udp {
        // A client that leaves says so; otherwise it would be listed until it is missed.
        push("explicit-exit-notify 1".into());
    }
    for route in &server.routes {
        // The tunnel carries IPv4 alone for now: a client could not use a route for IPv6.
        let IpNet::V4(network) = route.network else { continue };
        if network.prefix_len() == 0 && !route.net_gateway {
            push("redirect-gateway def1".into());
            continue;
        }
        let way = if route.net_gateway { "net_gateway" } else { "vpn_gateway" };
        let metric = route.metric.map(|metric| format!(" {metric}")).unwrap_or_default();
        push(format!("route {} {} {way}{metric}", network.network(), network.netmask()));
    }
    for server in name_servers(server, user) {
        push(match server {
            IpAddr::V4(address) => format!("dhcp-option DNS {address}"),
            IpAddr::V6(address) => format!("dhcp-option DNS6 {address}"),
        });
    }
    for domain in domains(server, user) {
        push(format!("dhcp-option DOMAIN {domain}"));
    }
    if server.block_outside_dns {
        push("block-outside-dns".into());
    }
    if let Some(seconds) = server.inactive_timeout.filter(|seconds| *seconds > 0) {
        push(format!("inactive {seconds}"));
    }
    options
}

/// The user's own, or else the server's.
fn name_servers(server: &Server, user: &User) -> Vec<IpAddr> {
    let own: Vec<IpAddr> = user.dns_servers.iter().flatten().filter_map(|text| text.parse().ok()).collect();
    if own.is_empty() { server.dns_servers.clone() } else { own }
}

/// The user's own, or else the server's; several are separated by commas.
fn domains<'a>(server: &'a Server, user: &'a User) -> impl Iterator<Item = &'a str> {
    let own = user.dns_suffix.as_deref().filter(|text| !text.is_empty());
    let text = own.or(server.search_domain.as_deref()).unwrap_or_default();
    text.split([',', ' ']).filter(|domain| is_domain(domain))
}

fn is_domain(text: &str) -> bool {
    let good = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '-' | '_');
    !text.is_empty() && text.len() <= 200 && text.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn everything_that_a_server_can_give() {
        let mut server = sample::server();
        server.routes = vec![
            sample::route("0.0.0.0/0", false),
            sample::route("10.9.0.0/16", false),
            sample::route("10.7.0.0/16", true),
            sample::route("2001:db8::/32", false),
        ];
        server.routes[1].metric = Some(7);
        server.dns_servers = vec!["10.9.0.53".parse().expect("an address"), "2001:db8::53".parse().expect("one")];
        server.search_domain = Some("example.org, corp.example".into());
        server.block_outside_dns = true;
        let options = options(&server, &sample::user(1), "10.201.0.5".parse().expect("an address"));
        assert_eq!(
            options,
            [
                "ifconfig-push 10.201.0.5 255.255.255.0",
                "push \"topology subnet\"",
                "push \"route-gateway 10.201.0.1\"",
                "push \"ping 10\"",
                "push \"ping-restart 60\"",
                "push \"explicit-exit-notify 1\"",
                "push \"redirect-gateway def1\"",
                "push \"route 10.9.0.0 255.255.0.0 vpn_gateway 7\"",
                "push \"route 10.7.0.0 255.255.0.0 net_gateway\"",
                "push \"dhcp-option DNS 10.9.0.53\"",
                "push \"dhcp-option DNS6 2001:db8::53\"",
                "push \"dhcp-option DOMAIN example.org\"",
                "push \"dhcp-option DOMAIN corp.example\"",
                "push \"block-outside-dns\"",
            ]
        );
    }

    #[test]
    fn text_that_could_leave_its_line_stays_out() {
        let mut server = sample::server();
        server.search_domain = Some("good.example,bad\"example,bad\nexample,$(x)".into());
        let mut user = sample::user(1);
        user.dns_servers = Some(vec!["1.1.1.1\"".into()]);
        let options = options(&server, &user, "10.201.0.5".parse().expect("an address"));
        let domains: Vec<_> = options.iter().filter(|option| option.contains("DOMAIN")).collect();
        assert_eq!(domains, ["push \"dhcp-option DOMAIN good.example\""]);
        assert!(!options.iter().any(|option| option.contains("1.1.1.1")));
    }
}
