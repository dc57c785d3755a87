//! A running instance: its management connection, its clients, its rules, its records.

mod attach;
mod client;
mod ledger;
mod output;
mod run;
mod session;
mod stream;

pub use client::{Client, Found, Stage};
pub use output::Printout;
pub use run::{Phase, Setup, Task};
pub use session::{Act, Session};
