//! The types that every process shares: identifiers and values that cannot hold anything bad, and the records that
//! the store keeps.
//!
//! Nothing here does I/O. The helper uses this crate too, so it stays small: serde, ipnet and getrandom.

mod group;
mod id;
mod kind;
mod misread;
pub mod network;
pub mod record;
mod role;
mod value;

pub use group::group;
pub use id::{BadId, HostId, Id};
pub use kind::{FORMAT, Index, Kind, RELEASES};
pub use misread::misread;
pub use record::{Bytes, Record};
pub use role::Role;
pub use value::{BadValue, Cipher, Digest, KeyKind, Millis, Port, Protocol, Slot};
