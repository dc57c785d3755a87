//! The proxy between a client and an api that both stand in the test.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use culvert_proxy::{Running, Setup};
use culvert_wire::proxy::Terms;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the api was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    /// The `error` of a refusal.
    pub fn error(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("a refusal is JSON");
        json["error"].as_str().expect("it has an id").to_owned()
    }

    pub fn message(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("a refusal is JSON");
        json["error_msg"].as_str().expect("it has a text").to_owned()
    }
}

pub type Handler = Arc<dyn Fn(Asked) -> Response<Full<Bytes>> + Send + Sync>;

/// Everything of one test.
pub struct Stand {
    pub https: SocketAddr,
    pub plain: SocketAddr,
    pub api: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub running: Option<Running>,
    certificate: CertificateDer<'static>,
    folder: tempfile::TempDir,
}

/// A certificate for `localhost` and the terms with it.
pub fn terms(rate: u32, burst: u32) -> (Terms, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let terms = Terms { chain: vec![certificate.to_vec()], key: made.signing_key.serialize_der(), rate, burst };
    (terms, certificate)
}

/// Sends terms to whoever connects.
pub fn tell(socket: &Path, terms: &Terms) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let message = culvert_wire::encode(terms).expect("it has a form");
    tokio::spawn(async move {
        let mut told = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_u32(message.len() as u32).await.expect("the proxy listens");
            stream.write_all(&message).await.expect("the proxy listens");
            told.push(stream);
        }
    })
}

/// An api that answers by a function.
pub async fn api(listener: TcpListener, asked: Arc<Mutex<Vec<Asked>>>, handler: Handler) {
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (asked, handler) = (asked.clone(), handler.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (asked, handler) = (asked.clone(), handler.clone());
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.expect("the proxy sends it all").to_bytes();
                    let (method, target) = (parts.method, parts.uri.to_string());
                    let one = Asked { method, target, headers: parts.headers, body };
                    asked.lock().expect("no test panicked").push(one.clone());
                    Ok::<_, Infallible>(handler(one))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Stand {
    /// The proxy with an api that answers so.
    pub async fn new(handler: impl Fn(Asked) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let stand = Self::bare(10_000, 10_000).await;
        let listener = TcpListener::bind(stand.api).await.expect("the port is free");
        tokio::spawn(api(listener, stand.asked.clone(), Arc::new(handler)));
        stand
    }

    /// The proxy without an api.
    pub async fn bare(rate: u32, burst: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (terms, certificate) = terms(rate, burst);
        tell(&folder.path().join("proxy.sock"), &terms);
        Self::over(folder, certificate).await
    }

    /// The proxy with whoever tells terms in this folder.
    pub async fn over(folder: tempfile::TempDir, certificate: CertificateDer<'static>) -> Self {
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a port") };
        let (https, plain) = (bind().await, bind().await);
        let api = bind().await.local_addr().expect("bound");
        let at = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (https_at, plain_at) = (at(&https), at(&plain));
        let setup = Setup {
            https: Some(https),
            redirect: Some(plain),
            api,
            public_port: 8443,
            terms: folder.path().join("proxy.sock"),
        };
        let running = setup.start();
        let stand = Self::before(https_at, plain_at, api, folder, certificate);
        Self { running: Some(running), ..stand }
    }

    /// In front of a proxy that somebody else started.
    pub fn before(
        https: SocketAddr,
        plain: SocketAddr,
        api: SocketAddr,
        folder: tempfile::TempDir,
        certificate: CertificateDer<'static>,
    ) -> Self {
        Self { https, plain, api, asked: Arc::default(), running: None, certificate, folder }
    }

    pub fn terms_socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panicked").clone()
    }

    /// A TLS connection that offers these protocols.
    pub async fn tls(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.https).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Sends a request over a new HTTP/1.1 connection.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = self.tls(&["http/1.1"]).await.expect("a handshake");
        exchange(TokioIo::new(stream), request).await
    }

    /// Sends a request over a new HTTP/2 connection.
    pub async fn send2(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = self.tls(&["h2"]).await.expect("a handshake");
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        read(sender.send_request(request).await.expect("an answer")).await
    }

    /// Sends a request to the port for plain HTTP.
    pub async fn send_plain(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.plain).await.expect("it listens");
        exchange(TokioIo::new(stream), request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], "")).await
    }
}

async fn exchange<T>(io: TokioIo<T>, request: Request<Full<Bytes>>) -> Answer
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    read(sender.send_request(request).await.expect("an answer")).await
}

async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path);
    if !path.starts_with("https:") && !headers.iter().any(|(name, _)| *name == "host") {
        builder = builder.header("host", "vpn.example.com");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request")
}

pub const JSON: (&str, &str) = ("content-type", "application/json");

pub fn ok(text: &'static str) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", "application/json").body(Full::from(text)).expect("an answer")
}

pub fn with_status(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).expect("an answer")
}

/// Waits for something to become true; a test that waits longer has failed.
pub async fn until(mut done: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("it becomes true in time");
}
