//! The socket: what peers may do, and what becomes of those that misbehave.

#[path = "socket/abuse.rs"]
mod abuse;
mod kit;

use std::time::Duration;

use bytes::Bytes;
use culvert_model::record::Nonce;
use culvert_model::{Kind, Role};
use culvert_records::{Bus, Failure, Kept, News, Query, insert};
use culvert_wire::bus::{Answer, Call, FRAME, Fault, Refusal, Reply, Request, Write};
use culvert_wire::{decode, encode};
use futures_util::{SinkExt, StreamExt};
use kit::Running;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const SOON: Duration = Duration::from_secs(10);

type Peer = Framed<UnixStream, LengthDelimitedCodec>;

async fn connect(bus: &Running) -> Peer {
    let stream = UnixStream::connect(&bus.socket).await.expect("the bus listens");
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec())
}

async fn send(peer: &mut Peer, number: u64, request: Request) {
    let call = encode(&Call { number, request }).expect("it has a form");
    timeout(SOON, peer.send(Bytes::from(call))).await.expect("the bus reads").expect("the bus is there");
}

async fn answer(peer: &mut Peer) -> Answer {
    let frame = timeout(SOON, peer.next()).await.expect("an answer comes soon").expect("the peer is not cut");
    decode(&frame.expect("it is a frame")).expect("it is an answer")
}

async fn ask(peer: &mut Peer, request: Request) -> Result<Reply, Fault> {
    send(peer, 7, request).await;
    let answer = answer(peer).await;
    assert_eq!(answer.number, 7);
    answer.reply
}

fn make(kind: Kind, id: &str, body: serde_json::Value) -> Request {
    let body = serde_json::to_vec(&body).expect("a value has a form");
    Request::Write { id: fresh(), writes: vec![Write::Insert { kind, id: id.into(), body }] }
}

fn get(kind: Kind, id: &str) -> Request {
    Request::Get { kind, id: id.into() }
}

fn fresh() -> u128 {
    culvert_model::Id::new().bytes().into_iter().fold(0, |number, byte| number << 8 | u128::from(byte))
}

async fn cut(peer: &mut Peer) {
    let end = timeout(SOON, async { while peer.next().await.is_some_and(|frame| frame.is_ok()) {} });
    end.await.expect("the peer is cut soon");
}

#[tokio::test]
async fn the_typed_client_works_with_it() {
    let bus = Running::start(Role::Api).await;
    let client = Bus::new(&bus.socket);
    let mut news = client.subscribe(&[Kind::Log]).await;
    assert_eq!(timeout(SOON, news.next()).await, Ok(News::Gap));
    assert_eq!(client.here().await.expect("the bus answers").0, bus.host);

    let nonce = Nonce { id: "a/b".into(), expires: 5 };
    client.insert(&nonce).await.expect("it is new");
    let Err(Failure::Refused { why: Refusal::Exists, .. }) = client.insert(&nonce).await else { panic!("it is there") };
    let stored = client.get::<Nonce>("a/b").await.expect("the bus answers").expect("it is there");
    assert_eq!((&stored.record, stored.revision), (&nonce, 1));
    client.write(vec![insert(&Nonce { id: "c".into(), expires: 3 })]).await.expect("it is new");
    let found = client.list::<Nonce>(Query::by("by_expiry")).await.expect("the bus answers");
    assert_eq!(found.iter().map(|it| it.record.id.as_str()).collect::<Vec<_>>(), ["c", "a/b"]);
    assert_eq!(client.count::<Nonce>(Query::all()).await.expect("the bus answers"), 2);

    let log = culvert_model::record::Log { id: culvert_model::Id::new(), timestamp: 1, message: "x".into() };
    client.insert(&log).await.expect("it is new");
    let News::Changed(change) = timeout(SOON, news.next()).await.expect("it is told") else {
        panic!("nothing was missed")
    };
    assert_eq!((change.kind, change.record, change.revision), (Kind::Log, log.id.to_string(), 1));
}

