//! One connection of a client: TLS, then HTTP/2 or HTTP/1.1 by what was negotiated, and an eye on whether it moves.

mod activity;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::Refusal;
use crate::gate::{Admission, Visit};
use crate::{Shared, exchange, redirect};
pub use activity::Work;
use activity::{Activity, State, Watched};

/// How long a client waits for the first certificate.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The longest head of a request in bytes.
const HEAD: usize = 16 << 10;

/// A connection, as its requests see it.
#[derive(Debug)]
pub struct Link {
    /// What all connections share.
    pub shared: Arc<Shared>,
    /// The client's address.
    pub client: HeaderValue,
    visit: Visit,
    activity: Arc<Activity>,
}

impl Link {
    fn new(shared: &Arc<Shared>, peer: SocketAddr) -> Option<Arc<Self>> {
        let visit = Visit::begin(shared, peer.ip())?;
        let client = HeaderValue::from_str(&peer.ip().to_canonical().to_string()).ok()?;
        Some(Arc::new(Self { shared: shared.clone(), client, visit, activity: Arc::default() }))
    }

    /// A request that is being worked on, until what it returns is dropped.
    #[must_use]
    pub fn work(&self) -> Work {
        self.activity.work()
    }

    /// Lets a request in.
    ///
    /// # Errors
    ///
    /// The address made too many.
    pub fn admit(&self) -> Result<Admission, Refusal> {
        self.visit.admit().map_err(Refusal::TooMany)
    }
}

/// Serves a connection to the TLS port.
pub async fn https(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let Some(link) = Link::new(&shared, peer) else { return };
    let mut known = shared.terms.clone();
    let acceptor = match timeout(PATIENCE, known.wait_for(Option::is_some)).await {
        Ok(Ok(terms)) => terms.as_ref().map(|terms| terms.acceptor.clone()),
        _ => None,
    };
    let Some(acceptor) = acceptor else { return };
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(Watched::new(stream, (!h2).then(|| link.activity.clone())));
    let served = link.clone();
    let service = service_fn(move |request| exchange::answer(request, served.clone()));
    if h2 {
        drive(h2_builder().serve_connection(io, service), &link).await;
    } else {
        drive(h1_builder().serve_connection(io, service), &link).await;
    }
}

/// Serves a connection to the port for plain HTTP.
pub async fn plain(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let Some(link) = Link::new(&shared, peer) else { return };
    let io = TokioIo::new(Watched::new(stream, Some(link.activity.clone())));
    let served = link.clone();
    let service = service_fn(move |request| redirect::answer(request, served.clone()));
    drive(h1_builder().serve_connection(io, service), &link).await;
}

fn h1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Times are kept by `drive`, which tells a slow head from an idle connection.
    builder.header_read_timeout(None).max_buf_size(HEAD).max_header_size(HEAD).max_headers(64).half_close(false);
    builder
}

fn h2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(HEAD as u32)
        // What all streams of a connection may send before it is read: this bounds their memory.
        .initial_connection_window_size(128 << 10)
        .initial_stream_window_size(64 << 10)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

/// Lets a connection run until it ends, is idle or stuck for too long, or the process ends.
async fn drive<C>(connection: C, link: &Link)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let mut stop = link.shared.stop.clone();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(client = ?link.client, %error, "a connection broke");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = poll_fn(|cx| looks.poll_tick(cx).map(drop)) => match link.activity.state() {
                State::Moving => {}
                State::Idle if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                State::Idle | State::Stuck => return,
            },
        }
    }
}
