//! The two ports.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::{Shared, connection};

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// TLS.
    Https,
    /// Plain HTTP, which sends to the other.
    Redirect,
}

/// Accepts until the process ends. `alive` is held by every connection.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, port: Port, alive: mpsc::Sender<()>) {
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (shared, alive) = (shared.clone(), alive.clone());
                tokio::spawn(async move {
                    let _alive = alive;
                    if stream.set_nodelay(true).is_ok() {
                        serve(stream, peer, shared, port).await;
                    }
                });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn serve(stream: TcpStream, peer: std::net::SocketAddr, shared: Arc<Shared>, port: Port) {
    match port {
        Port::Https => connection::https(stream, peer, shared).await,
        Port::Redirect => connection::plain(stream, peer, shared).await,
    }
}

/// A connection that broke before it was accepted is nothing; being out of descriptors or memory passes with time.
async fn pause(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(%error, "a connection can't be accepted; trying on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
