//! The records themselves. A record is stored as JSON; its revision and its lease stand beside it.
//!
//! Private keys, password hashes and tokens are records of their own, so that reading them is a right of its own.

mod access;
mod cluster;
mod serial;
mod usage;
mod user;
mod vpn;
mod work;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use access::{Admin, AdminSecret, Nonce, Session, Tls, TlsKey};
pub use cluster::{Cluster, ClusterState, Dh, Host, HostStatus, Log, Migration, Settings};
pub use usage::{Bucket, Period, Usage};
pub use user::{
    CaKey, Certificate, CertificateKey, CertificateState, Crl, Organization, OrganizationSecret, PortForward,
    ProfileLink, Purpose, Reason, Revocation, User, UserSecret,
};
pub use vpn::{Address, Connection, DhParams, Instance, InstanceState, Networks, Output, Route, Server, ServerKey};
pub use work::{Job, JobState, NewUser, Priority, Progress, Task, Work};

use crate::Kind;

/// Something that the store keeps.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What kind of record this is.
    const KIND: Kind;

    /// The record's id, unique within its kind.
    fn id(&self) -> String;
}

/// What is to be done with the type of a kind's records ([`Kind::visit`]).
pub trait Visitor {
    /// What it comes to.
    type Output;

    /// Does it.
    fn visit<T: Record>(self) -> Self::Output;
}

macro_rules! record {
    ($kind:ident) => {
        impl crate::Record for $kind {
            const KIND: crate::Kind = crate::Kind::$kind;

            fn id(&self) -> String {
                self.id.to_string()
            }
        }
    };
}
use record;

/// Bytes that are written as base64 text in a record. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

mod base64;
