//! Answers that get lost: the server did what it was asked, and the connection breaks before it can say so.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use culvert_bus::store::Store;
use culvert_model::Kind;
use culvert_wire::bus::{Claim, Write};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

/// What stands between the bus and the server.
#[derive(Default)]
struct Wire {
    cuts: AtomicBool,
    asked: AtomicU32,
    lost: AtomicU32,
    /// Of these, every answer to a write that names it is lost, once somebody says so.
    doomed: Mutex<Option<String>>,
    let_go: Notify,
}

impl Wire {
    async fn serve(self: Arc<Self>, listener: TcpListener, server: SocketAddr) {
        while let Ok((client, _)) = listener.accept().await {
            let wire = self.clone();
            tokio::spawn(async move {
                // Both sides may go away at any time.
                let _ = wire.relay(client, server).await;
            });
        }
    }

    /// One question at a time, as the driver does, unless the server goes on answering by itself.
    async fn relay(&self, mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
        let mut server = TcpStream::connect(server).await?;
        loop {
            tokio::select! {
                question = message(&mut client) => {
                    let question = question?;
                    server.write_all(&question).await?;
                    if self.is_doomed(&question) {
                        message(&mut server).await?;
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        self.let_go.notified().await;
                        return Ok(());
                    }
                    if self.cuts.load(Ordering::Relaxed) && changes(&question) && self.cut() {
                        message(&mut server).await?;
                        return Ok(());
                    }
                }
                answer = message(&mut server) => client.write_all(&answer?).await?,
            }
        }
    }

    fn is_doomed(&self, question: &[u8]) -> bool {
        let doomed = self.doomed.lock().expect("nobody panicked");
        let named = |id: &String| question.windows(id.len()).any(|it| it == id.as_bytes());
        changes(question) && doomed.as_ref().is_some_and(named)
    }

    /// Two out of three: the driver asks once more by itself.
    fn cut(&self) -> bool {
        let cut = !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        self.lost.fetch_add(cut.into(), Ordering::Relaxed);
        cut
    }
}

/// Whether something has changed for good once this is answered. Behind the head, flags, the section and the document's
/// length and first type stands the command's name.
fn changes(question: &[u8]) -> bool {
    let is = |name: &[u8]| question[26..].starts_with(name);
    let in_a_transaction = || question.windows(11).any(|it| it == b"autocommit\0");
    is(b"commitTransaction\0") || is(b"findAndModify\0") && !in_a_transaction()
}

async fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let mut message = head.to_vec();
    message.resize(u32::from_le_bytes(head).clamp(27, 48 << 20) as usize, 0);
    stream.read_exact(&mut message[4..]).await?;
    Ok(message)
}

/// A set of one member behind a wire.
async fn behind_a_wire() -> (Arc<Wire>, ReplicaSet) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let outside = listener.local_addr().expect("it has an address");
    let inside = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it has an address");
    let wire = Arc::new(Wire::default());
    tokio::spawn(wire.clone().serve(listener, inside));
    let set = tokio::task::block_in_place(|| ReplicaSet::start_behind(inside, outside)).expect("a replica set");
    (wire, set)
}

