//! How every unprivileged process starts and ends. One prologue for all, in one order: close stray descriptors, read and
//! clear the environment, read the arguments, take the sockets, check the users, enter the sandbox, log, run.
//!
//! Security: nothing of the process's own code runs before the sandbox is entered, and a process that could not enter it
//! does not run.

mod context;
mod error;
mod logging;
mod notify;
mod options;
mod prologue;
mod run;
mod sockets;
mod users;

pub use context::Context;
pub use culvert_model::Role;
pub use error::Error;
pub use notify::Notify;
pub use options::Options;
pub use run::main;
pub use sockets::Sockets;
pub use users::Users;
