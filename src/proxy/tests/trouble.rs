//! Overload, slow and broken clients, an api that is away, a certificate that is late.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::{JSON, Stand, api, ok, request, tell, terms, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Sends bytes over TLS and reads to the end.
async fn raw(stand: &Stand, bytes: &[u8]) -> String {
    let mut stream = stand.tls(&["http/1.1"]).await.expect("a handshake");
    stream.write_all(bytes).await.expect("it is taken");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_again() {
    let stand = Stand::bare(5, 10).await;
    let stream = stand.tls(&["http/1.1"]).await.expect("a handshake");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let response = sender.send_request(request(Method::GET, "/", &[], "")).await.expect("an answer");
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "1");
        }
        statuses.push(response.status().as_u16());
        let _ = response.into_body().collect().await.expect("a body");
        sender.ready().await.expect("it stays open");
    }
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!((15..=20).contains(&refused), "{statuses:?}");
}

#[tokio::test]
async fn an_address_has_a_bounded_number_of_connections() {
    let stand = Stand::bare(1000, 1000).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(stand.tls(&["http/1.1"]).await.expect("a handshake"));
    }
    assert!(stand.tls(&["http/1.1"]).await.is_err(), "one too many");
    drop(held);
    // The proxy hears of the end of a connection a little later.
    let begun = Instant::now();
    while stand.tls(&["http/1.1"]).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "no connection is let in again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn long_heads_are_refused() {
    let stand = Stand::bare(1000, 1000).await;
    let head = format!("GET /state HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(20_000));
    let answer = raw(&stand, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn old_and_broken_requests_are_refused() {
    let stand = Stand::bare(1000, 1000).await;
    assert!(raw(&stand, b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.starts_with("HTTP/1.0 505 "));
    assert!(raw(&stand, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    let twice = b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n";
    assert!(raw(&stand, twice).await.starts_with("HTTP/1.1 400 "));
    assert!(raw(&stand, b"\x00\x01\x02\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

/// Two lengths, or a length beside chunks, are how requests are smuggled past a proxy.
#[tokio::test]
async fn a_body_of_two_lengths_never_becomes_two_requests() {
    let stand = Stand::new(|_| ok("{}")).await;
    let inner = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", inner.len() + 5),
        format!("content-length: 0\r\ncontent-length: {}", inner.len() + 5),
        "transfer-encoding: chunked, identity".to_owned(),
        "transfer-encoding: xchunked".to_owned(),
    ] {
        let sent = format!(
            "POST /organization HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n{head}\r\n\r\n0\r\n\r\n{inner}"
        );
        let answer = raw(&stand, sent.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 415 "), "{head}: {answer}");
    }
    assert!(stand.asked().is_empty(), "{:?}", stand.asked());
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let stand = Stand::bare(1000, 1000).await;
    let begun = Instant::now();
    let answer = raw(&stand, b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    assert!(answer.is_empty(), "{answer}");
    assert!((8..=15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let stand = Stand::new(|_| ok("{}")).await;
    let head =
        "POST /organization HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let begun = Instant::now();
    let answer = raw(&stand, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((9..=15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(stand.asked().is_empty());
}

#[tokio::test]
async fn handshakes_wait_for_the_first_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (terms, certificate) = terms(1000, 1000);
    let socket = folder.path().join("proxy.sock");
    let stand = Stand::over(folder, certificate).await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        drop(tell(&socket, &terms));
    };
    let (stream, ()) = tokio::join!(stand.tls(&["h2"]), later);
    assert!(stream.is_ok(), "{stream:?}");
}

#[tokio::test]
async fn a_new_certificate_counts_at_once_and_the_api_may_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("proxy.sock");
    let (first, _) = terms(1000, 1000);
    let (second, certificate) = terms(1000, 1000);
    let teller = tell(&socket, &first);
    let stand = Stand::over(folder, certificate).await;
    until(|| !teller.is_finished()).await;
    assert!(stand.tls(&["h2"]).await.is_err(), "the first certificate is not the one that is trusted");
    teller.abort();
    std::fs::remove_file(&socket).expect("it is there");
    let teller = tell(&socket, &second);
    let begun = Instant::now();
    while stand.tls(&["h2"]).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    teller.abort();
    std::fs::remove_file(&socket).expect("it is there");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(stand.tls(&["h2"]).await.is_ok(), "it serves on without the api");
}

#[tokio::test]
async fn a_request_waits_for_an_api_that_is_being_started() {
    let stand = Stand::bare(1000, 1000).await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let listener = TcpListener::bind(stand.api).await.expect("the port is free");
        tokio::spawn(api(listener, stand.asked.clone(), Arc::new(|_| ok("{}"))));
    };
    let post = stand.send(request(Method::POST, "/organization", &[JSON], "{}"));
    let (answer, ()) = tokio::join!(post, later);
    assert_eq!(answer.status, 200);
    assert_eq!(stand.asked().len(), 1);
}

#[tokio::test]
async fn an_api_that_stays_away_is_an_answer_too() {
    let stand = Stand::bare(1000, 1000).await;
    let begun = Instant::now();
    let answer = stand.get("/state").await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "api_unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!((4..=8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_change_that_may_have_been_made_is_not_made_again() {
    let stand = Stand::bare(1000, 1000).await;
    let listener = TcpListener::bind(stand.api).await.expect("the port is free");
    // Takes each request and hangs up; the fourth one, which is a read, is answered.
    let server = tokio::spawn(async move {
        let mut taken = 0;
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.expect("a request");
            assert!(count > 0, "a request");
            taken += 1;
            if taken == 4 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("it is taken");
                return taken;
            }
        }
    });
    let answer = stand.send(request(Method::POST, "/organization", &[JSON], "{}")).await;
    assert_eq!((answer.status, answer.error().as_str()), (502, "api_lost"));
    let signed = stand.send(request(Method::GET, "/state", &[("auth-token", "a")], "")).await;
    assert_eq!((signed.status, signed.error().as_str()), (502, "api_lost"), "a signature counts once");
    assert_eq!(stand.get("/state").await.status, 200, "a read is tried again");
    assert_eq!(server.await.expect("it ends"), 4);
}

#[tokio::test]
async fn kept_connections_survive_a_restart_of_the_api() {
    let stand = Stand::bare(1000, 1000).await;
    for round in 0..3 {
        let listener = TcpListener::bind(stand.api).await.expect("the port is free");
        let runtime = tokio::spawn(api(listener, stand.asked.clone(), Arc::new(|_| ok("{}"))));
        for _ in 0..5 {
            let body = r#"{"name":"a"}"#;
            assert_eq!(stand.send(request(Method::POST, "/organization", &[JSON], body)).await.status, 200, "{round}");
        }
        runtime.abort();
        until(|| runtime.is_finished()).await;
    }
    assert_eq!(stand.asked().len(), 15);
}

#[tokio::test]
async fn streams_of_one_connection_are_answered_side_by_side() {
    let stand = Stand::new(|_| ok("[]")).await;
    let stream = stand.tls(&["h2"]).await.expect("a handshake");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let asks = (0..60).map(|page| {
        let mut sender = sender.clone();
        async move {
            let path = format!("https://localhost/organization?page={page}");
            let asked: Request<Full<bytes::Bytes>> = request(Method::GET, &path, &[], "");
            sender.ready().await.expect("it is open");
            sender.send_request(asked).await.expect("an answer").status().as_u16()
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    asks.for_each(|ask| {
        tasks.spawn(ask);
    });
    assert!(tasks.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(stand.asked().len(), 60);
}

#[tokio::test]
async fn what_is_being_answered_is_answered_before_the_end() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let mut stand = Stand::bare(1000, 1000).await;
    let listener = TcpListener::bind(stand.api).await.expect("the port is free");
    std::thread::spawn({
        let asked = stand.asked.clone();
        let listener = listener.into_std().expect("a listener");
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let slow = move |_| {
                released.lock().expect("one at a time").recv().expect("the test releases it");
                ok("{}")
            };
            let listener = runtime.block_on(async { TcpListener::from_std(listener).expect("a listener") });
            runtime.block_on(api(listener, asked, Arc::new(slow)));
        }
    });
    let stream = stand.tls(&["http/1.1"]).await.expect("a handshake");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let answer = tokio::spawn(sender.send_request(request(Method::GET, "/state", &[], "")));
    let asked = stand.asked.clone();
    until(|| !asked.lock().expect("no test panicked").is_empty()).await;
    let finish = tokio::spawn(stand.running.take().expect("it runs").finish());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!finish.is_finished(), "it waits for the answer");
    release.send(()).expect("the api waits");
    assert_eq!(answer.await.expect("it ends").expect("an answer").status(), 200);
    tokio::time::timeout(Duration::from_secs(2), finish).await.expect("it ends").expect("it ends");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let stand = Stand::bare(1000, 1000).await;
    let listener = TcpListener::bind(stand.api).await.expect("the port is free");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await.expect("it is taken");
        }
    });
    for protocol in ["http/1.1", "h2"] {
        let stream = TokioIo::new(stand.tls(&[protocol]).await.expect("a handshake"));
        let path = "https://localhost/state";
        let body = if protocol == "h2" {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
            tokio::spawn(connection);
            sender.send_request(request(Method::GET, path, &[], "")).await.expect("an answer").into_body()
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            sender.send_request(request(Method::GET, "/state", &[], "")).await.expect("an answer").into_body()
        };
        assert!(body.collect().await.is_err(), "{protocol}");
    }
}

/// The api hangs up on connections that are idle for ten seconds; a change sent at that moment would be lost.
#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let stand = Stand::bare(1000, 1000).await;
    let listener = TcpListener::bind(stand.api).await.expect("the port is free");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = accepted.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                while stream.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("it is taken");
                }
            });
        }
    });
    for wait in [0, 100, 5200] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let answer = stand.send(request(Method::POST, "/organization", &[JSON], "{}")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(accepted.load(Relaxed), 2);
}

/// A connection without requests is no slow one, whatever frames its client sends meanwhile.
#[tokio::test]
async fn idle_connections_are_kept() {
    let stand = Stand::new(|_| ok("{}")).await;
    let stream = stand.tls(&["http/1.1"]).await.expect("a handshake");
    let (mut first, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let stream = stand.tls(&["h2"]).await.expect("a handshake");
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(hyper_util::rt::TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(2))
        .keep_alive_while_idle(true);
    let (mut second, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    for wait in [0, 14] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let answer = first.send_request(request(Method::GET, "/state", &[], "")).await.expect("it is kept");
        assert_eq!(answer.status(), 200);
        let _ = answer.into_body().collect().await.expect("a body");
        let answer = second.send_request(request(Method::GET, "https://localhost/state", &[], "")).await;
        assert_eq!(answer.expect("it is kept").status(), 200);
    }
}
