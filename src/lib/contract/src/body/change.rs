//! Hosts, renewals, and values that the contract takes in several JSON types.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Field, object};
use crate::{Fault, Secret};

object! {
    /// What a host is to be.
    HostChange {
        /// The name; empty for one that is made up.
        name: String,
        /// The address that profiles name; empty for the one that was found.
        public_address: String,
        /// The IPv6 address that profiles name; empty for the one that was found.
        public_address6: String,
        /// An IPv6 network that is routed to the host.
        routed_subnet6: String,
        /// Another, for WireGuard.
        routed_subnet6_wg: String,
        /// Whether the host answers for its clients' IPv6 addresses.
        proxy_ndp: bool,
        /// The address on the local network; empty for the one that was found.
        local_address: String,
        /// The IPv6 address on the local network; empty for the one that was found.
        local_address6: String,
        /// The address for links between hosts.
        link_address: String,
        /// Where profiles are synchronised.
        sync_address: String,
        /// Which hosts stand in for each other; empty for `default`.
        availability_group: String,
        /// Preference among hosts.
        priority: i64,
        /// Accepted and ignored.
        instance_id: String,
    }
}

object! {
    /// Which job or task.
    Named {
        /// Its id, as the list has it.
        id: String,
    }
}

object! {
    /// How a certificate is to be renewed.
    Renewal {
        /// Whether the old one is revoked as soon as there is a new one: otherwise it is good for seven more days.
        immediate: bool,
        /// Whether its key may be in wrong hands: then it is revoked before anything else, and the list says why.
        compromised: bool,
    }
}

/// What becomes of a user's PIN: true keeps it, text sets it; false, null, empty text and absence remove it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PinChange {
    /// There is none afterwards.
    #[default]
    Remove,
    /// It stays as it is.
    Keep,
    /// It becomes this one.
    Set(Secret),
}

impl Field for PinChange {
    fn take(value: Value) -> Result<Self, Fault> {
        match value {
            Value::Null | Value::Bool(false) => Ok(Self::Remove),
            Value::Bool(true) => Ok(Self::Keep),
            Value::String(text) if text.is_empty() => Ok(Self::Remove),
            Value::String(text) => Ok(Self::Set(Secret::from(text))),
            _ => Err(Fault::whole("text, true, false or null")),
        }
    }
}

impl Serialize for PinChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Remove => serializer.serialize_bool(false),
            Self::Keep => serializer.serialize_bool(true),
            Self::Set(pin) => pin.serialize(serializer),
        }
    }
}

/// The largest TCP segment in bytes, sent as a number or as text; 0 and its like for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MssFix(pub Option<u16>);

impl Field for MssFix {
    fn take(value: Value) -> Result<Self, Fault> {
        let number = match &value {
            Value::Null | Value::Bool(false) => Some(0),
            Value::String(text) if text.trim().is_empty() => Some(0),
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_u64().and_then(|number| u16::try_from(number).ok()),
        };
        let number: u16 = number.ok_or(Fault::whole("a whole number from 0 to 65535"))?;
        Ok(Self((number != 0).then_some(number)))
    }
}

impl Serialize for MssFix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
