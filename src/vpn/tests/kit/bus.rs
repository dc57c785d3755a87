//! A bus that keeps records in memory and speaks the real protocol.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use culvert_model::{HostId, Id, Kind, Record};
use culvert_wire::bus::{
    Answer, Call, Change, Claim, FRAME, Fault, Find, Guard, Key, Lease, Refusal, Reply, Request, Row, Write,
};
use culvert_wire::{decode, encode};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

type Table = BTreeMap<(Kind, String), Row>;

/// The bus.
#[derive(Clone)]
pub struct Bus {
    host: HostId,
    rows: Arc<Mutex<Table>>,
    changes: broadcast::Sender<Change>,
    /// Whether the store can't be reached.
    pub away: Arc<AtomicBool>,
    /// How many requests about records came.
    pub asked: Arc<AtomicU64>,
}

impl Bus {
    /// Listens.
    pub fn start(socket: &Path, host: HostId) -> Self {
        let bus = Self {
            host,
            rows: Arc::default(),
            changes: broadcast::Sender::new(1000),
            away: Arc::default(),
            asked: Arc::default(),
        };
        let listener = UnixListener::bind(socket).expect("a socket");
        let serving = bus.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        bus
    }

    /// Puts a record, as the api would, and tells of it.
    pub fn put<T: Record>(&self, record: &T) {
        let body = serde_json::to_vec(record).expect("a record");
        let mut rows = self.rows.lock().expect("rows");
        let key = (T::KIND, record.id());
        let (revision, lease) = rows.get(&key).map_or((1, None), |row| (row.revision + 1, row.lease.clone()));
        self.tell(T::KIND, &record.id(), revision, &body);
        rows.insert(key, Row { id: record.id(), revision, body, lease });
    }

    /// Removes a record and tells of it.
    pub fn remove<T: Record>(&self, id: &str) {
        if let Some(row) = self.rows.lock().expect("rows").remove(&(T::KIND, id.to_owned())) {
            self.tell(T::KIND, id, 0, &row.body);
        }
    }

    /// Changes a record's lease, as time or another host would.
    pub fn lease<T: Record>(&self, id: &str, change: impl FnOnce(&mut Lease)) {
        let mut rows = self.rows.lock().expect("rows");
        change(rows.get_mut(&(T::KIND, id.to_owned())).and_then(|row| row.lease.as_mut()).expect("a lease"));
    }

    /// A record's lease.
    pub fn leased<T: Record>(&self, id: &str) -> Option<Lease> {
        self.rows.lock().expect("rows").get(&(T::KIND, id.to_owned()))?.lease.clone()
    }

    /// All records of a kind.
    pub fn all<T: Record>(&self) -> Vec<T> {
        let rows = self.rows.lock().expect("rows");
        let of_kind = rows.iter().filter(|((kind, _), _)| *kind == T::KIND);
        of_kind.map(|(_, row)| serde_json::from_slice(&row.body).expect("a record")).collect()
    }

    fn tell(&self, kind: Kind, id: &str, revision: u64, body: &[u8]) {
        let value: Value = serde_json::from_slice(body).expect("json");
        let scope = kind.scope().and_then(|scope| Some(value[scope].as_str()?.to_owned()));
        if kind.announced() {
            let _ = self.changes.send(Change { id: Id::new(), kind, record: id.into(), revision, scope, at: 0 });
        }
    }

