//! What a peer sends, frame by frame. A frame that has begun must end soon, and takes no memory before it comes.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use culvert_wire::bus::FRAME;
use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::{Instant, timeout_at};

/// How long a frame may take, once its first byte is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The length that a frame begins with.
const HEAD: usize = 4;

/// Frames as they come.
#[derive(Debug)]
pub struct Incoming {
    stream: OwnedReadHalf,
    buffer: BytesMut,
    /// When the frame that is not there as a whole began to be waited for.
    begun: Option<Instant>,
}

impl Incoming {
    /// Of this stream.
    pub fn new(stream: OwnedReadHalf) -> Self {
        Self { stream, buffer: BytesMut::new(), begun: None }
    }

    /// Nobody waited for frames for a while: that one did not end meanwhile is not the peer's fault.
    pub fn excuse(&mut self) {
        self.begun = None;
    }

    /// The next frame; nothing at the end. Nothing is lost if this is dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<Bytes>, &'static str> {
        loop {
            if let Some(frame) = self.whole()? {
                self.begun = None;
                return Ok(Some(frame));
            }
            let read = if self.buffer.is_empty() {
                self.begun = None;
                self.stream.read_buf(&mut self.buffer).await
            } else {
                let begun = *self.begun.get_or_insert_with(Instant::now);
                let reading = timeout_at(begun + PATIENCE, self.stream.read_buf(&mut self.buffer));
                reading.await.map_err(|_| "a frame that it began did not end")?
            };
            match read {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err("it went in the middle of a frame"),
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>, &'static str> {
        let Some(head) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > FRAME {
            return Err("what it sent is no frame, or a longer one than there may be");
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let frame = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // A long frame's memory goes with it.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }
}
