//! What is on its way to a peer: bounded in number and in bytes, with a deadline for a peer that does not read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culvert_wire::bus::{Answer, FRAME, Fault, Reply};
use culvert_wire::encode;
use futures_util::SinkExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::codec::{FramedWrite, LengthDelimitedCodec};

/// The most answers that wait for a peer to read.
const ANSWERS: usize = 64;

/// The most bytes that do: one of the longest frames.
const ROOM: usize = FRAME;

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
pub fn open(stream: OwnedWriteHalf) -> (Outbox, impl Future<Output = ()>) {
    let (frames, mut waiting) = mpsc::channel::<(Bytes, OwnedSemaphorePermit)>(ANSWERS);
    let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec();
    let mut stream = FramedWrite::new(stream, codec);
    let empty = async move {
        while let Some((frame, _room)) = waiting.recv().await {
            match timeout(PATIENCE, stream.send(frame)).await {
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
