//! The store of a cluster: MongoDB, a replica set of one member or more.
//!
//! State is written with a majority, journalled, and read with a majority; every operation has its own deadline. Messages go
//! through a capped collection that each bus tails once.

mod announce;
mod attempt;
mod base;
mod batch;
mod bulk;
mod check;
mod connect;
mod document;
mod doubt;
mod heard;
mod home;
mod lease;
mod plan;
mod presence;
mod probe;
mod read;
mod remembered;
mod repair;
mod row;
mod schema;
mod single;
mod span;
mod sweep;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use culvert_model::record::{Host, HostStatus};
use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Change, Claim, Fault, Find, Row, Write};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::announce::{Announcer, change};
use self::base::Base;
pub use self::check::{Finding, check};
pub use self::connect::{ConnectError, Step};
use self::doubt::Doubt;
use self::plan::{Done, Plan};
use self::tail::Tailer;
use super::{Answer, Found, MESSAGES, Owner, Store, Tail, Trouble};

/// How long making the collections may take, and beginning the tail.
const MAKING: Duration = Duration::from_secs(30);
const BEGINNING: Duration = Duration::from_secs(10);

/// The store in MongoDB. Its tasks end with it.
#[derive(Debug)]
pub struct Mongo {
    base: Arc<Base>,
    announcer: Announcer,
    tail: broadcast::Sender<Tail>,
    _tasks: JoinSet<()>,
}

impl Mongo {
    /// What is wrong with a URI whatever the network says.
    ///
    /// # Errors
    ///
    /// One line for people, without the password.
    pub fn check(uri: &str) -> Result<(), ConnectError> {
        connect::check_uri(uri)
    }

    /// Connects, makes the collections and indexes that are not there, and begins the tail.
    ///
    /// # Errors
    ///
    /// One line for people: which step failed, why, and what to do. It never holds the password.
    pub async fn connect(uri: &str, host: HostId) -> Result<Self, ConnectError> {
        let connected = connect::connect(uri, host).await?;
        let database = connected.client.database(&connected.database);
        match timeout(MAKING, schema::make(&database)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(connect::of_schema(&error, database.name())),
            Err(_) => return Err(connect::late("make Culvert's collections")),
        }
        let base = Arc::new(Base::new(connected.client, database, host));
        let (tail, _) = broadcast::channel(MESSAGES);
        let (announcer, announcing) = Announcer::new(schema::messages_to_append(base.database()));
        let mut tasks = JoinSet::new();
        tasks.spawn(announcing);
        let (begun, begins) = oneshot::channel();
        tasks.spawn(Tailer::new(base.clone(), tail.clone(), connected.seen).run(begun));
        match timeout(BEGINNING, begins).await {
            Ok(Ok(())) => Ok(Self { base, announcer, tail, _tasks: tasks }),
            _ => Err(connect::late("give its messages")),
        }
    }

    /// Connects to look, and makes nothing there. What is written all the same is not announced.
    ///
    /// # Errors
    ///
    /// As [`Mongo::connect`].
    pub async fn look(uri: &str, host: HostId) -> Result<Self, ConnectError> {
        let connected = connect::connect(uri, host).await?;
        let database = connected.client.database(&connected.database);
        let base = Arc::new(Base::new(connected.client, database, host));
        let (announcer, _) = Announcer::new(schema::messages_to_append(base.database()));
        let (tail, _) = broadcast::channel(1);
        Ok(Self { base, announcer, tail, _tasks: JoinSet::new() })
    }

    async fn announce(&self, plans: &[Plan], done: &[Done], doubt: Doubt) {
        let announced = plans.iter().zip(done).filter(|(plan, _)| plan.is_announced());
        let changes =
            announced.map(|(plan, done)| change(plan.kind, &plan.id, done.revision, done.scope.clone(), done.at));
        self.announcer.announce(changes.collect(), doubt).await;
    }

