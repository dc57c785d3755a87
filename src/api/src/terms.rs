//! The proxy's terms: the console's certificate and key, and how many requests one address may make. Sent when the proxy
//! connects, and whenever the certificate changes.

use std::sync::Arc;
use std::time::Duration;

use culvert_model::Role;
use culvert_model::record::{Tls, TlsKey};
use culvert_records::News;
use culvert_wire::proxy::{FRAME, Terms};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::answer::Answer;
use crate::api::Api;

/// Requests per second of one address, on average and at once.
const RATE: (u32, u32) = (100, 400);

/// Proxies that are served at the same time: one, and one that is being replaced.
const PROXIES: usize = 4;

/// How long a proxy may take to read its terms.
const PATIENCE: Duration = Duration::from_secs(5);

/// A frame of terms, once there is a certificate.
type Frame = Option<Arc<Vec<u8>>>;

/// Serves the proxy, as long as the process lives. `proxy` is its user id.
pub async fn serve(api: Api, listener: UnixListener, proxy: u32) {
    let (frames, known) = watch::channel(None);
    tokio::spawn(follow(api, frames));
    let places = Arc::new(Semaphore::new(PROXIES));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the proxy's socket");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match culvert_link::socket::peer(&stream) {
            Ok(peer) if peer.uid == proxy => {}
            peer => {
                tracing::warn!(?peer, role = %Role::Proxy, "somebody else than the proxy asked for its terms");
                continue;
            }
        }
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let known = known.clone();
            tokio::spawn(async move {
                let _place = place;
                tell(stream, known).await;
            });
        }
    }
}

/// Sends the terms and every change of them, until the proxy is gone.
async fn tell(mut stream: UnixStream, mut known: watch::Receiver<Frame>) {
    loop {
        let frame = known.borrow_and_update().clone();
        if let Some(frame) = frame {
            let length = u32::try_from(frame.len()).expect("frames are short").to_be_bytes();
            let sent = timeout(PATIENCE, async {
                stream.write_all(&length).await?;
                stream.write_all(&frame).await
            });
            if !matches!(sent.await, Ok(Ok(()))) {
                return;
            }
        }
        let mut nothing = [0];
        tokio::select! {
            changed = known.changed() => if changed.is_err() { return },
            // The proxy says nothing: whatever can be read here is its end.
            _ = stream.read(&mut nothing) => return,
        }
    }
}

/// Reads the certificate again whenever it may have changed.
async fn follow(api: Api, frames: watch::Sender<Frame>) {
    let mut news = api.bus.subscribe(&[culvert_model::Kind::Tls]).await;
    loop {
        let (News::Gap | News::Changed(_)) = news.next().await;
        loop {
            match read(&api).await {
                Ok(frame) => {
                    frames.send_if_modified(|known| {
                        let changed = frame.is_some() && *known != frame;
                        if changed {
                            *known = frame;
                        }
                        changed
                    });
                    break;
                }
                Err(no) => {
                    tracing::debug!(?no, "the console's certificate cannot be read yet");
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }
}

async fn read(api: &Api) -> Answer<Frame> {
    let (Some(tls), Some(key)) = (api.bus.get::<Tls>(Tls::ID).await?, api.bus.get::<TlsKey>(Tls::ID).await?) else {
        return Ok(None);
    };
    let chain = tls.record.chain.into_iter().map(|der| der.0).collect();
    let terms = Terms { chain, key: key.record.key.0, rate: RATE.0, burst: RATE.1 };
    let frame = culvert_wire::encode(&terms).ok().filter(|frame| frame.len() <= FRAME);
    if frame.is_none() {
        tracing::error!("the console's certificate is too long for the proxy; the one before stays");
    }
    Ok(frame.map(Arc::new))
}
