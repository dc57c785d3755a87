//! What can be asked of the bus.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use culvert_lease::Contact;
use culvert_model::{Kind, Millis, Record};
use culvert_wire::bus::{Call, Claim, Fault, Guard, Reply, Request, Row, Write};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::damage::Told;
use crate::query::{Page, Query, Stored, delete, insert, update};
use crate::stream::{Connection, Order};
use crate::{Failure, Kept, Subscription, memory};

/// How long a request may take, the bus's own deadlines and a new connection included.
const DEADLINE: Duration = Duration::from_secs(15);

/// An outage may have gone unnoticed between two answers that are further apart, milliseconds. Longer than the 5 s at
/// which processes look, shorter than the shortest lease (a host's, 8.5 s) less the time after which it is renewed (2 s).
pub const SILENCE: Millis = 6_000;

/// Requests that wait for the stream.
const QUEUE: usize = 256;

/// Changes that a subscriber may leave unread before it gets a gap instead.
const UNREAD: usize = 1024;

/// The local bus.
#[derive(Debug, Clone)]
pub struct Bus {
    orders: mpsc::Sender<Order>,
    numbers: Arc<AtomicU64>,
    reach: Arc<Reach>,
    told: Told,
    /// How often the stream was opened.
    pub(crate) opened: watch::Receiver<u64>,
}

/// How long the store has been in reach.
#[derive(Debug)]
struct Reach {
    begun: Instant,
    contact: Mutex<Contact>,
}

impl Reach {
    fn now(&self) -> Millis {
        self.begun.elapsed().as_millis() as Millis
    }

    fn note(&self, sent: Millis, result: &Result<Reply, Failure>) {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(Reply::Rows { cached: true, .. }) => contact.failed(),
            Err(failure) if failure.outage() => contact.failed(),
            _ => contact.answered(sent, self.now()),
        }
    }
}

impl Bus {
    /// The bus that listens on this socket. It need not be there yet. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let (opens, opened) = watch::channel(0);
        tokio::spawn(Connection::new(socket.into(), queue, opens).run());
        let reach = Reach { begun: Instant::now(), contact: Mutex::new(Contact::new(SILENCE)) };
        Self { orders, numbers: Arc::default(), reach: Arc::new(reach), told: Told::default(), opened }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// For how long the store itself has answered, without an outage that was or could have been: what
    /// `culvert_lease::may_claim` asks for. A store that is not asked for [`SILENCE`] is not in contact.
    #[must_use]
    pub fn uninterrupted(&self) -> Millis {
        self.reach.contact.lock().unwrap_or_else(PoisonError::into_inner).uninterrupted()
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, Failure> {
        let sent = self.reach.now();
        let result = self.exchange(request).await;
        self.reach.note(sent, &result);
        if let Ok(Reply::Rows { cached: true, .. }) = &result {
            memory::note_remembered();
        }
        result
    }

    pub(crate) async fn exchange(&self, request: Request) -> Result<Reply, Failure> {
        let late = if matches!(request, Request::Write { .. }) { Failure::Unknown } else { Failure::Unavailable };
        let (answer, answered) = oneshot::channel();
        let order = Order::Ask { call: Call { number: self.number(), request }, answer };
        let deadline = Instant::now() + DEADLINE;
        match timeout_at(deadline, self.orders.send(order)).await {
            Ok(Ok(())) => {}
            _ => return Err(Failure::Busy),
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(Ok(Reply::Refused { write, why }))) => Err(Failure::Refused { write, why }),
            Ok(Ok(Ok(reply))) => Ok(reply),
            Ok(Ok(Err(fault))) => Err(fault.into()),
            _ => Err(late),
        }
    }

    /// The record of this id.
    ///
    /// # Errors
    ///
    /// The store can't be reached, or the record is damaged.
    pub async fn get<T: Record>(&self, id: impl ToString) -> Result<Option<Stored<T>>, Failure> {
        match self.ask(Request::Get { kind: T::KIND, id: id.to_string() }).await? {
            Reply::Rows { mut rows, .. } => match rows.pop() {
                Some(row) => self.whole(row).await.map(Some),
                None => Ok(None),
            },
            _ => Err(unexpected()),
        }
    }

