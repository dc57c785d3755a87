//! The certificate and the limits, from the api. What was heard last counts until something else is heard: the api may
//! be away for any time.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use culvert_wire::proxy::{self as wire, FRAME};
use rustls::crypto::ring;
use rustls::server::ServerConfig;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Shared;

/// How soon the api is looked for again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long a frame may take from its first byte to its last.
const FRAME_TIME: Duration = Duration::from_secs(5);

/// What the proxy serves by.
#[derive(Clone)]
pub struct Terms {
    /// Makes TLS out of a connection.
    pub acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terms")
    }
}

/// Why terms can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate and key are no pair, or not of a kind that TLS knows.
    #[error("the console's certificate can't be used, the one before stays")]
    Certificate(#[from] rustls::Error),
    /// The stream broke.
    #[error("the api's stream of terms broke")]
    Stream(#[from] io::Error),
    /// What came is no message.
    #[error(transparent)]
    Malformed(#[from] culvert_wire::Malformed),
}

impl Terms {
    /// The terms with their certificate checked and ready for use.
    ///
    /// # Errors
    ///
    /// Certificate and key are no pair, or not of a kind that TLS knows.
    pub fn new(terms: &wire::Terms) -> Result<Self, rustls::Error> {
        let chain = terms.chain.iter().cloned().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(terms.key.clone()));
        // The provider is named, so that another crate's choice of features can't change it.
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config =
            builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// Hears the api's terms for ever.
pub async fn follow(socket: PathBuf, terms: watch::Sender<Option<Terms>>, shared: Arc<Shared>) {
    let mut pause = AGAIN.0;
    loop {
        if let Ok(stream) = UnixStream::connect(&socket).await {
            pause = AGAIN.0;
            if let Err(error) = hear(stream, &terms, &shared).await {
                tracing::debug!(%error, "the api's stream of terms ended");
            }
        }
        // Nothing tells when a socket appears, and this process may not watch folders.
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(AGAIN.1);
    }
}

async fn hear(mut stream: UnixStream, terms: &watch::Sender<Option<Terms>>, shared: &Shared) -> Result<(), Error> {
    loop {
        let length = stream.read_u32().await? as usize;
        if length > FRAME {
            return Err(culvert_wire::Malformed.into());
        }
        let mut frame = vec![0; length];
        tokio::time::timeout(FRAME_TIME, stream.read_exact(&mut frame)).await.map_err(io::Error::from)??;
        let heard: wire::Terms = culvert_wire::decode(&frame)?;
        match Terms::new(&heard) {
            Ok(new) => {
                shared.gate.allow(heard.rate, heard.burst);
                terms.send_replace(Some(new));
                tracing::info!(rate = heard.rate, burst = heard.burst, "serving by new terms");
            }
            Err(error) => tracing::error!(%error, "the console's certificate can't be used, the one before stays"),
        }
    }
}
