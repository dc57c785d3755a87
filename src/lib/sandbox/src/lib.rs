//! What each process of the appliance may still do once it runs: one table ([`TABLE`]), and the way into it ([`enter`]).
//!
//! Security: entering is a requirement, in debug builds, too. Where the kernel cannot confine a process as the table says,
//! the process does not start; the one exception is landlock's rules for TCP, which kernels before 6.7 do not have: there
//! the guard in our nftables table is what is left, and a warning says so.

#![deny(clippy::undocumented_unsafe_blocks)]

mod calls;
mod entry;
mod error;
mod filter;
mod paths;
mod posture;

pub use entry::{Launched, enter, for_launch};
pub use error::Error;
pub use posture::{Calls, Family, Place, Posture, Rights, Scope, TABLE, Tcp, of};
