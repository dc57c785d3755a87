//! Which host this machine is, how it is with its store, and making it another.

use std::time::Duration;

use culvert_model::{HostId, Millis};
use culvert_wire::bus::{Reply, Request, Standing};
use tokio::time::sleep;

use crate::connection::unexpected;
use crate::{Bus, Failure};

/// How long to wait before the bus is asked again which host this is.
const AGAIN: Duration = Duration::from_millis(250);

impl Bus {
    /// This host's id, and milliseconds since 1970 by the store's clock.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn here(&self) -> Result<(HostId, Millis), Failure> {
        match self.ask(Request::Here).await? {
            Reply::Here { host, now } => Ok((host, now)),
            _ => Err(unexpected()),
        }
    }

    /// This host's id, and how it is with the store; answered while it is away, too.
    ///
    /// # Errors
    ///
    /// The bus can't be reached.
    pub async fn standing(&self) -> Result<(HostId, Standing), Failure> {
        match self.exchange(Request::Standing).await? {
            Reply::Standing { host, standing } => Ok((host, standing)),
            _ => Err(unexpected()),
        }
    }

    /// Has the bus end, so that it is started again with what was changed in the state folder.
    ///
    /// # Errors
    ///
    /// The bus can't be reached.
    pub async fn restart(&self) -> Result<(), Failure> {
        match self.exchange(Request::Restart).await? {
            Reply::Restarting => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Ends when this machine is not that host any more, but was bound to another's record. Who keeps the host's id has to
    /// begin anew then. Asks only after the bus was away, as it is for that.
    pub async fn moved(&self, host: HostId) {
        let mut opened = self.opened.clone();
        loop {
            match self.here().await {
                Ok((now, _)) if now != host => return,
                Ok(_) => {}
                Err(_) => {
                    sleep(AGAIN).await;
                    continue;
                }
            }
            if opened.changed().await.is_err() {
                // Nobody opens the stream any more: the process is ending.
                return std::future::pending().await;
            }
        }
    }

    /// Makes this machine that host, which must be offline. The bus starts again after that.
    ///
    /// # Errors
    ///
    /// That host is not there or is online, the bus can't write it down, or the store can't be reached.
    pub async fn adopt(&self, host: HostId) -> Result<(), Failure> {
        match self.ask(Request::Adopt { host }).await? {
            Reply::Adopted => Ok(()),
            _ => Err(unexpected()),
        }
    }
}
