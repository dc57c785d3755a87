//! What a peer sends, frame by frame. A frame that has begun must end soon, and takes no memory before it comes.

use std::io::{self, ErrorKind};
use std::time::Duration;

use culvert_frames::FrameReader;
use tokio::time::{Instant, timeout_at};

/// How long a frame may take, once its first byte is there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Frames as they come.
#[derive(Debug)]
pub struct Incoming {
    frames: FrameReader,
    /// When the frame that is not there as a whole began to be waited for.
    begun: Option<Instant>,
}

impl Incoming {
    /// Of this stream.
    pub const fn new(frames: FrameReader) -> Self {
        Self { frames, begun: None }
    }

    /// Nobody waited for frames for a while: that one did not end meanwhile is not the peer's fault.
    pub fn excuse(&mut self) {
        self.begun = None;
    }

    /// The next frame; nothing at the end. Nothing is lost if this is dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, &'static str> {
        if !self.frames.begin().await.unwrap_or(false) {
            return Ok(None);
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let frame = timeout_at(begun + PATIENCE, self.frames.next()).await;
        let frame = frame.map_err(|_| "a frame that it began did not end")?;
        self.begun = None;
        frame.or_else(|error| why(&error))
    }
}

/// What is to be said of a stream that broke: nothing, if the peer is just gone.
fn why<T>(error: &io::Error) -> Result<Option<T>, &'static str> {
    match error.kind() {
        ErrorKind::InvalidData => Err("what it sent is no frame, or a longer one than there may be"),
        ErrorKind::UnexpectedEof => Err("it went in the middle of a frame"),
        _ => Ok(None),
    }
}
