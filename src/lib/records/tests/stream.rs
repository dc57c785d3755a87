//! The stream to the bus breaks, and the next bus does not know what the one before it did.

use std::time::Duration;

use bytes::Bytes;
use culvert_model::Kind;
use culvert_records::{Bus, Failure, News, Write};
use culvert_wire::bus::{Answer, Call, FRAME, Fault, Reply, Request};
use culvert_wire::{decode, encode};
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const SOON: Duration = Duration::from_secs(5);

/// A bus that does what the test says.
struct Fake {
    listener: UnixListener,
    folder: TempDir,
}

struct Peer(Framed<UnixStream, LengthDelimitedCodec>);

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let listener = UnixListener::bind(folder.path().join("bus.sock")).expect("the socket can be made");
        Self { listener, folder }
    }

    fn bus(&self) -> Bus {
        Bus::new(self.folder.path().join("bus.sock"))
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("it comes").expect("it is there");
        Peer(Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec()))
    }
}

impl Peer {
    async fn asked(&mut self) -> Call {
        let frame = timeout(SOON, self.0.next()).await.expect("it asks").expect("it is there").expect("a frame");
        decode(&frame).expect("it is a call")
    }

    async fn answer(&mut self, number: u64, reply: Result<Reply, Fault>) {
        let answer = encode(&Answer { number, reply }).expect("it has a form");
        self.0.send(Bytes::from(answer)).await.expect("it is there");
    }
}

fn writes() -> Vec<Write> {
    vec![Write::Add { kind: Kind::Session, id: "a".into(), field: "n".into(), delta: 1 }]
}

#[tokio::test]
async fn a_write_is_asked_again_until_the_answer_tells() {
    let fake = Fake::new();
    let bus = fake.bus();
    let write = tokio::spawn(async move { bus.write(writes()).await });
    let mut peer = fake.accept().await;
    let Request::Write { id: first, .. } = peer.asked().await.request else { panic!("it is new") };
    drop(peer);
    let mut peer = fake.accept().await;
    // The one before may have done it: that nothing can be changed now is no answer.
    for fault in [Fault::Unavailable, Fault::Busy] {
        let call = peer.asked().await;
        let Request::WriteAgain { id, .. } = call.request else { panic!("it was asked before") };
        assert_eq!(id, first);
        peer.answer(call.number, Err(fault)).await;
    }
    let call = peer.asked().await;
    assert!(matches!(call.request, Request::WriteAgain { begun, .. } if begun >= 100), "{call:?}");
    peer.answer(call.number, Ok(Reply::Written { revisions: vec![2] })).await;
    let written = timeout(SOON, write).await.expect("it is answered").expect("it ends");
    assert_eq!(written.ok(), Some(vec![2]));
}

#[tokio::test]
async fn what_is_new_is_told_at_once_that_nothing_was_changed() {
    let fake = Fake::new();
    let bus = fake.bus();
    let write = tokio::spawn(async move { bus.write(writes()).await });
    let mut peer = fake.accept().await;
    let call = peer.asked().await;
    peer.answer(call.number, Err(Fault::Unavailable)).await;
    let written = timeout(SOON, write).await.expect("it is answered").expect("it ends");
    assert!(matches!(written, Err(Failure::Unavailable)), "{written:?}");
}

#[tokio::test]
async fn a_subscription_for_which_there_is_no_place_is_asked_again() {
    let fake = Fake::new();
    let bus = fake.bus();
    let mut news = bus.subscribe(&[Kind::Server]).await;
    let mut peer = fake.accept().await;
    let call = peer.asked().await;
    peer.answer(call.number, Err(Fault::Busy)).await;
    let again = peer.asked().await;
    assert_eq!(again, call);
    peer.answer(again.number, Ok(Reply::Subscribed)).await;
    assert_eq!(timeout(SOON, news.next()).await, Ok(News::Gap));
}

#[tokio::test]
async fn a_new_bus_is_asked_for_the_subscriptions_first() {
    let fake = Fake::new();
    let bus = fake.bus();
    for _ in 0..5 {
        let bus = bus.clone();
        tokio::spawn(async move { bus.write(writes()).await });
    }
    let mut peer = fake.accept().await;
    for _ in 0..5 {
        peer.asked().await;
    }
    let _news = bus.subscribe(&[Kind::Server]).await;
    peer.asked().await;
    drop(peer);
    let first = fake.accept().await.asked().await;
    assert!(matches!(first.request, Request::Subscribe(_)), "{first:?}");
}
