//! Profiles: what a user gives to an OpenVPN client, as text, as an archive, behind a link (`semantics.md` section c).

mod archive;
mod gather;
pub mod link;
mod page;
mod text;

pub use archive::archive;
pub use gather::{Named, all, one};
pub use page::page;
