//! Reading.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;

use super::HEAD;

/// How much room is kept for what comes: many requests, or a short page.
const ROOM: usize = 16 << 10;

/// The reading side of a stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: Arc<AsyncFd<UnixStream>>,
    longest: usize,
    /// What was read and not given out yet stands between `begin` and `end`.
    room: Vec<u8>,
    begin: usize,
    end: usize,
}

impl FrameReader {
    pub(crate) fn new(stream: Arc<AsyncFd<UnixStream>>, longest: usize) -> Self {
        Self { stream, longest, room: vec![0; ROOM], begin: 0, end: 0 }
    }

    /// Waits for the first byte of a frame, if none is there; tells whether one came before the end. Can be broken off.
    ///
    /// # Errors
    ///
    /// The stream broke.
    pub async fn begin(&mut self) -> io::Result<bool> {
        if self.begin == self.end {
            self.make_room(HEAD);
            return Ok(self.read().await? > 0);
        }
        Ok(true)
    }

    /// The next frame; nothing at the end of the stream. Can be broken off without losing anything.
    ///
    /// # Errors
    ///
    /// The frame is longer than any may be, the stream ends inside of one, or it broke.
    pub async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let frame = loop {
            if let Some(length) = self.whole()? {
                let begin = self.begin + HEAD;
                self.begin = begin + length;
                break begin..self.begin;
            }
            if self.read().await? == 0 {
                return if self.begin == self.end { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        };
        Ok(self.room.get(frame))
    }

    /// The length of the first frame, if all of it is there; if not, there is room for more of it.
    fn whole(&mut self) -> io::Result<Option<usize>> {
        let held = self.room.get(self.begin..self.end).unwrap_or_default();
        let length = held.first_chunk::<HEAD>().map(|head| u32::from_be_bytes(*head) as usize);
        if length.is_some_and(|length| length > self.longest) {
            return Err(io::Error::new(ErrorKind::InvalidData, "a frame is longer than any may be"));
        }
        let missing = match length {
            Some(length) if held.len() >= HEAD + length => return Ok(Some(length)),
            Some(length) => HEAD + length,
            None => HEAD,
        };
        self.make_room(missing);
        Ok(None)
    }

    /// Moves what is held to the beginning, where a frame of this length fits behind it. The room grows with what has come,
    /// not with what was announced.
    fn make_room(&mut self, needed: usize) {
        self.room.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        if self.end == 0 && self.room.len() > ROOM {
            self.room = vec![0; ROOM];
        } else if self.end == self.room.len() {
            self.room.resize(needed.min(2 * self.end).max(ROOM), 0);
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let free = self.room.get_mut(self.end..).unwrap_or_default();
        loop {
            let mut ready = self.stream.readable().await?;
            let Ok(read) = ready.try_io(|stream| stream.get_ref().read(free)) else { continue };
            match read {
                Ok(count) => {
                    if count > 0 && count < free.len() {
                        // There was no more: what comes later is told again, and need not be asked for.
                        ready.clear_ready();
                    }
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