    async fn serve(self, stream: UnixStream) {
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec();
        let mut stream = Framed::new(stream, codec);
        let mut changes = self.changes.subscribe();
        let mut subscriptions: Vec<(u64, Vec<Kind>)> = Vec::new();
        loop {
            let mut answers = Vec::new();
            tokio::select! {
                frame = stream.next() => {
                    let Some(Ok(frame)) = frame else { return };
                    let Call { number, request } = decode(&frame).expect("a call");
                    if let Request::Subscribe(kinds) = request {
                        subscriptions.push((number, kinds));
                        answers.push(Answer { number, reply: Ok(Reply::Subscribed) });
                    } else {
                        answers.push(Answer { number, reply: self.answer(request) });
                    }
                }
                Ok(change) = changes.recv() => {
                    for (number, kinds) in &subscriptions {
                        if kinds.contains(&change.kind) {
                            answers.push(Answer { number: *number, reply: Ok(Reply::Changed(change.clone())) });
                        }
                    }
                }
            }
            for answer in answers {
                if stream.send(bytes::Bytes::from(encode(&answer).expect("bytes"))).await.is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&self, request: Request) -> Result<Reply, Fault> {
        if matches!(request, Request::Here) {
            return Ok(Reply::Here { host: self.host, now: 1 });
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(Fault::Unavailable);
        }
        let mut rows = self.rows.lock().expect("rows");
        Ok(match request {
            Request::Get { kind, id } => {
                let rows = rows.get(&(kind, id)).cloned().into_iter().collect();
                Reply::Rows { rows, next: None, cached: false }
            }
            Request::Find(find) => Reply::Rows { rows: found(&rows, &find), next: None, cached: false },
            Request::Write { writes, .. } => self.write(&mut rows, &writes),
            Request::Claim { kind, id, revision, owner, lease } => match rows.get_mut(&(kind, id)) {
                Some(row) if revision.is_none_or(|revision| revision == row.revision) => {
                    if let Some(held) = row.lease.as_ref().filter(|lease| lease.left > 0) {
                        return Ok(refused(0, Refusal::NotHeld { lease: Some(held.clone()) }));
                    }
                    let epoch = row.lease.as_ref().map_or(0, |lease| lease.epoch) + 1;
                    row.lease = Some(Lease { host: self.host, owner, epoch, left: lease });
                    Reply::Claimed { row: row.clone() }
                }
                _ => refused(0, Refusal::Missing),
            },
            Request::Renew { kind, id, claim, .. } => match rows.get(&(kind, id)) {
                Some(row) if held(row, &claim) => Reply::Claimed { row: row.clone() },
                row => refused(0, Refusal::NotHeld { lease: row.and_then(|row| row.lease.clone()) }),
            },
            Request::Pass { kind, id, claim, owner, .. } => match rows.get_mut(&(kind, id)) {
                Some(row) if held(row, &claim) || held(row, &Claim { owner: owner.clone(), ..claim }) => {
                    row.lease.iter_mut().for_each(|lease| lease.owner.clone_from(&owner));
                    Reply::Claimed { row: row.clone() }
                }
                row => refused(0, Refusal::NotHeld { lease: row.and_then(|row| row.lease.clone()) }),
            },
            Request::Release { kind, id, claim } => match rows.get_mut(&(kind, id)) {
                Some(row) if held(row, &claim) => {
                    row.lease.iter_mut().for_each(|lease| lease.left = 0);
                    Reply::Written { revisions: vec![row.revision] }
                }
                _ => refused(0, Refusal::NotHeld { lease: None }),
            },
            other => panic!("the tests have no use for {other:?}"),
        })
    }

    fn write(&self, rows: &mut Table, writes: &[Write]) -> Reply {
        let mut after = rows.clone();
        let mut revisions = Vec::new();
        for (number, write) in (0..).zip(writes) {
            match apply(&mut after, write) {
                Ok(revision) => revisions.push(revision),
                Err(why) => return refused(number, why),
            }
        }
        let before = std::mem::replace(rows, after);
        for (write, revision) in writes.iter().zip(&revisions) {
            let (kind, id) = write.target();
            let row = rows.get(&(kind, id.to_owned())).or_else(|| before.get(&(kind, id.to_owned())));
            self.tell(kind, id, *revision, &row.expect("what was written is there").body);
        }
        Reply::Written { revisions }
    }
}

fn refused(write: u16, why: Refusal) -> Reply {
    Reply::Refused { write, why }
}

fn held(row: &Row, claim: &Claim) -> bool {
    let is = |lease: &Lease| lease.owner == claim.owner && lease.epoch == claim.epoch && lease.left > 0;
    row.lease.as_ref().is_some_and(is)
}

fn guarded(row: Option<&Row>, guard: &Guard) -> Result<u64, Refusal> {
    let row = row.ok_or(Refusal::Missing)?;
    if guard.revision.is_some_and(|revision| revision != row.revision) {
        return Err(Refusal::Stale { revision: row.revision });
    }
    if guard.claim.as_ref().is_some_and(|claim| !held(row, claim)) {
        return Err(Refusal::NotHeld { lease: row.lease.clone() });
    }
    Ok(row.revision)
}

fn apply(rows: &mut Table, write: &Write) -> Result<u64, Refusal> {
    match write {
        Write::Insert { kind, id, body } => {
            if rows.contains_key(&(*kind, id.clone())) {
                return Err(Refusal::Exists);
            }
            unique(rows, *kind, id, body)?;
            rows.insert((*kind, id.clone()), Row { id: id.clone(), revision: 1, body: body.clone(), lease: None });
            Ok(1)
        }
        Write::Update { kind, id, guard, body } => {
            let key = (*kind, id.clone());
            let revision = guarded(rows.get(&key), guard)? + 1;
            unique(rows, *kind, id, body)?;
            let row = rows.get_mut(&key).expect("guarded");
            (row.revision, row.body) = (revision, body.clone());
            Ok(revision)
        }
        Write::Delete { kind, id, guard } => {
            let key = (*kind, id.clone());
            guarded(rows.get(&key), guard)?;
            rows.remove(&key);
            Ok(0)
        }
        other => panic!("the tests have no use for {other:?}"),
    }
}

fn unique(rows: &Table, kind: Kind, id: &str, body: &[u8]) -> Result<(), Refusal> {
    let new: Value = serde_json::from_slice(body).expect("json");
    for index in kind.indexes().iter().filter(|index| index.unique) {
        let same = |row: &Row| {
            let old: Value = serde_json::from_slice(&row.body).expect("json");
            index.fields.iter().all(|field| old[field] == new[field])
        };
        if rows.iter().any(|((other, name), row)| *other == kind && name != id && same(row)) {
            return Err(Refusal::Taken { index: index.name.into() });
        }
    }
    Ok(())
}

fn found(rows: &Table, find: &Find) -> Vec<Row> {
    let fields = find.kind.index(&find.index).map_or(&[][..], |index| index.fields);
    let matches = |row: &Row| {
        let value: Value = serde_json::from_slice(&row.body).expect("json");
        find.equal.iter().zip(fields).all(|(key, field)| match key {
            Key::Text(text) => value[field].as_str() == Some(text),
            _ => panic!("the tests find by text"),
        })
    };
    rows.iter().filter(|((kind, _), row)| *kind == find.kind && matches(row)).map(|(_, row)| row.clone()).collect()
}
