//! Requests to the api over the socket that only root may open.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::configuration::Trouble;

/// How long the api may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest answer, in bytes.
const ANSWER: usize = 4 << 20;

/// What the api answers to a request without a body.
///
/// # Errors
///
/// It is not running, or it does not answer.
pub fn ask(run: &Path, method: Method, path: &str) -> Result<(StatusCode, Value), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::Failed(error.to_string()))?;
    runtime.block_on(async {
        match tokio::time::timeout(DEADLINE, exchange(&run.join("cli.sock"), method, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Failed("the api does not answer; look at its log".into())),
        }
    })
}

async fn exchange(socket: &Path, method: Method, path: &str) -> Result<(StatusCode, Value), Trouble> {
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            Trouble::NotRunning("Culvert is not running with this state folder; start it with: culvert run".into())
        }
        ErrorKind::PermissionDenied => Trouble::Failed("only root may ask this; try sudo".into()),
        _ => Trouble::Failed(format!("{}: {error}", socket.display())),
    })?;
    let broken = |error: &dyn std::fmt::Display| Trouble::Failed(format!("the api broke off: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "culvert")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let (head, body) = sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
    let bytes = Limited::new(body, ANSWER).collect().await.map_err(|error| broken(&error))?.to_bytes();
    let answer = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).trim().into());
    Ok((head.status, answer))
}