    /// A record, if it is there and whole: what a damaged one says nobody knows, and administrators are told of it.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn get_whole<T: Record>(&self, id: impl ToString) -> Result<Option<Stored<T>>, Failure> {
        match self.get(id).await {
            Err(Failure::Invalid(_)) => Ok(None),
            found => found,
        }
    }

    async fn whole<T: Record>(&self, row: Row) -> Result<Stored<T>, Failure> {
        let id = row.id.clone();
        match Stored::read(row) {
            Ok(stored) => {
                self.told.whole(T::KIND, &id);
                Ok(stored)
            }
            Err(damage) => {
                if let Some(log) = self.told.tell(&damage) {
                    // Another process or host may have been faster.
                    let _ = self.insert(&log).await;
                }
                Err(Failure::Invalid(damage.to_string()))
            }
        }
    }

    /// A page of records.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn find<T: Record>(&self, query: Query) -> Result<Page<T>, Failure> {
        match self.ask(Request::Find(query.of::<T>())).await? {
            Reply::Rows { rows, next, cached } => {
                let mut items = Vec::with_capacity(rows.len());
                for row in rows {
                    // Told of; one damaged record must not hide the others.
                    items.extend(self.whole(row).await.ok());
                }
                Ok(Page { items, next, cached })
            }
            _ => Err(unexpected()),
        }
    }

    /// All records of a query, page by page.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn list<T: Record>(&self, query: Query) -> Result<Vec<Stored<T>>, Failure> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.find(query.clone().after(after.take())).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// How many records a query has.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn count<T: Record>(&self, query: Query) -> Result<u64, Failure> {
        match self.ask(Request::Count(query.of::<T>())).await? {
            Reply::Count(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    /// Writes that happen all or none. The answer has the new revision of each.
    ///
    /// # Errors
    ///
    /// A guard did not hold, the store can't be reached, or it is not known whether the writes were done.
    pub async fn write(&self, writes: Vec<Write>) -> Result<Vec<u64>, Failure> {
        let id = u128::from_be_bytes(random());
        match self.ask(Request::Write { id, writes }).await? {
            Reply::Written { revisions } => Ok(revisions),
            _ => Err(unexpected()),
        }
    }

    /// Makes a record.
    ///
    /// # Errors
    ///
    /// As [`Bus::write`].
    pub async fn insert<T: Record>(&self, record: &T) -> Result<(), Failure> {
        self.write(vec![insert(record)]).await.map(drop)
    }

    /// Replaces a record, if nobody has written it since it was read.
    ///
    /// # Errors
    ///
    /// As [`Bus::write`].
    pub async fn update<T: Record>(&self, stored: &mut Stored<T>) -> Result<(), Failure> {
        let revisions = self.write(vec![update(&stored.record, stored.unchanged())]).await?;
        stored.revision = revisions[0];
        Ok(())
    }

    /// Removes a record, if it is there.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn delete<T: Record>(&self, id: impl ToString) -> Result<(), Failure> {
        match self.write(vec![delete::<T>(id, Guard::default())]).await {
            Err(Failure::Refused { .. }) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Takes a record's lease, if nobody holds it and (with a revision) the record is still as it was.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn claim<T: Record>(
        &self,
        id: impl ToString,
        revision: Option<u64>,
        owner: &str,
        lease: Millis,
    ) -> Result<Kept<Stored<T>>, Failure> {
        let id = id.to_string();
        kept(self.keep(Request::Claim { kind: T::KIND, id, revision, owner: owner.into(), lease }).await)
    }

    /// Makes a lease last longer.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn renew<T: Record>(
        &self,
        id: impl ToString,
        claim: &Claim,
        lease: Millis,
    ) -> Result<Kept<Stored<T>>, Failure> {
        kept(self.renewed(id, claim, lease).await)
    }

    /// The same, with the reason if it is refused.
    pub(crate) async fn renewed<T: Record>(
        &self,
        id: impl ToString,
        claim: &Claim,
        lease: Millis,
    ) -> Result<Stored<T>, Failure> {
        self.keep(Request::Renew { kind: T::KIND, id: id.to_string(), claim: claim.clone(), lease }).await
    }

    /// Makes a lease last longer, from now on under another owner's word. If it was done before, it lasts longer.
    pub(crate) async fn passed<T: Record>(
        &self,
        id: &str,
        claim: &Claim,
        owner: &str,
        lease: Millis,
    ) -> Result<Stored<T>, Failure> {
        let (claim, owner) = (claim.clone(), owner.into());
        self.keep(Request::Pass { kind: T::KIND, id: id.into(), claim, owner, lease }).await
    }

    async fn keep<T: Record>(&self, request: Request) -> Result<Stored<T>, Failure> {
        match self.ask(request).await? {
            Reply::Claimed { row } => self.whole(row).await,
            _ => Err(unexpected()),
        }
    }

    /// Gives a lease up. That it was lost before is no error.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn release<T: Record>(&self, id: impl ToString, claim: &Claim) -> Result<(), Failure> {
        match self.ask(Request::Release { kind: T::KIND, id: id.to_string(), claim: claim.clone() }).await {
            Ok(_) | Err(Failure::Refused { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes the records whose first field in this index is a smaller number.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn sweep<T: Record>(&self, index: &str, before: i64) -> Result<u64, Failure> {
        match self.ask(Request::Sweep { kind: T::KIND, index: index.into(), before }).await? {
            Reply::Count(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    /// News of every change to records of these kinds, from now on. A subscriber that does not read is told of a gap.
    pub async fn subscribe(&self, kinds: &[Kind]) -> Subscription {
        let (sender, news) = mpsc::channel(UNREAD);
        let call = Call { number: self.number(), request: Request::Subscribe(kinds.to_vec()) };
        // The connection lives as long as the process.
        let _ = self.orders.send(Order::Subscribe { call, news: sender }).await;
        Subscription { news }
    }
}

fn random() -> [u8; 16] {
    let [a, b] = [culvert_model::Id::new(), culvert_model::Id::new()].map(culvert_model::Id::bytes);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a[4..]);
    bytes[8..].copy_from_slice(&b[4..]);
    bytes
}

fn kept<T>(asked: Result<T, Failure>) -> Result<Kept<T>, Failure> {
    match asked {
        Ok(stored) => Ok(Kept::Held(stored)),
        Err(Failure::Refused { .. }) => Ok(Kept::Lost),
        Err(failure) => Err(failure),
    }
}

pub(crate) fn unexpected() -> Failure {
    Failure::Invalid("the bus answered something else than was asked".into())
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Denied => Self::Denied,
            Fault::Invalid(why) => Self::Invalid(why),
            Fault::Unavailable => Self::Unavailable,
            Fault::Unknown => Self::Unknown,
            Fault::Busy => Self::Busy,
        }
    }
}
