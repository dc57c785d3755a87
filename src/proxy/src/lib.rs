//! TLS in front of the api. A request goes inward only if its path, query and body parsed into the types of a route of
//! the contract; what goes inward is made anew from the parsed values.
//!
//! [`terms`] has the certificate and limits, [`gate`] says who may come in, [`connection`] serves one connection,
//! [`exchange`] one request, [`inner`] asks the api. Whatever is sent back passes [`answer`].

pub mod answer;
pub mod assets;
pub mod connection;
pub mod exchange;
pub mod gate;
pub mod headers;
pub mod host;
pub mod inner;
pub mod listener;
pub mod redirect;
pub mod terms;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use culvert_daemon::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::gate::Gate;
use crate::inner::Inner;
use crate::listener::Port;
use crate::terms::Terms;

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// Who may come in.
    pub gate: Gate,
    /// The api.
    pub inner: Inner,
    /// Certificate and limits, once they are known.
    pub terms: watch::Receiver<Option<Terms>>,
    /// The port that clients know, for redirects.
    pub public_port: u16,
    /// Whether the process is ending.
    pub stop: watch::Receiver<bool>,
}

/// What the proxy is started with.
#[derive(Debug)]
pub struct Setup {
    /// The socket for TLS.
    pub https: Option<TcpListener>,
    /// The socket for plain HTTP.
    pub redirect: Option<TcpListener>,
    /// Where the api listens.
    pub api: SocketAddr,
    /// The port that clients know, for redirects.
    pub public_port: u16,
    /// The socket that the terms come from.
    pub terms: PathBuf,
}

/// The proxy at work.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

impl Setup {
    /// Starts serving. Must be called inside the runtime.
    #[must_use]
    pub fn start(self) -> Running {
        let (terms, known) = watch::channel(None);
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared {
            gate: Gate::default(),
            inner: Inner::new(self.api),
            terms: known,
            public_port: self.public_port,
            stop: stopping,
        });
        let (alive, ended) = mpsc::channel::<()>(1);
        tokio::spawn(terms::follow(self.terms, terms, shared.clone()));
        for (listener, port) in [(self.https, Port::Https), (self.redirect, Port::Redirect)] {
            if let Some(listener) = listener {
                tokio::spawn(listener::accept(listener, shared.clone(), port, alive.clone()));
            }
        }
        Running { stop, ended }
    }
}

impl Running {
    /// Takes no more connections, and resolves when what is being answered is answered.
    pub async fn finish(mut self) {
        self.stop.send_replace(true);
        // Nothing is ever sent: this resolves when the last connection lets go of its end.
        let _ = self.ended.recv().await;
    }
}

/// The whole process after its prologue.
///
/// # Errors
///
/// It was started without what it needs.
pub async fn serve(mut context: Context) -> Result<(), Box<dyn Error>> {
    let setup = Setup {
        https: context.sockets.tcp_listener("https")?,
        redirect: context.sockets.tcp_listener("redirect")?,
        api: SocketAddr::from((Ipv4Addr::LOCALHOST, context.options.number("api-port")?.unwrap_or(9756))),
        public_port: context.options.number("public-port")?.unwrap_or(443),
        terms: context.run.join("proxy.sock"),
    };
    if setup.https.is_none() && setup.redirect.is_none() {
        let text =
            "none of the sockets `https` and `redirect` was handed over; `culvert run` starts this process with them";
        return Err(culvert_daemon::Error::Start(text.into()).into());
    }
    let running = setup.start();
    context.notify.ready();
    context.stopped().await;
    running.finish().await;
    Ok(())
}