#[tokio::test]
async fn leases_are_the_hosts_own() {
    let bus = Running::start(Role::Queue).await;
    let client = Bus::new(&bus.socket);
    let mut peer = connect(&bus).await;
    let job = json!({ "id": "j", "work": { "what": "console_certificate" }, "priority": 1, "state": "open", "created": 1,
        "not_before": 0, "attempts": 0, "reserved": null, "preferred": null, "error": null });
    ask(&mut peer, make(Kind::Job, "j", job)).await.expect("it is new");
    let Ok(Kept::Held(held)) = client.claim::<culvert_model::record::Job>("j", Some(1), "me", 60_000).await else {
        panic!("nobody holds it");
    };
    assert_eq!(held.lease.as_ref().map(|lease| lease.host), Some(bus.host));
    let claim = held.claim().expect("it is held");
    assert!(matches!(client.claim::<culvert_model::record::Job>("j", None, "you", 1).await, Ok(Kept::Lost)));
    assert!(matches!(client.renew::<culvert_model::record::Job>("j", &claim, 60_000).await, Ok(Kept::Held(_))));
    client.release::<culvert_model::record::Job>("j", &claim).await.expect("the bus answers");
}

#[tokio::test]
async fn roles_are_kept_apart() {
    let bus = Running::start(Role::Vpn).await;
    let mut peer = connect(&bus).await;
    for request in [get(Kind::CaKey, "x"), get(Kind::AdminSecret, "x"), make(Kind::Server, "x", json!({}))] {
        assert_eq!(ask(&mut peer, request).await, Err(Fault::Denied));
    }
    assert!(ask(&mut peer, get(Kind::Server, "x")).await.is_ok());

    // A server's key, but no user's.
    for (id, purpose) in [("s", "server"), ("u", "client")] {
        bus.make(Kind::Certificate, id, json!({ "purpose": purpose })).await;
        bus.make(Kind::CertificateKey, id, json!({ "key": "secret" })).await;
    }
    bus.make(Kind::CertificateKey, "none", json!({ "key": "secret" })).await;
    let Ok(Reply::Rows { rows, .. }) = ask(&mut peer, get(Kind::CertificateKey, "s")).await else { panic!("it may") };
    assert_eq!(rows.len(), 1);
    for id in ["u", "none", "nothing"] {
        assert_eq!(ask(&mut peer, get(Kind::CertificateKey, id)).await, Err(Fault::Denied), "{id}");
    }
    assert!(ask(&mut peer, Request::Here).await.is_ok(), "a refusal does not cut");
}

