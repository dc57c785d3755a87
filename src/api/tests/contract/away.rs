//! The database is away: the bus answers what it remembers, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use culvert_wire::bus::{Answer, Call, Fault, Reply, Request};
use culvert_wire::{decode, encode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use crate::kit::World;

pub async fn frame(stream: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u32().await.ok()? as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

pub async fn put(stream: &mut OwnedWriteHalf, bytes: &[u8]) -> Option<()> {
    stream.write_u32(u32::try_from(bytes.len()).ok()?).await.ok()?;
    stream.write_all(bytes).await.ok()
}

/// Stands between the api and its bus. Once the database is away, what is read is marked as remembered, and whatever
/// needs the store is refused, as a bus without its database does.
pub async fn between(
    listener: UnixListener,
    bus: std::path::PathBuf,
    away: Arc<AtomicBool>,
    needs: impl Fn(&Request) -> bool + Clone + Send + 'static,
) {
    while let Ok((api, _)) = listener.accept().await {
        let bus = UnixStream::connect(&bus).await.expect("the bus listens");
        let ((mut calls, answers), (mut replies, mut bus)) = (api.into_split(), bus.into_split());
        let answers = Arc::new(tokio::sync::Mutex::new(answers));
        let (refusals, gone, needs) = (answers.clone(), away.clone(), needs.clone());
        tokio::spawn(async move {
            while let Some(bytes) = frame(&mut calls).await {
                let call: Call = decode(&bytes).expect("a call");
                if needs(&call.request) && gone.load(Relaxed) {
                    let refused = Answer { number: call.number, reply: Err(Fault::Unavailable) };
                    put(&mut *refusals.lock().await, &encode(&refused).expect("it has a form")).await?;
                } else {
                    put(&mut bus, &bytes).await?;
                }
            }
            Some(())
        });
        let gone = away.clone();
        tokio::spawn(async move {
            while let Some(bytes) = frame(&mut replies).await {
                let mut answer: Answer = decode(&bytes).expect("an answer");
                if let Ok(Reply::Rows { cached, .. }) = &mut answer.reply {
                    *cached = gone.load(Relaxed);
                }
                put(&mut *answers.lock().await, &encode(&answer).expect("it has a form")).await?;
            }
            Some(())
        });
    }
}

#[tokio::test]
async fn what_is_read_without_the_database_is_marked_and_what_writes_is_put_off() {
    let mut world = World::new().await;
    let away = Arc::new(AtomicBool::new(false));
    let gone = away.clone();
    let needs = |request: &Request| matches!(request, Request::Write { .. } | Request::Here | Request::Count(_));
    world.between(move |listener, bus| between(listener, bus, gone, needs)).await;
    let console = world.log_in().await;
    let fresh = world.get(&console, "/organization").await;
    assert!(fresh.status == 200 && !fresh.headers.contains_key("culvert-cached"), "{fresh:?}");

    away.store(true, Relaxed);
    for path in ["/organization", "/host", "/admin", "/state"] {
        let answer = world.get(&console, path).await;
        let mark = answer.headers.get("culvert-cached").map(|value| value.as_bytes());
        assert_eq!((answer.status.as_u16(), mark), (200, Some(&b"true"[..])), "{path}: {answer:?}");
    }
    let answer = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await;
    assert_eq!(answer.bad(503), "store_unavailable");
    assert_eq!(answer.headers["retry-after"], "2");

    away.store(false, Relaxed);
    let again = world.get(&console, "/organization").await;
    assert!(again.status == 200 && !again.headers.contains_key("culvert-cached"), "{again:?}");
}
