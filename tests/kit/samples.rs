//! One good record of every kind, as it is stored.

use culvert_model::record::{Server, User};
use culvert_model::{Id, Kind, Record};
use serde_json::{Value, json};

const ID: &str = "65f000000000000000000001";
const HOST: &str = "0123456789abcdef0123456789abcdef";

/// A record of a kind, with every field that it can have.
#[must_use]
pub fn sample(kind: Kind) -> Value {
    match kind {
        Kind::Cluster | Kind::Host | Kind::Usage | Kind::Settings | Kind::Log => of_the_cluster(kind),
        Kind::Admin | Kind::AdminSecret | Kind::Session | Kind::Nonce | Kind::Tls | Kind::TlsKey => of_access(kind),
        Kind::Job | Kind::Task => of_work(kind),
        Kind::Server
        | Kind::ServerKey
        | Kind::Networks
        | Kind::Instance
        | Kind::Address
        | Kind::Connection
        | Kind::Output => of_servers(kind),
        _ => of_users(kind),
    }
}

/// A record like the sample of its kind, but for this.
#[must_use]
pub fn made<T: Record>(change: impl FnOnce(&mut T)) -> T {
    let mut record = serde_json::from_value(sample(T::KIND)).expect("a good record");
    change(&mut record);
    record
}

/// A user with a certificate that is not there.
#[must_use]
pub fn user(organization: Id) -> User {
    made(|user: &mut User| (user.id, user.organization, user.certificate) = (Id::new(), organization, Id::new()))
}

/// A server that is stopped, of these organisations.
#[must_use]
pub fn server(organizations: &[Id]) -> Server {
    made(|server: &mut Server| {
        (server.id, server.online, server.certificate) = (Id::new(), false, None);
        (server.organizations, server.hosts, server.standby) = (organizations.to_vec(), Vec::new(), Vec::new());
        (server.network_lock, server.dh_params) = (None, None);
    })
}

/// The id under which a sample stands.
#[must_use]
pub fn id(sample: &Value) -> &str {
    sample["id"].as_str().expect("every record has an id")
}

fn of_the_cluster(kind: Kind) -> Value {
    match kind {
        Kind::Cluster => json!({
            "id": "cluster", "state": "ready", "by": HOST, "since": 1, "format": 1, "version": "0.1.0",
            "migration": { "kind": "users", "after": ID, "looked": 3, "changed": 2, "failed": 1 },
        }),
        Kind::Host => json!({
            "id": HOST, "name": "gate", "hostname": "gate.example.org", "version": "0.1.0", "format": 1,
            "status": "online", "started": 1, "cores": 2, "public_address": "192.0.2.1", "public_address6": "2001:db8::1",
            "local_address": "10.0.0.1", "local_networks": ["10.0.0.0/24"], "sync_address": "s.example.org",
            "availability_group": "default", "priority": -1,
        }),
        Kind::Usage => json!({
            "id": format!("{HOST}-1m"), "host": HOST, "period": "1m", "buckets": [[1_764_000_000_000_u64, 2, 300, 400]],
        }),
        Kind::Settings => json!({
            "id": "settings", "theme": "dark", "pin_mode": "optional", "restrict_import": false, "client_pool": 6,
            "server_pool": 2, "ca_pool": 1, "dh_pool": 3, "dh_pool_bits": [2048, 4096], "dh": "own", "user_key": "rsa-3072",
            "server_key": "p-256", "ca_key": "ed25519", "leaf_days": 1825, "ca_days": 7300, "expiry_days": 30,
            "renegotiate": 3600,
        }),
        _ => json!({ "id": ID, "timestamp": 1, "message": "A user was made." }),
    }
}

fn of_access(kind: Kind) -> Value {
    match kind {
        Kind::Admin => json!({
            "id": ID, "username": "admin", "super_user": true, "disabled": false, "auth_api": true,
            "token": "abcdefghijklmnopqrstuvwxyz012345", "default": false,
        }),
        Kind::AdminSecret => json!({
            "id": ID, "password": "$argon2id$v=19$m=1,t=1,p=1$AAAA$AAAA", "default_password": "once",
            "api_secret": "abcdefghijklmnopqrstuvwxyz012345",
        }),
        Kind::Session => json!({ "id": "5e55", "admin": ID, "created": 1, "expires": 2 }),
        Kind::Nonce => json!({ "id": "token/nonce", "expires": 2 }),
        Kind::Tls => json!({ "id": "console", "chain": ["AAEC", "AA=="], "expires": 2 }),
        _ => json!({ "id": "console", "key": "AAEC" }),
    }
}

