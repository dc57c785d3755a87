//! What is on its way to a peer: bounded in number and in bytes, with a deadline for a peer that does not read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culvert_frames::FrameWriter;
use culvert_wire::bus::{Answer, FRAME, Fault, Reply};
use culvert_wire::encode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// The most answers that wait for a peer to read.
const ANSWERS: usize = 64;

/// The most bytes that do: one of the longest frames.
const ROOM: usize = FRAME;

/// With so many bytes, no more answers are put into the same write: what the socket takes without waiting.
const TOGETHER: usize = 64 << 10;

/// After this long without reading anything, a peer is cut.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where answers are put.
#[derive(Debug, Clone)]
pub struct Outbox {
    frames: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The peer is gone, or is being cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// An outbox, and what has to run so that it is emptied. That ends when the peer is gone or does not read, or when
/// nobody has the outbox any more and all is written.
pub fn open(mut writer: FrameWriter) -> (Outbox, impl Future<Output = ()>) {
    let (frames, mut waiting) = mpsc::channel::<(Bytes, OwnedSemaphorePermit)>(ANSWERS);
    let empty = async move {
        while let Some(first) = waiting.recv().await {
            let (mut frames, mut rooms, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some((frame, room)) = next {
                bytes += frame.len();
                frames.push(frame);
                rooms.push(room);
                next = if bytes < TOGETHER { waiting.try_recv().ok() } else { None };
            }
            match timeout(PATIENCE, writer.send(&frames)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::warn!("a peer was cut, because it did not read for {} s", PATIENCE.as_secs());
                    return;
                }
            }
        }
    };
    (Outbox { frames, room: Arc::new(Semaphore::new(ROOM)) }, empty)
}

impl Outbox {
    /// Puts an answer in, as soon as there is room.
    pub async fn send(&self, number: u64, reply: Result<Reply, Fault>) -> Result<(), Gone> {
        let frame = frame(number, reply);
        let bytes = u32::try_from(frame.len()).expect("a frame is shorter than that");
        let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| Gone)?;
        self.frames.send((frame, room)).await.map_err(|_| Gone)
    }
}

fn frame(number: u64, reply: Result<Reply, Fault>) -> Bytes {
    let encoded = encode(&Answer { number, reply }).ok().filter(|frame| frame.len() <= FRAME);
    let frame = encoded.unwrap_or_else(|| {
        tracing::error!("an answer was longer than a frame");
        let fault = Err(Fault::Invalid("the answer is longer than a frame".into()));
        encode(&Answer { number, reply: fault }).expect("a fault has a form")
    });
    frame.into()
}
