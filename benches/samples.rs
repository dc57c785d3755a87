//! Records as there are many.

use culvert_model::Id;
use culvert_model::record::{Job, Priority, Purpose, User, Work};

/// A user as there are many.
pub fn user(number: u64) -> User {
    User {
        id: Id::new(),
        organization: Id::from_bytes([7; 12]),
        name: format!("user{number}"),
        email: Some(format!("user{number}@example.org")),
        groups: vec!["staff".into(), "remote".into()],
        disabled: false,
        auth_type: "local".into(),
        yubico_id: None,
        pin: true,
        bypass_secondary: false,
        client_to_client: false,
        mac_addresses: None,
        dns_servers: None,
        dns_suffix: None,
        port_forwarding: None,
        network_links: Vec::new(),
        certificate: Id::new(),
        last_active: Some(1_790_000_000),
    }
}

/// A job as there are many.
pub fn job(number: usize) -> Job {
    Job::new(
        format!("certificate/{number}"),
        Work::Certificate { organization: Id::from_bytes([7; 12]), purpose: Purpose::Client },
        Priority::Low,
        1_790_000_000_000,
    )
}
