//! The process after its prologue: its listeners and what runs beside them.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use culvert_daemon::Context;
use culvert_model::Role;
use culvert_records::Bus;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::api::Api;
use crate::{command, event, exchange, first, terms};

/// The api's port in its namespace, unless another is given.
const PORT: u16 = 9756;

/// Connections at the same time: more than the proxy opens.
const CONNECTIONS: usize = 1024;

/// Connections on the local socket at the same time.
const COMMANDS: usize = 16;

/// How long the head of a request may take to arrive.
const HEAD: Duration = Duration::from_secs(10);

/// The whole process after its prologue.
///
/// # Errors
///
/// It was started without what it needs.
pub async fn serve(mut context: Context) -> Result<(), Box<dyn Error>> {
    let api = Api::new(Bus::new(context.run.join("bus.sock")));
    let commands = context.sockets.unix_listener("cli")?;
    tokio::spawn(event::follow(api.clone()));
    tokio::spawn(first::keep(api.clone()));
    tokio::spawn(serve_commands(api.clone(), commands, 0));
    if !context.options.flag("headless") {
        let port = context.options.number("api-port")?.unwrap_or(PORT);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.map_err(|error| {
            culvert_daemon::Error::Start(format!("{address}: {error}; is another api running in this namespace?"))
        })?;
        tokio::spawn(serve_requests(api.clone(), listener));
        let proxy = context.sockets.unix_listener("proxy")?;
        tokio::spawn(terms::serve(api, proxy, context.users.uid(Role::Proxy)));
    }
    context.notify.ready();
    context.stopped().await;
    Ok(())
}

/// The REST contract.
pub fn router(api: Api) -> Router {
    Router::new().fallback(exchange::answer).with_state(api)
}

/// Serves the REST contract, as long as the process lives.
pub async fn serve_requests(api: Api, listener: TcpListener) {
    let router = router(api);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = room(&places).await;
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small answers are not to wait for more.
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve_connection(router.clone(), stream, place));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Serves the local socket to this user alone, as long as the process lives.
pub async fn serve_commands(api: Api, listener: UnixListener, user: u32) {
    let router = command::router(api);
    let places = Arc::new(Semaphore::new(COMMANDS));
    loop {
        let place = room(&places).await;
        match listener.accept().await {
            Ok((stream, _)) => match culvert_link::socket::peer(&stream) {
                Ok(peer) if peer.uid == user => {
                    tokio::spawn(serve_connection(router.clone(), stream, place));
                }
                peer => tracing::warn!(?peer, "somebody else than root opened the local socket"),
            },
            Err(error) => pause(&error).await,
        }
    }
}

async fn room(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("nobody closes this semaphore")
}

/// Descriptors may have run out: accepting again at once would spin.
async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "accepting a connection");
    sleep(Duration::from_millis(100)).await;
}

async fn serve_connection<S>(router: Router, stream: S, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection broke");
    }
}
