//! An API client, as a browser or a script is one: HTTPS from a namespace.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::namespace::Namespace;

/// An answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: {:?}", self.status, self.body))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client of the API.
#[derive(Debug, Clone)]
pub struct Console {
    namespace: Arc<Namespace>,
    address: String,
    headers: Vec<(String, String)>,
}

impl Console {
    /// Nobody yet.
    pub fn new(namespace: &Arc<Namespace>, address: &str) -> Self {
        Self { namespace: namespace.clone(), address: address.into(), headers: Vec::new() }
    }

    /// Logs in and fetches the CSRF token.
    pub fn log_in(&mut self, (username, password): &(String, String)) -> Result<()> {
        let login = json!({ "username": username, "password": password });
        let answer = self.ask(Method::POST, "/auth/session", Some(&login))?;
        ensure!(answer.status == 200, "login: {} {}", answer.status, answer.text());
        let cookies: Vec<String> = answer
            .headers
            .get_all("set-cookie")
            .iter()
            .filter_map(|cookie| cookie.to_str().ok()?.split(';').next().map(String::from))
            .collect();
        self.headers = vec![("cookie".into(), cookies.join("; "))];
        let state = self.get("/state")?;
        let token = state["csrf_token"].as_str().context("a CSRF token")?;
        self.headers.push(("csrf-token".into(), token.into()));
        Ok(())
    }

    /// One request, signed with an administrator's token and secret (`semantics.md` section b).
    pub fn signed(&self, token: &str, secret: &str, method: Method, path: &str, nonce: &str) -> Result<Answer> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let text = format!("{token}&{now}&{nonce}&{method}&{}", path.split('?').next().unwrap_or(path));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signing = Self {
            headers: vec![
                ("auth-token".into(), token.into()),
                ("auth-timestamp".into(), now.to_string()),
                ("auth-nonce".into(), nonce.into()),
                ("auth-signature".into(), signature),
            ],
            ..self.clone()
        };
        signing.ask(method, path, None)
    }

    /// Sends no header of this name from now on.
    pub fn forget(&mut self, name: &str) {
        self.headers.retain(|(header, _)| header != name);
    }

    /// Sends this header from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.forget(name);
        self.headers.push((name.into(), value.into()));
    }

    /// The JSON that a path answers with status 200.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.expect(Method::GET, path, None)
    }

    /// The JSON that a request answers with status 200.
    pub fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.ask(method.clone(), path, body)?;
        ensure!(answer.status == 200, "{method} {path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// One request over a connection of its own.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let bytes = body.map(|body| Bytes::from(body.to_string()));
        self.raw(method, path, bytes.as_ref().map(|_| "application/json"), bytes.unwrap_or_default())
    }

    /// One request with these very bytes as body.
    pub fn raw(&self, method: Method, path: &str, content_type: Option<&str>, body: Bytes) -> Result<Answer> {
        let request = self.request(method, path, content_type, body)?;
        self.namespace.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(60), exchange(&self.address, request)).await?
            })
        })?
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.address);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        Ok(request.body(Full::new(body))?)
    }
}

/// One connection for many requests, to measure the requests alone.
#[derive(Debug)]
pub struct Kept {
    console: Console,
    runtime: tokio::runtime::Runtime,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Console {
    /// A connection that is kept open.
    pub fn keep(&self) -> Result<Kept> {
        self.namespace.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let sender = runtime.block_on(connect(&self.address))?;
            Ok(Kept { console: self.clone(), runtime, sender })
        })?
    }
}

impl Kept {
    /// One request on the kept connection.
    pub fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let content_type = body.map(|_| "application/json");
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = self.console.request(method, path, content_type, bytes)?;
        self.runtime.block_on(send(&mut self.sender, request))
    }
}

async fn exchange(address: &str, request: Request<Full<Bytes>>) -> Result<Answer> {
    send(&mut connect(address).await?, request).await
}

async fn connect(address: &str) -> Result<http1::SendRequest<Full<Bytes>>> {
    let target = if address.contains(':') { address.into() } else { format!("{address}:443") };
    let stream = TcpStream::connect(&target).await.with_context(|| target.clone())?;
    let name = ServerName::try_from(target.rsplit_once(':').context("a port")?.0.to_string())?;
    let stream = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn send(sender: &mut http1::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Answer> {
    sender.ready().await?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.collect().await?.to_bytes() })
}

/// TLS that takes any certificate, as the user does who accepts the self-made one.
pub fn tls() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth())
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
