//! The only thread that writes. What waits is carried out in one transaction, synced once, and answered after that
//! (`mechanisms.md` section 6).

use culvert_model::{HostId, Id, Kind, Millis};
use culvert_wire::bus::{Change, Claim, Fault, Row, Write};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

use super::clock::Clock;
use super::ledger::Ledger;
use super::trouble::{Complaint, Stop, of_commit};
use crate::store::{Answer, Owner, Tail, Trouble, wall};

/// The most requests in one transaction.
const GROUP: usize = 256;

/// The most records that one request sweeps: others have their turn in between.
pub const SWEEP: u16 = 500;

/// So many writes are remembered by their ids, and for so long. A caller asks again within seconds.
const REMEMBERED: i64 = 20_000;
const REMEMBERED_FOR: i64 = 10 * 60 * 1000;

/// After so many writes, those that need not be remembered are swept.
const FORGET_EVERY: u32 = 4096;

/// What the writer can do.
pub enum Order {
    /// Writes, all or none.
    Write { id: u128, writes: Vec<Write> },
    /// Take a lease.
    Claim { kind: Kind, id: String, revision: Option<u64>, owner: Owner, length: Millis },
    /// Keep it.
    Renew { kind: Kind, id: String, host: HostId, claim: Claim, length: Millis },
    /// Keep it under another word.
    Pass { kind: Kind, id: String, host: HostId, claim: Claim, word: String, length: Millis },
    /// Give it up.
    Release { kind: Kind, id: String, host: HostId, claim: Claim },
    /// Put a body, or nothing, in the place of a record.
    Repair { kind: Kind, id: String, body: Option<Vec<u8>> },
    /// Delete up to [`SWEEP`] records.
    Sweep { kind: Kind, index: String, before: i64 },
    /// Put records in as they are.
    Put { kind: Kind, rows: Vec<Row> },
}

/// What came of an order.
pub enum Outcome {
    /// The records' new revisions.
    Revisions(Vec<u64>),
    /// The record, whose lease is held.
    Row(Row),
    /// The lease is given up, or the record repaired.
    Done,
    /// So many were deleted.
    Count(u64),
}

/// An order and who waits for it.
pub struct Job {
    /// What is to be done.
    pub order: Order,
    /// When nobody waits any more: it is not begun after that.
    pub deadline: Instant,
    /// Who waits.
    pub answer: oneshot::Sender<Answer<Outcome>>,
}

/// The thread's state.
pub struct Writer {
    /// The only connection that writes.
    pub connection: Connection,
    /// The clock that leases last by.
    pub clock: Clock,
    /// This host.
    pub host: HostId,
    /// What is to be done.
    pub jobs: mpsc::Receiver<Job>,
    /// Who hears of changes.
    pub tail: broadcast::Sender<Tail>,
    /// What was said about the file.
    pub complaint: std::sync::Arc<Complaint>,
    /// The number of the last message.
    pub last: Id,
    /// Writes since the last sweep of what is remembered.
    pub since_forgetting: u32,
}

/// What came of each order of a group, and what is to be announced.
type Carried = (Vec<Answer<Outcome>>, Vec<Change>);

