//! Frames over a unix stream, as the bus and all who ask it speak: a length of four bytes, big-endian, and so many bytes.
//!
//! The kernel tells the sending side of a unix stream each time that the other side has read something, and wakes whoever
//! waits for that. So the socket is registered for reading alone, and for writing only while it is full: a request over
//! the bus costs four wakings less than with a stream that is registered for both. What is written together goes in one
//! system call.

mod reader;
mod writer;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use self::reader::FrameReader;
pub use self::writer::FrameWriter;

/// The length in front of a frame.
const HEAD: usize = 4;

/// Both directions of a connected stream. Must be called inside a tokio runtime.
///
/// # Errors
///
/// The stream cannot be watched: too many descriptors, or no runtime.
pub fn split(stream: tokio::net::UnixStream, longest: usize) -> io::Result<(FrameReader, FrameWriter)> {
    let stream: UnixStream = stream.into_std()?;
    let stream = Arc::new(watch(stream, Interest::READABLE)?);
    Ok((FrameReader::new(stream.clone(), longest), FrameWriter::new(stream)))
}

#[expect(deprecated, reason = "what replaced it is unsafe, for the sake of types that do not own their descriptor")]
fn watch(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(stream, interest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const LONGEST: usize = 1 << 20;

    type Ends = ((FrameReader, FrameWriter), tokio::net::UnixStream);

    fn ends() -> Ends {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("a pair can be made");
        (split(ours, LONGEST).expect("it can be watched"), theirs)
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    #[tokio::test]
    async fn frames_come_as_they_were_sent_however_they_were_cut() {
        let ((mut reader, _writer), mut other) = ends();
        let bodies: Vec<Vec<u8>> = [0, 1, 3, 4, 70_000, 5].map(|length| vec![length as u8; length]).into();
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
        let sending = tokio::spawn(async move {
            for piece in bytes.chunks(7) {
                other.write_all(piece).await.expect("the reader is there");
                tokio::task::yield_now().await;
            }
        });
        for body in &bodies {
            assert_eq!(reader.next().await.expect("whole").expect("there is one"), body);
        }
        sending.await.expect("all was sent");
        assert!(reader.next().await.expect("it ended between two frames").is_none());
    }

    #[tokio::test]
    async fn what_ends_in_a_frame_or_is_too_long_is_an_error() {
        for bytes in [vec![0, 0], vec![0, 0, 0, 2, 1], (LONGEST as u32 + 1).to_be_bytes().to_vec()] {
            let ((mut reader, _writer), mut other) = ends();
            other.write_all(&bytes).await.expect("it fits");
            drop(other);
            assert!(reader.next().await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn reading_can_be_broken_off() {
        let ((mut reader, _writer), mut other) = ends();
        other.write_all(&[0, 0, 0, 2, 7]).await.expect("it fits");
        assert!(timeout(Duration::from_millis(20), reader.next()).await.is_err());
        other.write_all(&[8]).await.expect("it fits");
        assert_eq!(reader.next().await.expect("whole").expect("there is one"), [7, 8]);
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for() {
        let ((_reader, mut writer), mut other) = ends();
        let frames: Vec<Bytes> = (0..200_u8).map(|number| vec![number; 20_000].into()).collect();
        let expected: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
        let sending = tokio::spawn(async move { writer.send(&frames).await });
        let mut received = vec![0; expected.len()];
        other.read_exact(&mut received).await.expect("all comes");
        assert!(received == expected);
        sending.await.expect("it ended").expect("all was sent");
    }

    #[tokio::test]
    async fn who_writes_to_nobody_hears_so() {
        let ((mut reader, mut writer), other) = ends();
        drop(other);
        assert!(writer.send(&[Bytes::from_static(b"x")]).await.is_err());
        assert!(reader.next().await.expect("an end").is_none());
    }
}
