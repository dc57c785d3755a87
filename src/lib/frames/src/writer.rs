//! Writing.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{HEAD, watch};

/// The most pieces that the kernel takes in one call.
const PIECES: usize = 1024;

/// The writing side of a stream.
#[derive(Debug)]
pub struct FrameWriter {
    stream: Arc<AsyncFd<UnixStream>>,
}

impl FrameWriter {
    pub(crate) fn new(stream: Arc<AsyncFd<UnixStream>>) -> Self {
        Self { stream }
    }

    /// Writes frames, in one system call if the other side reads. If this is broken off, half a frame may be written: the
    /// stream is of no use then.
    ///
    /// # Errors
    ///
    /// The other side is gone.
    pub async fn send(&mut self, frames: &[Bytes]) -> io::Result<()> {
        let heads: Vec<[u8; HEAD]> = frames.iter().map(head).collect::<io::Result<_>>()?;
        let pieces = heads.iter().zip(frames).flat_map(|(head, frame)| [IoSlice::new(head), IoSlice::new(frame)]);
        let mut pieces: Vec<IoSlice<'_>> = pieces.collect();
        let mut left = pieces.as_mut_slice();
        let mut full = None;
        while !left.is_empty() {
            let some = left.get(..PIECES).unwrap_or(left);
            match self.stream.get_ref().write_vectored(some) {
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(&mut full).await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the other side has read something. For as long as `full` is there, it is told.
    async fn wait(&self, full: &mut Option<AsyncFd<UnixStream>>) -> io::Result<()> {
        let full = match full {
            Some(full) => full,
            None => {
                let again = self.stream.get_ref().try_clone()?;
                full.insert(watch(again, Interest::WRITABLE)?)
            }
        };
        // What it says next is about what comes after.
        full.writable().await?.clear_ready();
        Ok(())
    }
}

fn head(frame: &Bytes) -> io::Result<[u8; HEAD]> {
    let length = u32::try_from(frame.len());
    length.map(u32::to_be_bytes).map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a frame is too long"))
}