    /// Carries writes out that were begun so long ago, or are new.
    async fn carry_out(&self, id: u128, writes: Vec<Write>, begun: Option<Duration>) -> Answer<Vec<u64>> {
        // A write that leaves a document behind is remembered there; all others are one transaction.
        let alone = writes.len() == 1 && !matches!(writes[0], Write::Delete { .. });
        let remember = alone.then_some(id);
        let loses_a_host = writes.iter().any(|write| loses_a_host(write, self.base.host));
        let plans: Result<Vec<Plan>, _> =
            writes.into_iter().map(|write| Plan::of(write, self.base.host, remember)).collect();
        let plans = plans.map_err(Trouble::Fault)?;
        let doubt = self.announcer.doubts.begin(plans.iter().any(Plan::is_announced));
        let done = match plans.as_slice() {
            [plan] if alone => self.base.single(id, plan, begun).await.map(|done| vec![done]),
            plans => self.base.batch(id, plans).await,
        };
        match done {
            Ok(done) => {
                if loses_a_host {
                    self.announcer.doubts.gap();
                }
                self.announce(&plans, &done, doubt).await;
                Ok(done.iter().map(|done| done.revision).collect())
            }
            // It may have happened after all, and so may what an earlier asking began.
            Err(Trouble::Fault(Fault::Unknown)) => Err(Trouble::Fault(Fault::Unknown)),
            Err(trouble) => {
                doubt.end();
                Err(trouble)
            }
        }
    }
}

/// Whether this says that another host is lost: it may have changed records and told nobody.
fn loses_a_host(write: &Write, own: HostId) -> bool {
    let Write::Update { kind: Kind::Host, body, .. } = write else { return false };
    serde_json::from_slice::<Host>(body).is_ok_and(|host| host.status == HostStatus::Offline && host.id != own)
}

impl Store for Mongo {
    const READS: usize = 8;
    const PAGES: usize = 16;
    const WRITES: usize = 16;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        self.base.get(kind, id).await
    }

    async fn find(&self, find: Find) -> Answer<Found> {
        self.base.find(&find).await
    }

    async fn count(&self, find: Find) -> Answer<u64> {
        self.base.count(&find).await
    }

    async fn write(&self, id: u128, writes: Vec<Write>) -> Answer<Vec<u64>> {
        self.carry_out(id, writes, None).await
    }

    async fn write_again(&self, id: u128, writes: Vec<Write>, begun: Duration) -> Answer<Vec<u64>> {
        self.carry_out(id, writes, Some(begun)).await
    }

    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        self.base.claim(kind, id, revision, &owner, lease).await
    }

    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        self.base.renew(kind, id, host, &claim, lease).await
    }

    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        self.base.pass(kind, id, host, &claim, &word, lease).await
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        self.base.release(kind, id, host, &claim).await
    }

    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        let mut all = 0;
        loop {
            let doubt = self.announcer.doubts.begin(kind.announced());
            let swept = self.base.sweep_page(kind, index, before).await;
            let (deleted, more, changes): (u64, bool, Vec<Change>) = match swept {
                // Any part of it may have happened.
                Err(trouble @ Trouble::Fault(Fault::Unknown)) => return Err(trouble),
                Err(trouble) => {
                    doubt.end();
                    return Err(trouble);
                }
                Ok(swept) => swept,
            };
            all += deleted;
            self.announcer.announce(changes, doubt).await;
            if !more {
                return Ok(all);
            }
        }
    }

    async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<()> {
        let doubt = self.announcer.doubts.begin(kind.announced());
        match self.base.repair(kind, id, body).await {
            Ok(change) => {
                self.announcer.announce(change.into_iter().collect(), doubt).await;
                Ok(())
            }
            // It may have happened after all.
            Err(trouble @ Trouble::Fault(Fault::Unknown)) => Err(trouble),
            Err(trouble) => {
                doubt.end();
                Err(trouble)
            }
        }
    }

    async fn now(&self) -> Answer<Millis> {
        self.base.now().await
    }

    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.tail.subscribe()
    }

    async fn close(&self) {
        self.leave().await;
    }
}
