//! OpenVPN's management protocol (`management-notes.txt` of OpenVPN 2.6): bytes in, events out; commands in, bytes out.
//!
//! What arrives was partly written by clients: lines and blocks are bounded, text is decoded lossily, and whatever makes
//! no sense becomes an event that nobody acts on.

mod command;
mod environment;
mod event;
mod lines;
mod parser;

pub use command::{Command, Label};
pub use environment::Environment;
pub use event::{Event, Notice, Row, Signal, State};
pub use lines::{LINE, Lines};
pub use parser::{ENTRIES, Parser};
