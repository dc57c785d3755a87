//! The kinds of records that the store keeps, in one table: how each is found, what scopes its changes, whether they
//! are announced. Who may do what with them stands in the bus.

use serde::{Deserialize, Serialize};

use crate::record::{self, Visitor};

/// The format of this release: rises by one with each release that changes the shape of any kind. A release works on
/// databases of its own format and of the one before.
pub const FORMAT: u32 = 1;

/// The first release that knew each format, from the first on.
pub const RELEASES: &[&str] = &["0.1.0"];

/// An index that a kind declares. Records are found by equality on the first fields and a range over the next, in the
/// index's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name, unique within the kind.
    pub name: &'static str,
    /// Top-level fields of the record. Each holds text, a whole number, a truth value or nothing.
    pub fields: &'static [&'static str],
    /// Whether two records may not agree in all of the fields. Records in which one of the fields is empty are left
    /// out of a unique index.
    pub unique: bool,
}

const fn index(name: &'static str, fields: &'static [&'static str]) -> Index {
    Index { name, fields, unique: false }
}

const fn unique(name: &'static str, fields: &'static [&'static str]) -> Index {
    Index { name, fields, unique: true }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, version $version:literal, scope $scope:expr, announced $announced:literal, [$($index:expr),* $(,)?];)+) => {
        /// A kind of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind { $($(#[$doc])* $kind),+ }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The kind's name: of its collection in MongoDB, and in messages for people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// Shows the type of the kind's records to a visitor.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Self::$kind => visitor.visit::<record::$kind>()),+ }
            }

            /// The version of the kind's shape in this release. It rises with each step that changes the shape; fields that
            /// older releases may ignore, and that may be missing, need no step.
            #[must_use]
            pub const fn version(self) -> u32 {
                match self { $(Self::$kind => $version),+ }
            }

            /// The field whose value goes along with every announced change, so that a listener knows whether it cares.
            #[must_use]
            pub const fn scope(self) -> Option<&'static str> {
                match self { $(Self::$kind => $scope),+ }
            }

            /// Whether the bus announces each change to everybody who may read the kind.
            #[must_use]
            pub const fn announced(self) -> bool {
                match self { $(Self::$kind => $announced),+ }
            }

            /// The indexes of the kind. Every kind is found by its id besides.
            #[must_use]
            pub const fn indexes(self) -> &'static [Index] {
                match self { $(Self::$kind => const { &[$($index),*] }),+ }
            }
        }
    };
}

kinds! {
    /// What the whole database is: one record, which the buses keep.
    Cluster = "cluster", version 1, scope None, announced true, [];
    /// A machine of the cluster. Its lease is its heartbeat.
    Host = "hosts", version 1, scope None, announced true, [index("by_name", &["name"])];
    /// How busy a machine was, in buckets of one length: a record per host and length.
    Usage = "usage", version 1, scope None, announced false, [index("by_host", &["host"])];
    /// Who may use the console and the API.
    Admin = "administrators", version 1, scope None, announced true,
        [unique("by_username", &["username"]), unique("by_token", &["token"])];
    /// An administrator's password hash and API secret.
    AdminSecret = "administrator_secrets", version 1, scope None, announced false, [];
    /// A console login, under the hash of its token.
    Session = "sessions", version 1, scope None, announced false,
        [index("by_admin", &["admin"]), index("by_expiry", &["expires"])];
    /// The cluster's settings: one record.
    Settings = "settings", version 1, scope None, announced true, [];
    /// An organisation with its CA certificate.
    Organization = "organizations", version 1, scope None, announced true, [index("by_name", &["name"])];
    /// An organisation's API credentials.
    OrganizationSecret = "organization_secrets", version 1, scope None, announced false, [];
    /// An organisation's CA key.
    CaKey = "ca_keys", version 1, scope None, announced false, [];
    /// Somebody who may connect.
    User = "users", version 1, scope Some("organization"), announced true,
        [index("by_organization", &["organization", "name"])];
    /// A user's PIN hash and the secrets of the user's profiles.
    UserSecret = "user_secrets", version 1, scope None, announced false, [];
    /// A certificate of a user or a server, or one that is kept ready for them.
    Certificate = "certificates", version 1, scope Some("organization"), announced true, [
        index("by_pool", &["organization", "purpose", "state"]),
        index("by_purpose", &["purpose", "state"]),
        index("by_reservation", &["reserved"]),
        index("by_subject", &["subject"]),
        index("by_expiry", &["expires"]),
        index("by_replacement", &["replaced"]),
        unique("by_fingerprint", &["fingerprint"]),
    ];
    /// The private key to a certificate.
    CertificateKey = "certificate_keys", version 1, scope None, announced false, [];
    /// A certificate that is not to be trusted any more.
    Revocation = "revocations", version 1, scope Some("organization"), announced true,
        [index("by_organization", &["organization", "serial"]), index("by_expiry", &["expires"])];
    /// An organisation's signed list of those.
    Crl = "crls", version 1, scope None, announced true, [];
    /// Diffie-Hellman parameters that wait for a server.
    DhParams = "dh_params", version 1, scope None, announced true,
        [index("by_bits", &["bits"])];
    /// A VPN server with its organisations, hosts and routes.
    Server = "servers", version 1, scope None, announced true, [index("by_name", &["name"])];
    /// The keys that a server's clients share.
    ServerKey = "server_keys", version 1, scope None, announced false, [];
    /// A server's instance on a host, held by lease.
    Instance = "instances", version 1, scope Some("server"), announced true,
        [index("by_server", &["server"]), index("by_host", &["host"])];
    /// The tunnel address of a user on a server.
    Address = "addresses", version 1, scope Some("server"), announced false, [
        unique("by_address", &["server", "address"]),
        index("by_user", &["user"]),
    ];
    /// A client that is connected.
    Connection = "connections", version 1, scope Some("server"), announced true,
        [index("by_server", &["server"]), index("by_user", &["user"]), index("by_host", &["host"])];
    /// The last lines of what an instance printed.
    Output = "outputs", version 1, scope Some("server"), announced true, [index("by_server", &["server"])];
    /// Work that takes long, under its idempotency key, held by lease while it is done.
    Job = "jobs", version 1, scope None, announced true,
        [index("by_state", &["state", "priority", "created"]), index("by_weight", &["state", "light", "priority", "created"])];
    /// A task and when it is due, held by lease while it runs.
    Task = "tasks", version 1, scope None, announced true, [];
    /// A nonce that was used.
    Nonce = "nonces", version 1, scope None, announced false, [index("by_expiry", &["expires"])];
    /// What happened, for administrators.
    Log = "log", version 1, scope None, announced true, [index("by_time", &["timestamp"])];
    /// The console's certificate: one record.
    Tls = "tls", version 1, scope None, announced true, [];
    /// The key to the console's certificate.
    TlsKey = "tls_keys", version 1, scope None, announced false, [];
    /// A link to a user's profiles that works without logging in.
    ProfileLink = "profile_links", version 1, scope None, announced false, [
        unique("by_user", &["user"]),
        unique("by_short", &["short"]),
        index("by_expiry", &["expires"]),
    ];
    /// What stands for the networks and ports of all servers: one record.
    Networks = "networks", version 1, scope None, announced false, [];
}

impl Kind {
    /// The kind's index of this name.
    #[must_use]
    pub fn index(self, name: &str) -> Option<&'static Index> {
        self.indexes().iter().find(|index| index.name == name)
    }
}
