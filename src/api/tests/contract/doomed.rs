//! What stands between a queue and its bus, so that the queue dies at one of its writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use culvert_wire::bus::{Call, Request};
use culvert_wire::decode;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use crate::away::{frame, put};

/// Hands everything on until the write of this number comes, which is handed on or not, by turns; its answer is not.
pub async fn until_write(listener: UnixListener, bus: PathBuf, number: usize) {
    let writes = Arc::new(AtomicUsize::new(0));
    loop {
        let (queue, _) = listener.accept().await.expect("the queue asks");
        let bus = UnixStream::connect(&bus).await.expect("the bus listens");
        let ((calls, answers), (replies, bus)) = (queue.into_split(), bus.into_split());
        tokio::select! {
            dead = hand_in(calls, bus, &writes, number) => if dead { return },
            () = hand_out(replies, answers) => {}
        }
    }
}

/// Whether it ended with the queue's death.
async fn hand_in(mut calls: OwnedReadHalf, mut bus: OwnedWriteHalf, writes: &AtomicUsize, number: usize) -> bool {
    while let Some(bytes) = frame(&mut calls).await {
        let call: Call = decode(&bytes).expect("a call");
        let last = matches!(call.request, Request::Write { .. }) && writes.fetch_add(1, Relaxed) + 1 == number;
        if !last || number.is_multiple_of(2) {
            put(&mut bus, &bytes).await;
        }
        if last {
            return true;
        }
    }
    false
}

async fn hand_out(mut replies: OwnedReadHalf, mut answers: OwnedWriteHalf) {
    while let Some(bytes) = frame(&mut replies).await {
        put(&mut answers, &bytes).await;
    }
}
