//! A client of an instance.

use std::net::Ipv4Addr;

use culvert_model::Id;

use crate::authority::{Denial, Proof};
use crate::management::{Environment, Row};

/// How far a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is being decided about.
    Asking,
    /// It is let in and OpenVPN knows.
    Admitted,
    /// Its tunnel works.
    Connected,
    /// It is cut off and must go.
    Condemned,
}

/// A client of an instance.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its number in OpenVPN.
    pub number: u64,
    /// The number of its last key.
    pub key: u64,
    /// How far it is.
    pub stage: Stage,
    /// The serial number of its certificate, if it is known.
    pub serial: Option<String>,
    /// Who it is, once that is known.
    pub user: Option<Id>,
    /// The user's organisation.
    pub organization: Option<Id>,
    /// Its address in the tunnel.
    pub address: Option<Ipv4Addr>,
    /// Where it comes from.
    pub real_address: String,
    /// What it says it runs on.
    pub platform: Option<String>,
    /// What it calls its device.
    pub device_name: Option<String>,
    /// When it came, seconds since 1970, if a controller before us let it in.
    pub since: Option<i64>,
    /// That it has shown its PIN.
    pub proof: Option<Proof>,
}

/// A client of OpenVPN's list, and who it is.
#[derive(Debug)]
pub struct Found {
    /// What the list says.
    pub row: Row,
    /// The user and the organisation, or why the user may not be there.
    pub who: Result<(Id, Id), Denial>,
}

impl Client {
    pub(super) fn asking(number: u64, key: u64, environment: &Environment) -> Self {
        Self {
            key,
            serial: environment.serial(),
            real_address: environment.real_address().unwrap_or_default(),
            platform: environment.platform(),
            device_name: environment.device_name(),
            ..Self::gone(number)
        }
    }

    pub(super) fn adopted(row: &Row, user: Id, organization: Id, address: Ipv4Addr) -> Self {
        Self {
            stage: Stage::Connected,
            user: Some(user),
            organization: Some(organization),
            address: Some(address),
            real_address: row.real_address.clone(),
            since: Some(row.since),
            ..Self::gone(row.client)
        }
    }

    /// A client of which nothing is known.
    pub(super) fn gone(number: u64) -> Self {
        Self {
            number,
            key: 0,
            stage: Stage::Asking,
            serial: None,
            user: None,
            organization: None,
            address: None,
            real_address: String::new(),
            platform: None,
            device_name: None,
            since: None,
            proof: None,
        }
    }

    pub(super) fn admit(&mut self, user: Id, organization: Id, address: Ipv4Addr, proof: Option<Proof>) {
        self.stage = Stage::Admitted;
        self.user = Some(user);
        self.organization = Some(organization);
        self.address = Some(address);
        self.proof = proof;
    }

    pub(super) fn admitted(&self) -> bool {
        matches!(self.stage, Stage::Admitted | Stage::Connected)
    }
}
