//! One peer's hearing of changes. A peer that reads slowly has a gap, and nobody waits for it.

use culvert_model::Kind;
use culvert_wire::bus::Reply;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::outbox::{Gone, Outbox};
use crate::store::Tail;

/// Tells a peer of every change to these kinds until it is gone.
pub async fn run(outbox: Outbox, number: u64, kinds: Vec<Kind>, mut tail: Receiver<Tail>) -> Result<(), Gone> {
    outbox.send(number, Ok(Reply::Subscribed)).await?;
    loop {
        let reply = match tail.recv().await {
            Ok(Tail::Change(change)) if kinds.contains(&change.kind) => Reply::Changed(change),
            Ok(Tail::Change(_)) => continue,
            // What it missed while it did not read is told as a gap: the messages behind it are no loss then.
            Ok(Tail::Gap) | Err(RecvError::Lagged(_)) => Reply::Gap,
            Err(RecvError::Closed) => return Err(Gone),
        };
        outbox.send(number, Ok(reply)).await?;
    }
}
