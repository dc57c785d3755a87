//! Whether a connection moves: the time of its last request or byte, and how long the head of a request takes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::gate::Admission;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long the head of a request may take from its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection is kept without a request.
const IDLE: Duration = Duration::from_secs(75);
/// How long a request may be worked on, or an answer be taken by the client, without anything moving.
const STUCK: Duration = Duration::from_secs(120);

/// What a connection does.
#[derive(Debug)]
pub(super) struct Activity {
    origin: Instant,
    requests: AtomicU32,
    /// When a request last began, moved or ended; milliseconds since the origin.
    moved: AtomicU64,
    /// When the first byte came behind the last request; likewise, plus one. 0 for none.
    head: AtomicU64,
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Moving,
    Idle,
    Stuck,
}

impl Default for Activity {
    fn default() -> Self {
        Self { origin: Instant::now(), requests: AtomicU32::new(0), moved: AtomicU64::new(0), head: AtomicU64::new(0) }
    }
}

impl Activity {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }

    fn received(&self) {
        if self.requests.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 {
            self.head.store(self.now() + 1, Relaxed);
        }
    }

    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.requests.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        self.moved.store(self.now(), Relaxed);
        Work { activity: self.clone(), admission: None }
    }

    pub(super) fn state(&self) -> State {
        self.state_at(self.now())
    }

    fn state_at(&self, now: u64) -> State {
        let still = Duration::from_millis(now.saturating_sub(self.moved.load(Relaxed)));
        let head = self.head.load(Relaxed);
        if self.requests.load(Relaxed) > 0 {
            return if still > STUCK { State::Stuck } else { State::Moving };
        }
        if still > IDLE {
            return State::Idle;
        }
        let slow = head > 0 && Duration::from_millis((now + 1).saturating_sub(head)) > HEAD;
        if slow { State::Stuck } else { State::Moving }
    }
}

/// A request that is being worked on, until this is dropped.
#[derive(Debug)]
pub struct Work {
    activity: Arc<Activity>,
    admission: Option<Admission>,
}

impl Work {
    /// It counts as one of its client's requests from now on.
    pub fn admitted(&mut self, admission: Admission) {
        self.admission = Some(admission);
    }

    /// Something of the answer was taken.
    pub fn progress(&self) {
        self.activity.moved.store(self.activity.now(), Relaxed);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.progress();
        self.activity.requests.fetch_sub(1, Relaxed);
    }
}

/// A stream whose arriving bytes are noticed.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    /// Whose heads are timed: nobody's on HTTP/2, where bytes between requests are not yet a request.
    heads: Option<Arc<Activity>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, heads: Option<Arc<Activity>>) -> Self {
        Self { stream, heads }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before
            && let Some(activity) = &self.heads
        {
            activity.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_head_is_told_from_an_idle_connection() {
        let activity = Arc::new(Activity::default());
        assert_eq!(activity.state_at(74_000), State::Moving);
        assert_eq!(activity.state_at(76_000), State::Idle);
        activity.received();
        assert_eq!(activity.state_at(9_000), State::Moving);
        assert_eq!(activity.state_at(11_000), State::Stuck);
        let work = activity.work();
        assert_eq!(activity.state_at(100_000), State::Moving);
        assert_eq!(activity.state_at(130_000), State::Stuck);
        drop(work);
        assert_eq!(activity.state_at(11_000), State::Moving);
    }
}
