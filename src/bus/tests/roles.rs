//! The table of rights, walked through the socket of a running bus: every role asks everything there is to ask about
//! every kind, and is let in or refused as the table says.

#[allow(dead_code, reason = "shared with other suites, which use more of it")]
mod kit;

use std::time::Duration;

use bytes::Bytes;
use culvert_bus::roles::{rights, secret};
use culvert_model::{HostId, Kind, Role};
use culvert_wire::bus::{Answer, Call, Claim, FRAME, Fault, Find, Guard, Request, Write};
use culvert_wire::{decode, encode};
use futures_util::{SinkExt, StreamExt};
use kit::Running;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

const SOON: Duration = Duration::from_secs(10);

/// The certificates whose keys are asked for: one of a server, one of a user.
const OF_SERVER: &str = "s";
const OF_USER: &str = "u";

/// Everything that can be asked about a kind, with the right that it takes: of `r`, what a secret takes instead is `s`.
fn everything(kind: Kind) -> Vec<(char, Request)> {
    let find = Find::all(kind);
    let claim = Claim { owner: "x".into(), epoch: 1 };
    let (id, guard, body) = (OF_USER.to_string(), Guard::default(), b"{}".to_vec());
    // Those that change something come last: each finds what it asks about.
    let writes = [
        ('r', Write::Check { kind, id: id.clone(), guard: guard.clone() }),
        ('r', Write::Unheld { kind, id: id.clone() }),
        ('u', Write::Add { kind, id: id.clone(), field: "n".into(), delta: 1 }),
        ('u', Write::Update { kind, id: id.clone(), guard: guard.clone(), body: body.clone() }),
        ('d', Write::Delete { kind, id: id.clone(), guard }),
        ('i', Write::Insert { kind, id: id.clone(), body }),
    ];
    let mut all = vec![
        ('r', Request::Get { kind, id: id.clone() }),
        ('r', Request::Find(find.clone())),
        ('r', Request::Count(find)),
        ('c', Request::Claim { kind, id: id.clone(), revision: None, owner: "x".into(), lease: 1 }),
        ('c', Request::Renew { kind, id: id.clone(), claim: claim.clone(), lease: 1 }),
        ('c', Request::Pass { kind, id: id.clone(), claim: claim.clone(), owner: "y".into(), lease: 1 }),
        ('c', Request::Release { kind, id, claim }),
    ];
    for (right, write) in writes {
        all.push((right, Request::WriteAgain { id: random(), writes: vec![write.clone()], begun: 0 }));
        all.push((right, Request::Write { id: random(), writes: vec![write] }));
    }
    if let Some(index) = kind.indexes().first() {
        all.push(('d', Request::Sweep { kind, index: index.name.into(), before: 0 }));
    }
    all
}

/// By the letters of the table and nothing else of the code that judges.
fn allowed(role: Role, kind: Kind, right: char) -> bool {
    let right = if right == 'r' && secret(kind) { 's' } else { right };
    rights(role, kind).contains(right)
}

fn random() -> u128 {
    culvert_model::Id::new().bytes().into_iter().fold(0, |number, byte| number << 8 | u128::from(byte))
}

struct Peer(Framed<UnixStream, LengthDelimitedCodec>);

impl Peer {
    async fn connect(bus: &Running) -> Self {
        let stream = UnixStream::connect(&bus.socket).await.expect("the bus listens");
        Self(Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec()))
    }

    /// Whether the bus lets the request in: what becomes of it then does not matter here. Nothing if it cuts the peer.
    async fn let_in(&mut self, request: Request) -> Option<bool> {
        let call = encode(&Call { number: 7, request }).expect("it has a form");
        // A peer that is being cut hears of it by the answer that does not come.
        let _ = timeout(SOON, self.0.send(Bytes::from(call))).await.expect("the bus reads");
        let frame = timeout(SOON, self.0.next()).await.expect("an answer comes soon")?.ok()?;
        let Answer { reply, .. } = decode(&frame).expect("it is an answer");
        Some(reply != Err(Fault::Denied))
    }
}

/// A bus that has a record of every kind, and the certificates.
async fn bus(role: Role) -> Running {
    let bus = Running::start(role).await;
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Certificate) {
        bus.make(*kind, OF_USER, json!({})).await;
    }
    bus.make(Kind::Certificate, OF_USER, json!({ "purpose": "client" })).await;
    bus.make(Kind::Certificate, OF_SERVER, json!({ "purpose": "server" })).await;
    bus
}

#[tokio::test]
async fn everybody_may_what_the_table_says_and_nothing_else() {
    let mut asked = 0;
    for role in Role::ALL.into_iter().filter(|role| !matches!(role, Role::Proxy | Role::Bus)) {
        let bus = bus(role).await;
        for kind in Kind::ALL.iter().copied() {
            let mut peer = Peer::connect(&bus).await;
            for (right, request) in everything(kind) {
                let expected = allowed(role, kind, right);
                let told = format!("{role} asks: {request:?}");
                assert_eq!(peer.let_in(request).await, Some(expected), "{told}");
                asked += 1;
            }
            // Last, since the answers of a subscription have no end.
            let expected = rights(role, kind).contains('r');
            let subscribe = Request::Subscribe(vec![kind]);
            assert_eq!(peer.let_in(subscribe).await, Some(expected), "{role} hears of {}", kind.name());
        }
        let mut peer = Peer::connect(&bus).await;
        assert_eq!(peer.let_in(Request::Here).await, Some(true), "{role} asks where it is");
        let adopt = Request::Adopt { host: HostId::new() };
        assert_eq!(peer.let_in(adopt).await, Some(role == Role::Api), "{role} adopts");
        // The last one, since the bus ends.
        for request in [Request::Standing, Request::Restart] {
            assert_eq!(peer.let_in(request).await, Some(role == Role::Api), "{role} asks how it is with the store");
        }
    }
    assert!(asked > 5 * 17 * Kind::ALL.len(), "{asked} requests");
}

#[tokio::test]
async fn keys_by_server_are_those_of_servers() {
    for role in Role::ALL.into_iter().filter(|role| !matches!(role, Role::Proxy | Role::Bus)) {
        let bus = bus(role).await;
        for kind in Kind::ALL.iter().copied().filter(|kind| rights(role, *kind).contains('k')) {
            let mut peer = Peer::connect(&bus).await;
            assert_eq!(peer.let_in(Request::Get { kind, id: OF_SERVER.into() }).await, Some(true), "{role}");
            assert_eq!(peer.let_in(Request::Get { kind, id: OF_USER.into() }).await, Some(false), "{role}");
            assert_eq!(peer.let_in(Request::Get { kind, id: "none".into() }).await, Some(false), "{role}");
        }
    }
}

#[tokio::test]
async fn who_has_no_line_is_cut_without_an_answer() {
    for role in [Role::Proxy, Role::Bus] {
        let bus = bus(role).await;
        for kind in Kind::ALL.iter().copied() {
            assert_eq!(rights(role, kind), "", "{role}");
            for (_, request) in everything(kind) {
                let told = format!("{role} asks: {request:?}");
                assert_eq!(Peer::connect(&bus).await.let_in(request).await, None, "{told}");
            }
        }
    }
}
