//! Which process of ours a program is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The processes of ours that run under a user of their own. The helper and the supervisor run as root and have no
/// role towards the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// TLS in front of the API.
    Proxy,
    /// The loopback API.
    Api,
    /// The only process that touches the database.
    Bus,
    /// Keeps what takes long ready.
    Pools,
    /// Does the jobs.
    Queue,
    /// Decides who runs what is due.
    Tasks,
    /// Runs the VPN servers and authorises their clients.
    Vpn,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 7] = [Self::Proxy, Self::Api, Self::Bus, Self::Pools, Self::Queue, Self::Tasks, Self::Vpn];

    /// The process's name, as in `src/<name>`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Api => "api",
            Self::Bus => "bus",
            Self::Pools => "pools",
            Self::Queue => "queue",
            Self::Tasks => "tasks",
            Self::Vpn => "vpn",
        }
    }

    /// The system user that the process runs as, and its group's name.
    #[must_use]
    pub const fn user(self) -> &'static str {
        match self {
            Self::Proxy => "culvert-proxy",
            Self::Api => "culvert-api",
            Self::Bus => "culvert-bus",
            Self::Pools => "culvert-pools",
            Self::Queue => "culvert-queue",
            Self::Tasks => "culvert-tasks",
            Self::Vpn => "culvert-vpn",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(())
    }
}
