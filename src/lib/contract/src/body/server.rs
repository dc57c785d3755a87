//! Servers and their routes.

use super::{MssFix, object};

object! {
    /// A new server, or what one is to be. Everything is replaced.
    ServerChange {
        /// The name.
        name: String,
        /// The clients' network; empty to keep it, or for one that is chosen.
        network: String,
        /// The WireGuard clients' network.
        network_wg: String,
        /// `tunnel` or `bridge`.
        network_mode: String,
        /// The first address of a bridge.
        network_start: String,
        /// The last address of a bridge.
        network_end: String,
        /// Whether clients reach nothing but the routes.
        restrict_routes: bool,
        /// Whether WireGuard clients may connect.
        wg: bool,
        /// Whether clients hide the profile.
        hide_ovpn: bool,
        /// Whether the kernel carries the traffic.
        ovpn_dco: bool,
        /// Whether clients have IPv6 addresses.
        ipv6: bool,
        /// Whether clients are shielded from outside over IPv6.
        ipv6_firewall: bool,
        /// Whether the port opens for known clients only.
        dynamic_firewall: bool,
        /// Whether single sign-on is waived for known devices.
        bypass_sso_auth: bool,
        /// Whether clients prefer near hosts.
        geo_sort: bool,
        /// Whether clients must stay connected.
        force_connect: bool,
        /// Whether devices must be registered.
        device_auth: bool,
        /// The only address it listens on; empty for all.
        bind_address: String,
        /// `udp` or `tcp`.
        protocol: String,
        /// The port; 0 to keep it, or for one that is chosen.
        port: i64,
        /// The port for WireGuard.
        port_wg: i64,
        /// Bits of Diffie-Hellman parameters; 0 to keep them, or for 2048.
        dh_param_bits: i64,
        /// The only groups whose users may connect; empty for all.
        groups: Vec<String>,
        /// Whether a user may connect with several devices at once.
        multi_device: bool,
        /// The name servers that clients get.
        dns_servers: Vec<String>,
        /// The domains that clients search, separated by comma.
        search_domain: String,
        /// Whether clients reach each other.
        inter_client: bool,
        /// Seconds between two keep-alive packets; 0 for 10.
        ping_interval: i64,
        /// Seconds without any after which the other side is taken for gone; 0 for 60.
        ping_timeout: i64,
        /// Likewise for WireGuard; 0 for 30.
        ping_interval_wg: i64,
        /// Likewise for WireGuard; 0 for 120.
        ping_timeout_wg: i64,
        /// Likewise for links; 0 for 1.
        link_ping_interval: i64,
        /// Likewise for links; 0 for 5.
        link_ping_timeout: i64,
        /// Seconds without traffic after which a client is disconnected; 0 for never.
        inactive_timeout: i64,
        /// Seconds after which a client is disconnected; 0 for never.
        session_timeout: i64,
        /// `mobile`, `desktop`, or empty for all.
        allowed_devices: String,
        /// The most clients at a time; 0 for 2000.
        max_clients: i64,
        /// The most devices of one user; 0 for any number.
        max_devices: i64,
        /// How many hosts run it at a time; 0 for 1.
        replica_count: i64,
        /// Whether clients of several hosts reach each other.
        vxlan: bool,
        /// Whether clients have names.
        dns_mapping: bool,
        /// Whether name servers are reached through the tunnel.
        route_dns: bool,
        /// Whether the log has every detail.
        debug: bool,
        /// Whether connecting takes single sign-on.
        sso_auth: bool,
        /// Whether connecting takes a one-time code.
        otp_auth: bool,
        /// Whether traffic is compressed.
        lzo_compression: bool,
        /// The cipher.
        cipher: String,
        /// The digest.
        hash: String,
        /// Whether clients block name servers outside the tunnel.
        block_outside_dns: bool,
        /// Whether large packets are used.
        jumbo_frames: bool,
        /// What clients show before they connect; empty for nothing.
        pre_connect_msg: String,
        /// Accepted and ignored.
        policy: String,
        /// The largest TCP segment inside the tunnel, in bytes.
        mss_fix: MssFix,
        /// The largest packet inside the tunnel, in bytes; 0 for the default.
        tun_mtu: i64,
        /// The largest datagram, in bytes; 0 for any.
        fragment: i64,
        /// Whether answers leave by the address that was asked.
        multihome: bool,
    }
}

object! {
    /// A new route of a server, or what one is to be.
    RouteChange {
        /// The network.
        network: String,
        /// For people; empty for none.
        comment: String,
        /// The route's metric at the client; 0 for none.
        metric: i64,
        /// Whether clients appear with the host's address there.
        nat: bool,
        /// The only interface that address translation is for.
        nat_interface: String,
        /// The network that stands for this one towards the clients.
        nat_netmap: String,
        /// Whether the route is made known to a cloud.
        advertise: bool,
        /// Where.
        advertise_resource: Vec<String>,
        /// Accepted and ignored.
        vpc_region: String,
        /// Accepted and ignored.
        vpc_id: String,
        /// Whether clients send this network past the tunnel.
        net_gateway: bool,
    }
}
