//! Users.

use super::{PinChange, object};
use crate::Secret;

object! {
    /// A port that a server forwards to a user's machine.
    PortForward {
        /// `tcp`, `udp`, or empty for both.
        protocol: String,
        /// The port at the server.
        port: String,
        /// The port at the client, if it is another one.
        dport: String,
    }
}

object! {
    /// A new user.
    UserNew {
        /// The name.
        name: String,
        /// Where mail reaches the user.
        email: String,
        /// How the user proves to be the user; what is unknown means `local`.
        auth_type: String,
        /// The first 12 characters of the user's YubiKey; empty for none.
        yubico_id: String,
        /// The groups that the user is in.
        groups: Vec<String>,
        /// The PIN; empty for none.
        pin: Secret,
        /// Whether the user may not connect.
        disabled: bool,
        /// Networks behind the user's machine.
        network_links: Vec<String>,
        /// Whether second factors are waived.
        bypass_secondary: bool,
        /// Whether the user's machine may only be reached by other clients.
        client_to_client: bool,
        /// The only hardware addresses that the user may connect with; empty for any.
        mac_addresses: Vec<String>,
        /// Name servers for this user instead of the server's.
        dns_servers: Vec<String>,
        /// The search domain for this user; empty for none.
        dns_suffix: String,
        /// Ports forwarded to the user's machine.
        port_forwarding: Vec<PortForward>,
    }
}

object! {
    /// What a user is to be. Everything is replaced.
    UserChange {
        /// The name.
        name: String,
        /// Where mail reaches the user; empty for nowhere.
        email: String,
        /// How the user proves to be the user; what is unknown means as before.
        auth_type: String,
        /// The first 12 characters of the user's YubiKey; empty for none.
        yubico_id: String,
        /// The groups that the user is in.
        groups: Vec<String>,
        /// What becomes of the PIN.
        pin: PinChange,
        /// Whether the user may not connect.
        disabled: bool,
        /// Networks behind the user's machine.
        network_links: Vec<String>,
        /// Whether second factors are waived.
        bypass_secondary: bool,
        /// Whether the user's machine may only be reached by other clients.
        client_to_client: bool,
        /// The only hardware addresses that the user may connect with; empty for any.
        mac_addresses: Vec<String>,
        /// Name servers for this user instead of the server's.
        dns_servers: Vec<String>,
        /// The search domain for this user; empty for none.
        dns_suffix: String,
        /// Ports forwarded to the user's machine.
        port_forwarding: Vec<PortForward>,
        /// Whether to mail the user a link to the profiles.
        send_key_email: bool,
    }
}
