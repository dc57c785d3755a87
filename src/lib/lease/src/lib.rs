//! Holding a lease on a record: what queue, tasks and vpn decide, without doing any of it.
//!
//! Time is an argument: milliseconds of one monotonic clock of the caller's, from any beginning. Nothing here compares
//! two machines' clocks. What is promised, and what the tests hold:
//!
//! - Who holds a lease stops believing so at the latest one lease length after it *sent* the last request that was
//!   granted. The store counts from when it received that request, so that its own end is never earlier than ours.
//! - Should a clock be wrong all the same (the store's was stepped, this machine slept), two may believe to hold for a
//!   while, but under different epochs: the store refuses writes under the older one ([the fence](Lease::held)).
//! - After an outage nobody takes another's claim before it has had one lease length of uninterrupted contact with the
//!   store ([`Contact`], [`may_claim`]), so that holders come first. A claim only ever follows what the store has just
//!   said of who had the lease last.
//!
//! What is held by which test, with its bounds: `docs/decisions/0009-leases.md`.

mod contact;
mod lease;

pub use contact::{Contact, Last, may_claim};
pub use lease::{Action, Answer, Lease, Terms, Ticket};

/// Milliseconds of the caller's monotonic clock, or between two of its instants.
pub type Millis = u64;
