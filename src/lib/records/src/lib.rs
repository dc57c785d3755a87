//! Typed access to the records, over the local bus: what api, pools, queue, tasks and vpn use.
//!
//! One stream carries any number of requests. When it breaks, it is opened again with backoff, requests that were under
//! way are asked again (a write keeps its id, so that it is done once), and subscribers are told of a gap.

mod connection;
mod damage;
mod error;
mod hold;
mod host;
mod memory;
mod pages;
mod query;
mod stream;
mod subscription;
mod turn;

pub use connection::{Bus, SILENCE};
pub use culvert_wire::bus::{BATCH, Change, Claim, Guard, Keeper, Key, Lease, Refusal, Standing, Transfer, Write};
pub use error::{Failure, Kept};
pub use hold::{Grantor, Hold, Post};
pub use memory::{is_remembered, note_remembered, remembered};
pub use pages::Pages;
pub use query::{Page, Query, Stored, delete, insert, unheld, update};
pub use subscription::{News, Subscription};
