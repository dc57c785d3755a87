//! What consoles are told (`semantics.md` section e): changes of records, as events, in a ring that long polls read.

mod feed;
mod meaning;
mod poll;
mod ring;

pub use feed::{Feed, follow};
pub use poll::poll;
pub use ring::{Event, Ring};