#[tokio::test]
async fn who_has_no_business_is_cut() {
    for role in [None, Some(Role::Proxy), Some(Role::Bus)] {
        let bus = Running::start(role).await;
        let mut peer = connect(&bus).await;
        cut(&mut peer).await;
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_malformed_frames_cut() {
    let bus = Running::start(Role::Api).await;
    let mut peer = connect(&bus).await;
    let nonsense = ask(&mut peer, make(Kind::User, "", json!({}))).await;
    assert!(matches!(nonsense, Err(Fault::Invalid(_))));
    assert!(ask(&mut peer, Request::Here).await.is_ok());

    let good = encode(&Call { number: 1, request: Request::Here }).expect("it has a form");
    for bad in [vec![], vec![0xff; 100], [&good[..], &[0]].concat()] {
        let mut peer = connect(&bus).await;
        peer.send(Bytes::from(bad)).await.expect("the bus is there");
        cut(&mut peer).await;
    }
    let mut stream = UnixStream::connect(&bus.socket).await.expect("the bus listens");
    stream.write_all(&u32::try_from(FRAME + 1).expect("a small number").to_be_bytes()).await.expect("the bus is there");
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the peer is cut soon").expect("the stream ends");
    assert!(ask(&mut peer, Request::Here).await.is_ok(), "the others are not touched");
}

#[tokio::test]
async fn too_many_open_requests_are_refused() {
    let bus = Running::start(Role::Api).await;
    let mut peer = connect(&bus).await;
    for number in 0..260 {
        send(&mut peer, number, Request::Subscribe(vec![Kind::Tls])).await;
    }
    let mut busy = 0;
    for _ in 0..260 {
        match answer(&mut peer).await.reply {
            Ok(Reply::Subscribed) => {}
            Err(Fault::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(busy, 4);
    let mut other = connect(&bus).await;
    assert!(ask(&mut other, Request::Here).await.is_ok(), "each peer has its own");
}

/// Many requests at a time, answered in any order.
#[tokio::test]
async fn requests_are_multiplexed() {
    let bus = Running::start(Role::Api).await;
    let mut peer = connect(&bus).await;
    for number in 0..200 {
        send(&mut peer, number, make(Kind::Nonce, &number.to_string(), json!({ "expires": number }))).await;
    }
    let mut numbers = Vec::new();
    for _ in 0..200 {
        let answer = answer(&mut peer).await;
        assert_eq!(answer.reply, Ok(Reply::Written { revisions: vec![1] }));
        numbers.push(answer.number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

async fn flood(bus: &Running, rounds: usize) {
    for round in 0..rounds {
        let writes = (0..100).map(|n| Write::Insert {
            kind: Kind::Log,
            id: format!("{round}-{n}"),
            body: br#"{"timestamp":1,"message":"x"}"#.to_vec(),
        });
        bus.write(writes.collect()).await;
    }
}

#[tokio::test]
async fn who_does_not_read_has_a_gap_and_holds_nobody_up() {
    let bus = Running::start(Role::Api).await;
    let mut lazy = connect(&bus).await;
    send(&mut lazy, 1, Request::Subscribe(vec![Kind::Log])).await;
    assert_eq!(answer(&mut lazy).await.reply, Ok(Reply::Subscribed));
    let mut keen = connect(&bus).await;
    send(&mut keen, 2, Request::Subscribe(vec![Kind::Log])).await;
    assert_eq!(answer(&mut keen).await.reply, Ok(Reply::Subscribed));
    let rounds = 150;
    let reading = async {
        for heard in 0..rounds * 100 {
            let reply = answer(&mut keen).await.reply;
            assert!(matches!(reply, Ok(Reply::Changed(_))), "{heard}: {reply:?}");
        }
    };
    let begun = Instant::now();
    tokio::join!(flood(&bus, rounds), reading);
    assert!(begun.elapsed() < SOON, "nobody waits for the one that does not read");
    let mut heard = 0;
    loop {
        match answer(&mut lazy).await.reply {
            Ok(Reply::Changed(_)) => heard += 1,
            Ok(Reply::Gap) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(heard < rounds * 100);
}

#[tokio::test]
async fn who_does_not_read_for_long_is_cut() {
    let bus = Running::start(Role::Api).await;
    let mut lazy = connect(&bus).await;
    send(&mut lazy, 1, Request::Subscribe(vec![Kind::Log])).await;
    flood(&bus, 60).await;
    // Writing to a stream whose other end is closed fails, without reading anything.
    let call = encode(&Call { number: 2, request: Request::Here }).expect("it has a form");
    let end = Instant::now() + Duration::from_secs(20);
    while lazy.send(Bytes::from(call.clone())).await.is_ok() {
        assert!(Instant::now() < end, "it is cut");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a client asked goes on when the bus is started again, and is done once.
#[tokio::test]
async fn clients_survive_a_restart() {
    let mut bus = Running::start(Role::Api).await;
    let client = Bus::new(&bus.socket);
    let mut news = client.subscribe(&[Kind::Log]).await;
    assert_eq!(timeout(SOON, news.next()).await, Ok(News::Gap));
    for round in 0..3 {
        let writing = async {
            for n in 0..50 {
                client.insert(&Nonce { id: format!("{round}/{n}"), expires: n }).await.expect("it is done once");
            }
        };
        let restarting = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            bus.restart().await;
        };
        tokio::join!(writing, restarting);
        assert_eq!(client.count::<Nonce>(Query::all()).await.expect("the bus answers"), (round + 1) * 50);
        assert_eq!(timeout(SOON, news.next()).await, Ok(News::Gap), "changes may have been missed");
    }
}
