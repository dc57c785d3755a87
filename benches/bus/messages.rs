//! From the write of a record on one host to the handler on another.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use culvert_model::record::User;
use culvert_model::{Kind, Role};
use culvert_records::{Bus, News, Stored};
use culvert_tests::mongod::ReplicaSet;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bare::Bare;
use super::{Pair, runtime};
use crate::daemon::{Daemon, connect};
use crate::figures::{cpu, millis};
use crate::report::Report;
use crate::samples::user;

/// Messages in a turn.
const MESSAGES: usize = 600;

/// How long a message may take.
const LATE: Duration = Duration::from_secs(5);

/// Messages that a handler may leave unread.
const UNREAD: usize = 64;

/// What a handler heard, and when.
#[derive(Debug)]
pub struct Heard {
    pub revision: u64,
    pub at: Instant,
}

/// Both publish one message after the other, each when the one before was heard.
pub fn measure(
    report: &mut Report,
    runtime: &Runtime,
    set: &ReplicaSet,
    buses: &[Daemon; 2],
    api: &Bus,
    bare: &Bare,
) -> Result<()> {
    let mut by_bus = subscribe(buses[1].socket())?;
    let mut by_bare = tail(set.uri("bare"))?;
    // Every host tails, the one that publishes too.
    let (own, mut unread) = mpsc::channel(UNREAD);
    runtime.spawn(bare.clone().tail(own));
    runtime.spawn(async move { while unread.recv().await.is_some() {} });
    let record = user(0);
    let mut stored: Stored<User> = runtime.block_on(async {
        bare.insert(std::slice::from_ref(&record)).await?;
        api.insert(&record).await?;
        api.get(record.id).await?.context("it was just made")
    })?;
    let (mut revision, mut used, mut published) = (1, 0.0, 0);
    let spent = || Ok::<f64, anyhow::Error>(cpu(buses[0].pid())? + cpu(buses[1].pid())?);
    let scope = record.organization.to_string();
    let pair = Pair::turns(|ours| {
        let before = spent()?;
        let samples = runtime.block_on(async {
            let mut samples = Vec::with_capacity(MESSAGES);
            for _ in 0..MESSAGES {
                let begun = Instant::now();
                let at = if ours {
                    api.update(&mut stored).await?;
                    arrival(&mut by_bus, stored.revision).await?
                } else {
                    bare.publish(&record, revision, &scope).await?;
                    revision += 1;
                    arrival(&mut by_bare, revision.unsigned_abs()).await?
                };
                samples.push(millis(at.saturating_duration_since(begun)));
            }
            anyhow::Ok(samples)
        })?;
        if ours {
            used += spent()? - before;
            published += MESSAGES;
        }
        Ok(samples)
    })?;
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let (ours, bare) = pair.quantiles(part);
        report.at_most(format!("publish to handler, 3 members, {name}, to the bare program"), ours / bare, "x", 1.3);
        pair.tell(report, part, "ms");
    }
    report.told("CPU of both buses for a message", used / published as f64 * 1e6, "us");
    Ok(())
}

async fn arrival(heard: &mut mpsc::Receiver<Heard>, revision: u64) -> Result<Instant> {
    loop {
        let news = timeout(LATE, heard.recv()).await.context("the message does not come")?;
        let news = news.context("the handler ended")?;
        if news.revision == revision {
            return Ok(news.at);
        }
    }
}

/// A handler in a thread of its own, as it were in a process of its own. Hears nothing but users.
pub fn subscribe(socket: PathBuf) -> Result<mpsc::Receiver<Heard>> {
    let (tell, heard) = mpsc::channel(UNREAD);
    let (begin, begun) = std::sync::mpsc::channel();
    thread::spawn(move || {
        runtime()?.block_on(async {
            let bus = connect(socket, Role::Vpn).await?;
            let mut news = bus.subscribe(&[Kind::User]).await;
            // It begins with a gap.
            let _ = news.next().await;
            begin.send(())?;
            loop {
                let News::Changed(change) = news.next().await else { continue };
                if tell.send(Heard { revision: change.revision, at: Instant::now() }).await.is_err() {
                    return anyhow::Ok(());
                }
            }
        })
    });
    begun.recv().context("the subscriber did not begin")?;
    Ok(heard)
}

/// The same by the driver alone.
fn tail(uri: String) -> Result<mpsc::Receiver<Heard>> {
    let (tell, heard) = mpsc::channel(UNREAD);
    thread::spawn(move || runtime()?.block_on(async { Bare::connect(&uri).await?.tail(tell).await }));
    Ok(heard)
}