fn of_work(kind: Kind) -> Value {
    match kind {
        Kind::Job => json!({
            "id": "certificate/x/client/1", "work": { "what": "certificate", "organization": ID, "purpose": "client" },
            "priority": 1, "state": "open", "created": 1, "not_before": 1, "deadline": 9, "attempts": 1, "begun": 2,
            "progress": { "done": 3, "of": 4 }, "paused": false, "cancelled": true, "reserved": "word",
            "preferred": HOST, "error": "no room",
        }),
        _ => json!({
            "id": "sweep", "due": 3, "attempts": 0, "finished": 2, "succeeded": 2, "duration": 1, "host": HOST,
            "result": "2 swept",
        }),
    }
}

fn of_servers(kind: Kind) -> Value {
    match kind {
        Kind::Server => json!({
            "id": ID, "name": "office", "online": true, "started": 1, "network": "10.8.0.0/24",
            "bind_address": "192.0.2.1", "protocol": "udp", "port": 1194, "organizations": [ID], "hosts": [HOST],
            "standby": [HOST], "replica_count": 1,
            "routes": [{
                "network": "0.0.0.0/0", "comment": "all", "metric": 1, "nat": true, "nat_interface": "eth0",
                "nat_netmap": "10.1.0.0/24", "net_gateway": false,
            }],
            "certificate": ID, "groups": ["a"], "dns_servers": ["9.9.9.9"], "search_domain": "example.org",
            "cipher": "aes128", "hash": "sha256", "dh_param_bits": 2048, "dh_params": "AAEC",
            "network_lock": "pool/x", "multi_device": true, "inter_client": true,
            "restrict_routes": true, "otp_auth": true, "ping_interval": 10, "ping_timeout": 60, "inactive_timeout": 1,
            "session_timeout": 2, "max_clients": 100, "max_devices": 3, "tun_mtu": 1500, "mss_fix": 1400, "debug": true,
            "block_outside_dns": true, "pre_connect_msg": "hello",
        }),
        Kind::Networks => json!({ "id": "networks" }),
        Kind::ServerKey => json!({ "id": ID, "tls_crypt": "AAEC" }),
        Kind::Instance => json!({
            "id": format!("{ID}-0"), "server": ID, "host": HOST, "slot": 3, "state": "online", "since": 1, "reason": "x",
            "certificate": ID,
        }),
        Kind::Address => json!({ "id": "a/1", "server": ID, "user": ID, "address": "10.8.0.2", "next": null }),
        Kind::Connection => json!({
            "id": ID, "server": ID, "host": HOST, "user": ID, "organization": ID, "client": 4,
            "real_address": "192.0.2.7:1194", "virtual_address": "10.8.0.2", "platform": "linux", "device_name": "d",
            "since": 1, "serial": "0a",
        }),
        _ => json!({ "id": format!("{ID}-0"), "server": ID, "lines": ["started"] }),
    }
}

fn of_users(kind: Kind) -> Value {
    match kind {
        Kind::Organization => json!({
            "id": ID, "name": "staff", "auth_api": true, "ca": "AAEC", "ca_expires": 2,
        }),
        Kind::OrganizationSecret => json!({
            "id": ID, "auth_token": "abcdefghijklmnopqrstuvwxyz012345", "auth_secret": "abcdefghijklmnopqrstuvwxyz012345",
        }),
        Kind::CaKey | Kind::CertificateKey => json!({ "id": ID, "key": "AAEC" }),
        Kind::User => json!({
            "id": ID, "organization": ID, "name": "ann", "email": "ann@example.org", "groups": ["a"], "disabled": false,
            "auth_type": "local", "yubico_id": "y", "pin": true, "bypass_secondary": false, "client_to_client": false,
            "mac_addresses": ["00:00:00:00:00:01"], "dns_servers": ["9.9.9.9"], "dns_suffix": "example.org",
            "port_forwarding": [{ "protocol": "tcp", "port": "80", "dport": "8080" }], "network_links": ["10.9.0.0/24"],
            "certificate": ID, "last_active": 1,
        }),
        Kind::UserSecret => json!({
            "id": ID, "pin": "hash", "otp_secret": "ABCD", "sync_token": "t", "sync_secret": "s",
        }),
        Kind::Certificate => json!({
            "id": ID, "organization": ID, "purpose": "client", "state": "taken", "reserved": "word", "subject": ID,
            "der": "AAEC", "fingerprint": "00ff", "expires": 2, "serial": "0a", "replaced": 1,
        }),
        Kind::Revocation => json!({
            "id": format!("{ID}-0a"), "organization": ID, "serial": "0a", "since": 1, "expires": 2,
            "reason": "superseded",
        }),
        Kind::Crl => json!({ "id": ID, "number": 3, "der": "AAEC", "signed": 1, "next": 2 }),
        Kind::DhParams => json!({ "id": ID, "bits": 2048, "der": "AAEC" }),
        _ => json!({ "id": "long", "short": "s", "user": ID, "organization": ID, "expires": 2 }),
    }
}