/// A job may be made, done and deleted by others before its maker hears that it was made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_not_done_again() {
    let (wire, set) = behind_a_wire().await;
    let (s, other) = (open(&set).await, open(&set).await);
    let (id, kept) = (fresh(), fresh());
    let doom = |id: Option<&String>| *wire.doomed.lock().expect("nobody panicked") = id.cloned();
    let lose = async |writes: Vec<Write>, meanwhile: Vec<Write>| {
        doom(Some(&id));
        let already = wire.lost.load(Ordering::Relaxed);
        let writing = s.write(writes);
        let others = async {
            while wire.lost.load(Ordering::Relaxed) == already {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Deletions are transactions, whose answers are not lost.
            other.write(meanwhile).await.expect("nothing is in the way");
            // The driver asks once more by itself, which has to be lost as well.
            for lost in already + 1..=already + 2 {
                while wire.lost.load(Ordering::Relaxed) < lost {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                if lost == already + 2 {
                    doom(None);
                }
                wire.let_go.notify_one();
            }
        };
        tokio::join!(writing, others).0
    };
    let gone = vec![delete(Kind::Job, &id, always())];
    let made = lose(vec![insert(Kind::Job, &id, &json!({ "n": 0 }))], gone.clone()).await;
    assert_eq!(made, Ok(vec![1]), "it was made");
    assert!(s.get(Kind::Job, &id).await.is_none(), "and is not made again");

    // Likewise of a change, when another record has the id by now.
    s.make(Kind::Job, &id, &json!({ "n": 0 })).await;
    let again = [gone.clone(), vec![insert(Kind::Job, &id, &json!({ "n": 0 }))]].concat();
    let add = Write::Add { kind: Kind::Job, id: id.clone(), field: "n".into(), delta: 1 };
    assert_eq!(lose(vec![add], again).await, Ok(vec![2]));
    assert_eq!(s.get(Kind::Job, &id).await.map(|row| body(&row)), Some(json!({ "n": 0 })));
    let updated = lose(vec![update(Kind::Job, &id, always(), &json!({ "n": 7 }))], gone).await;
    assert_eq!(updated, Ok(vec![2]), "it was changed before it was deleted");

    // What is not over is remembered where it was.
    assert_eq!(s.write(vec![insert(Kind::Job, &kept, &json!({}))]).await, Ok(vec![1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_is_done_once() {
    let (wire, set) = behind_a_wire().await;
    let s = open(&set).await;
    let counter = fresh();
    s.make(Kind::Session, &counter, &json!({ "n": 0 })).await;
    wire.cuts.store(true, Ordering::Relaxed);
    for round in 1..=4 {
        let (a, b) = (fresh(), fresh());
        assert_eq!(s.write(vec![insert(Kind::Job, &a, &json!({ "n": 0 }))]).await, Ok(vec![1]));
        let once = Write::Add { kind: Kind::Session, id: counter.clone(), field: "n".into(), delta: 1 };
        assert_eq!(s.write(vec![once]).await, Ok(vec![round + 1]));
        let row = s.store.claim(Kind::Job, &a, Some(1), s.owner("me"), 60_000).await.expect("nobody holds it");
        let lease = row.lease.expect("it is held");
        let claim = Claim { owner: lease.owner, epoch: lease.epoch };
        let held = culvert_wire::bus::Guard { revision: Some(1), claim: Some(claim.clone()) };
        let batch = vec![update(Kind::Job, &a, held, &json!({ "n": 1 })), insert(Kind::Job, &b, &json!({}))];
        assert_eq!(s.write(batch).await, Ok(vec![2, 1]));
        assert_eq!(s.write(vec![update(Kind::Job, &a, revision(2), &json!({ "n": 2 }))]).await, Ok(vec![3]));
        let epoch = claim.epoch;
        s.store.release(Kind::Job, &a, s.host, claim).await.expect("it is held");
        let row = s.store.claim(Kind::Job, &a, Some(3), s.owner("me"), 60_000).await.expect("nobody holds it");
        assert_eq!(row.lease.map(|lease| lease.epoch), Some(epoch + 1), "claimed once each time");
        assert_eq!(s.write(vec![delete(Kind::Job, &a, revision(3))]).await, Ok(vec![0]));
        assert_eq!(s.write(vec![delete(Kind::Job, &b, always()), delete(Kind::Job, &a, always())]).await.err(), {
            Some(culvert_bus::store::Trouble::Refused { write: 1, why: culvert_wire::bus::Refusal::Missing })
        });
        assert!(s.get(Kind::Job, &b).await.is_some(), "nothing was changed");
    }
    wire.cuts.store(false, Ordering::Relaxed);
    let row = s.get(Kind::Session, &counter).await.expect("it is there");
    assert_eq!(body(&row), json!({ "n": 4 }));
    let lost = wire.lost.load(Ordering::Relaxed);
    println!("lost answers: {lost}, and every write was done once");
    assert!(lost > 20, "{lost}");
}
