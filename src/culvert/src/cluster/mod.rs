//! `culvert join` and `culvert leave`: a single appliance on its way into a cluster, and a host on its way out.
//!
//! What is decided here are a URI and a word in the state folder; the bus does the moving, and goes on by itself whatever
//! becomes of this command. Each of the two can be repeated until it says that it is done.

pub mod choice;
mod join;
mod leave;
pub mod running;
mod watch;

pub use join::join;
pub use leave::leave;