impl Writer {
    /// Until nobody is left who could ask. The connection comes back: it is to be closed last.
    pub fn run(mut self) -> Connection {
        while let Some(first) = self.jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = self.jobs.try_recv()
            {
                group.push(job);
            }
            self.carry_out(group);
        }
        self.connection
    }

    fn carry_out(&mut self, group: Vec<Job>) {
        let now = Instant::now();
        let (group, late): (Vec<Job>, Vec<Job>) = group.into_iter().partition(|job| job.deadline > now);
        late.into_iter().for_each(|job| tell(job.answer, Err(Trouble::Fault(Fault::Unavailable))));
        if group.is_empty() {
            return;
        }
        match self.transact(&group) {
            Ok((outcomes, changes)) => {
                self.complaint.over();
                group.into_iter().zip(outcomes).for_each(|(job, outcome)| tell(job.answer, outcome));
                changes.into_iter().for_each(|change| self.announce(change));
            }
            Err(fault) => group.into_iter().for_each(|job| tell(job.answer, Err(Trouble::Fault(fault.clone())))),
        }
    }

    fn transact(&mut self, group: &[Job]) -> Result<Carried, Fault> {
        let carried = self.attempt(group).map_err(|error| {
            self.complaint.about(&error);
            Fault::Unavailable
        });
        let done = carried.and_then(|carried| match self.connection.execute_batch("COMMIT") {
            Ok(()) => Ok(carried),
            Err(error) => {
                self.complaint.about(&error);
                Err(of_commit(&error))
            }
        });
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            self.complaint.about(&error);
        }
        done
    }

    fn attempt(&mut self, group: &[Job]) -> rusqlite::Result<Carried> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.forget()?;
        let now = self.clock.now();
        let mut ledger = Ledger { connection: &self.connection, now, host: self.host, changes: Vec::new() };
        let alone = group.len() == 1;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            let announced = ledger.changes.len();
            if !alone {
                ledger.connection.prepare_cached("SAVEPOINT request")?.execute([])?;
            }
            match carry_out(&mut ledger, &job.order) {
                Ok(outcome) => outcomes.push(Ok(outcome)),
                Err(Stop::Sql(error)) => return Err(error),
                Err(Stop::Trouble(trouble)) => {
                    ledger.changes.truncate(announced);
                    let undo = if alone { "ROLLBACK; BEGIN" } else { "ROLLBACK TO request" };
                    ledger.connection.execute_batch(undo)?;
                    outcomes.push(Err(trouble));
                }
            }
            if !alone {
                ledger.connection.prepare_cached("RELEASE request")?.execute([])?;
            }
        }
        self.since_forgetting += group.len() as u32;
        Ok((outcomes, ledger.changes))
    }

    /// Now and then, forgets the ids of old writes.
    fn forget(&mut self) -> rusqlite::Result<()> {
        if self.since_forgetting < FORGET_EVERY {
            return Ok(());
        }
        self.since_forgetting = 0;
        self.connection
            .prepare_cached("DELETE FROM done WHERE number <= (SELECT max(number) FROM done) - ? OR at < ?")?
            .execute(params![REMEMBERED, self.clock.now() - REMEMBERED_FOR])
            .map(drop)
    }

    fn announce(&mut self, mut change: Change) {
        self.last = after(self.last);
        change.id = self.last;
        // Nobody may be listening.
        let _ = self.tail.send(Tail::Change(change));
    }
}

fn carry_out(ledger: &mut Ledger<'_>, order: &Order) -> Result<Outcome, Stop> {
    match order {
        Order::Write { id, writes } => write(ledger, *id, writes).map(Outcome::Revisions),
        Order::Claim { kind, id, revision, owner, length } => {
            ledger.claim(*kind, id, *revision, owner, *length).map(Outcome::Row)
        }
        Order::Renew { kind, id, host, claim, length } => {
            ledger.renew(*kind, id, *host, claim, *length).map(Outcome::Row)
        }
        Order::Pass { kind, id, host, claim, word, length } => {
            ledger.pass(*kind, id, *host, claim, word, *length).map(Outcome::Row)
        }
        Order::Release { kind, id, host, claim } => ledger.release(*kind, id, *host, claim).map(|()| Outcome::Done),
        Order::Repair { kind, id, body } => ledger.repair(*kind, id, body.as_deref()).map(|()| Outcome::Done),
        Order::Put { kind, rows } => {
            rows.iter().try_for_each(|row| ledger.put(*kind, row.clone())).map(|()| Outcome::Count(rows.len() as u64))
        }
        Order::Sweep { kind, index, before } => ledger.sweep(*kind, index, *before, SWEEP).map(Outcome::Count),
    }
}

/// Writes that were done under the same id before are not done again.
fn write(ledger: &mut Ledger<'_>, id: u128, writes: &[Write]) -> Result<Vec<u64>, Stop> {
    let id = id.to_be_bytes();
    let connection = ledger.connection;
    let before: Option<Vec<u8>> = connection
        .prepare_cached("SELECT revisions FROM done WHERE id = ?")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if let Some(revisions) = before {
        return Ok(revisions.chunks_exact(8).filter_map(|it| it.try_into().ok()).map(u64::from_be_bytes).collect());
    }
    let mut revisions = Vec::with_capacity(writes.len());
    for (number, write) in writes.iter().enumerate() {
        revisions.push(ledger.write(write).map_err(|stop| stop.at(number))?);
    }
    let bytes: Vec<u8> = revisions.iter().flat_map(|revision: &u64| revision.to_be_bytes()).collect();
    connection
        .prepare_cached("INSERT INTO done (id, at, revisions) VALUES (?, ?, ?)")?
        .execute(params![id, ledger.now, bytes])?;
    Ok(revisions)
}

/// The next message's id: it begins with the second, as all ids do, and is greater than the last in any case.
fn after(last: Id) -> Id {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&((wall() / 1000) as u32).to_be_bytes());
    let next = Id::from_bytes(bytes);
    if next > last {
        return next;
    }
    let mut bytes = last.bytes();
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    Id::from_bytes(bytes)
}

fn tell(answer: oneshot::Sender<Answer<Outcome>>, outcome: Answer<Outcome>) {
    // Who asked may have given up.
    let _ = answer.send(outcome);
}
