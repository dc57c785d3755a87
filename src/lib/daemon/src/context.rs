//! What a process gets to work with.

use std::path::PathBuf;

use culvert_model::Role;
use tokio::sync::watch;

use crate::{Notify, Options, Sockets, Users};

/// What the prologue found out for the process.
#[derive(Debug)]
pub struct Context {
    /// What the process is.
    pub role: Role,
    /// The run folder (`--run`), absolute.
    pub run: PathBuf,
    /// The state folder (`--state`), absolute.
    pub state: PathBuf,
    /// The descriptors it was started with.
    pub sockets: Sockets,
    /// Its other arguments.
    pub options: Options,
    /// Where it says how it is.
    pub notify: Notify,
    /// The users of all roles.
    pub users: Users,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// What a process was told by signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nothing.
    Not,
    /// SIGTERM: it is started again.
    Restart,
    /// SIGINT: everything ends.
    End,
}

impl Context {
    /// Resolves when the process is asked to end (SIGTERM or SIGINT), and at once from then on. `serve` should finish
    /// what it is answering and return; after two seconds it is dropped.
    pub async fn stopped(&self) {
        // The sender lives as long as the runtime; should it be gone, the process is ending, too.
        let _ = self.stop.clone().wait_for(|stop| *stop != Stop::Not).await;
    }

    /// Whether the process was asked to end for good (SIGINT), and not only to be started again (SIGTERM): then it tells
    /// others that it is gone.
    #[must_use]
    pub fn ends(&self) -> bool {
        *self.stop.borrow() == Stop::End
    }
}
