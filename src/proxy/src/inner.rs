//! The way to the api: HTTP/1.1 over loopback, on connections that are kept.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::answer::Refusal;

/// The most requests that the api is given at a time, and how long one waits for room.
const AT_ONCE: usize = 512;
const ROOM: Duration = Duration::from_secs(1);
/// The most connections that are kept without being used.
const KEPT: usize = 64;
/// How long they are kept: less than the api keeps them, so that a request never meets its hanging up.
const FRESH: Duration = Duration::from_secs(5);
/// How long the api is looked for before a request is given up, and how often.
const SEEK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(25);
/// How long the api may take from the request to the head of its answer: more than the longest poll.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may pause within an answer.
const PAUSE: Duration = Duration::from_secs(30);

type Sender = SendRequest<Full<Bytes>>;

/// The api.
#[derive(Debug, Clone)]
pub struct Inner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    /// With the time of their last use, the latest last.
    kept: Mutex<Vec<(Sender, Instant)>>,
    room: Arc<Semaphore>,
}

/// A request that goes inward. It can be made again when nothing of it was sent.
#[derive(Debug, Clone)]
pub struct Inward {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub target: PathAndQuery,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer of the api that is coming.
#[derive(Debug)]
pub struct Answering {
    body: Incoming,
    /// Runs while the api pauses.
    patience: Option<Pin<Box<Sleep>>>,
    /// Kept for the next request when the answer is whole, else closed.
    sender: Option<Sender>,
    inner: Inner,
    _room: OwnedSemaphorePermit,
}

/// What became of one try.
enum Tried {
    Answered(Box<(Response<Incoming>, Sender)>),
    /// Nothing was sent.
    Unsent,
    /// It was sent, and no answer came.
    Lost,
}

impl Inner {
    /// The api at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self(Arc::new(Shared { address, kept: Mutex::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }))
    }

    /// The api's answer.
    ///
    /// # Errors
    ///
    /// The api is away or silent, or there is no room.
    pub async fn ask(&self, inward: Inward) -> Result<Response<Answering>, Refusal> {
        let room = self.room().await?;
        let (response, sender) = timeout(ANSWER, self.seek(&inward)).await.map_err(|_| Refusal::Late)??;
        Ok(response.map(|body| Answering {
            body,
            patience: None,
            sender: Some(sender),
            inner: self.clone(),
            _room: room,
        }))
    }

    async fn room(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let room = &self.0.room;
        if let Ok(permit) = room.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let waited = timeout(ROOM, room.clone().acquire_owned()).await;
        waited.ok().and_then(Result::ok).ok_or(Refusal::Busy)
    }

    /// Tries until the api answers. A request that may have reached it is sent again only if it changes nothing.
    async fn seek(&self, inward: &Inward) -> Result<(Response<Incoming>, Sender), Refusal> {
        // Counted from the first failure: an api that is killed in the middle of a long poll gets its time to start.
        let mut until = None;
        loop {
            let tried = match self.connection().await {
                Some(sender) => attempt(sender, inward).await,
                None => Tried::Unsent,
            };
            let refusal = match tried {
                Tried::Answered(answered) => return Ok(*answered),
                Tried::Unsent => Refusal::Away,
                Tried::Lost if inward.repeatable() => Refusal::Away,
                Tried::Lost => return Err(Refusal::Lost),
            };
            let now = Instant::now();
            if now >= *until.get_or_insert(now + SEEK) {
                return Err(refusal);
            }
            // Nothing tells when the api listens again.
            sleep(AGAIN).await;
        }
    }

    /// A connection that is ready: a kept one, or a new one.
    async fn connection(&self) -> Option<Sender> {
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
        let stream = timeout(SEEK, TcpStream::connect(self.0.address)).await.ok()?.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the api ended");
            }
        });
        Some(sender)
    }

    fn take(&self) -> Option<Sender> {
        let mut kept = self.kept();
        let now = Instant::now();
        while let Some((sender, used)) = kept.pop() {
            if now - used > FRESH {
                // All below are older.
                kept.clear();
            } else if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: Sender) {
        let mut kept = self.kept();
        if kept.len() < KEPT && !sender.is_closed() {
            kept.push((sender, Instant::now()));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Sender, Instant)>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inward {
    /// Whether it may be sent again though it may have reached the api. A signature counts once: a second try would be
    /// refused as a replay, which tells the client that its credentials are wrong.
    fn repeatable(&self) -> bool {
        self.method == Method::GET && !self.headers.contains_key("auth-token")
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.headers_mut() = self.headers.clone();
        request
    }
}

async fn attempt(mut sender: Sender, inward: &Inward) -> Tried {
    match sender.try_send_request(inward.request()).await {
        Ok(response) => Tried::Answered(Box::new((response, sender))),
        Err(mut error) => {
            let unsent = error.take_message().is_some();
            tracing::debug!(error = %error.error(), unsent, "the api did not answer");
            if unsent { Tried::Unsent } else { Tried::Lost }
        }
    }
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The api went away.
    #[error("the api broke off its answer")]
    Gone(#[from] hyper::Error),
    /// The api paused for too long.
    #[error("the api does not go on with its answer")]
    Silent,
}

impl Answering {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(frame)) => {
                self.patience = None;
                Poll::Ready(Some(frame.map_err(Broken::from)))
            }
            Poll::Ready(None) => {
                self.whole();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
                patience.as_mut().poll(cx).map(|()| Some(Err(Broken::Silent)))
            }
        }
    }

    /// Keeps the connection for the next request.
    fn whole(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.inner.keep(sender);
        }
    }

    pub(crate) fn is_end(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // A body of known length is whole at its last byte; nobody asks it for the end behind that.
        if self.body.is_end_stream() {
            self.whole();
        }
    }
}
