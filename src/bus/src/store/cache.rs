//! What is remembered of the kinds that the role table marks, for as long as the database is away: all records of the
//! announced ones, and of the others those that were read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_model::{Index, Kind};
use culvert_wire::bus::{Find, Key, Position, Row, Write};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep};

use super::{Found, PAGE_BYTES, Store, Tail, Trouble, index};
use crate::roles::cached;

/// The most records that are remembered of a kind.
const RECORDS: usize = 10_000;

/// The most bytes of their bodies.
const BYTES: usize = 8 << 20;

/// How long to wait before everything is read again after that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// Remembered records.
#[derive(Debug, Default)]
pub struct Cache {
    shelves: Mutex<BTreeMap<Kind, Shelf>>,
}

/// The remembered records of a kind.
#[derive(Debug, Default)]
struct Shelf {
    rows: BTreeMap<String, (Row, Instant)>,
    bytes: usize,
    /// Whether these are all that there are, but for those of which it is not known how they are now.
    whole: bool,
    unknown: BTreeSet<String>,
    /// Those that are there, but damaged.
    damaged: BTreeSet<String>,
}

impl Shelf {
    /// What was read before something newer was heard does not replace it.
    fn put(&mut self, row: Row) {
        if self.rows.get(&row.id).is_some_and(|(known, _)| known.revision > row.revision) {
            return;
        }
        self.remove(&row.id);
        if self.rows.len() >= RECORDS || self.bytes + row.body.len() > BYTES {
            self.whole = false;
            return;
        }
        self.bytes += row.body.len();
        self.rows.insert(row.id.clone(), (row, Instant::now()));
    }

    fn remove(&mut self, id: &str) {
        self.unknown.remove(id);
        self.damaged.remove(id);
        if let Some((row, _)) = self.rows.remove(id) {
            self.bytes -= row.body.len();
        }
    }
}

impl Cache {
    fn shelves(&self) -> MutexGuard<'_, BTreeMap<Kind, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A record was read, or found missing.
    pub fn read(&self, kind: Kind, id: &str, row: Option<&Row>) {
        let mut shelves = self.shelves();
        let shelf = shelves.entry(kind).or_default();
        match row {
            Some(row) => shelf.put(row.clone()),
            None => shelf.remove(id),
        }
    }

    /// A record was read because it changed: this is how it is now, whatever was known.
    fn heard(&self, kind: Kind, id: &str, row: Option<Row>) {
        let mut shelves = self.shelves();
        let shelf = shelves.entry(kind).or_default();
        shelf.remove(id);
        if let Some(row) = row {
            shelf.put(row);
        }
    }

    /// These writes were done, with these revisions.
    pub fn written(&self, writes: &[Write], revisions: &[u64]) {
        for (write, revision) in writes.iter().zip(revisions) {
            let (kind, id) = write.target();
            match write {
                Write::Insert { body, .. } | Write::Update { body, .. } if cached(kind) => {
                    let mut shelves = self.shelves();
                    let shelf = shelves.entry(kind).or_default();
                    let lease = shelf.rows.get(id).and_then(|(row, at)| aged(row, *at).lease);
                    // Of the others, only those that were read are kept.
                    if kind.announced() || shelf.rows.contains_key(id) {
                        shelf.put(Row { id: id.into(), revision: *revision, body: body.clone(), lease });
                    }
                }
                Write::Delete { .. } => self.read(kind, id, None),
                Write::Add { .. } => self.forget(std::slice::from_ref(write)),
                Write::Insert { .. } | Write::Update { .. } | Write::Check { .. } | Write::Unheld { .. } => {}
            }
        }
    }

    /// These writes may have been done.
    pub fn forget(&self, writes: &[Write]) {
        for (kind, id) in writes.iter().map(Write::target) {
            if let Some(shelf) = self.shelves().get_mut(&kind) {
                shelf.remove(id);
                if kind.announced() {
                    // Until it is heard of.
                    shelf.unknown.insert(id.into());
                }
            }
        }
    }

    /// The record, if it is remembered; that there is none, if all are. Its lease has gone on running.
    pub fn get(&self, kind: Kind, id: &str) -> Option<Option<Row>> {
        let shelves = self.shelves();
        let shelf = shelves.get(&kind)?;
        match shelf.rows.get(id) {
            Some((row, at)) => Some(Some(aged(row, *at))),
            None => (shelf.whole && !shelf.unknown.contains(id) && !shelf.damaged.contains(id)).then_some(None),
        }
    }

    /// A page, if all records of the kind are remembered.
    pub fn find(&self, find: &Find) -> Option<Found> {
        let shelves = self.shelves();
        let shelf = shelves.get(&find.kind).filter(|shelf| shelf.whole && shelf.unknown.is_empty())?;
        let index = if find.index.is_empty() { None } else { Some(find.kind.index(&find.index)?) };
        let mut placed: Vec<(Vec<Key>, &str)> = Vec::new();
        for (row, _) in shelf.rows.values() {
            let Some(keys) = keys(index, row) else { continue };
            let position = if index.is_none() { Vec::new() } else { keys.clone() };
            if !index.is_some_and(|index| index::left_out(index, &keys)) && fits(find, &keys, &position, &row.id) {
                placed.push((position, &row.id));
            }
        }
        placed.sort();
        if find.descending {
            placed.reverse();
        }
        Some(page(shelf, &placed, usize::from(find.limit)))
    }

    /// Remembers all records of the announced kinds that are to be remembered, and follows their changes.
    pub async fn follow<S: Store>(&self, store: &S) {
        let mut tail = store.tail();
        loop {
            while !self.read_all(store).await {
                sleep(PAUSE).await;
            }
            loop {
                match tail.recv().await {
                    Ok(Tail::Change(change)) if cached(change.kind) => {
                        match store.get(change.kind, &change.record).await {
                            Ok(row) => self.heard(change.kind, &change.record, row),
                            Err(Trouble::Damaged(damage)) => {
                                self.heard(damage.kind, &change.record, None);
                                self.shelves().entry(damage.kind).or_default().damaged.insert(change.record);
                            }
                            Err(_) => break,
                        }
                    }
                    Ok(Tail::Change(_)) => {}
                    Ok(Tail::Gap) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    async fn read_all<S: Store>(&self, store: &S) -> bool {
        for kind in Kind::ALL.iter().copied().filter(|kind| cached(*kind) && kind.announced()) {
            let Some(shelf) = whole(store, kind).await else { return false };
            self.shelves().insert(kind, shelf);
        }
        true
    }
}

/// All records of a kind, as far as there is room; nothing if the store does not answer.
async fn whole<S: Store>(store: &S, kind: Kind) -> Option<Shelf> {
    let mut shelf = Shelf { whole: true, ..Shelf::default() };
    let mut find = Find::all(kind);
    loop {
        let found = store.find(find.clone()).await.ok()?;
        found.rows.into_iter().for_each(|row| shelf.put(row));
        shelf.damaged.extend(found.damaged.into_iter().map(|damage| damage.id));
        find.after = found.next;
        if find.after.is_none() || !shelf.whole {
            return Some(shelf);
        }
    }
}

fn aged(row: &Row, at: Instant) -> Row {
    let mut row = row.clone();
    if let Some(lease) = &mut row.lease {
        lease.left = lease.left.saturating_sub(at.elapsed().as_millis() as u64);
    }
    row
}

fn keys(index: Option<&Index>, row: &Row) -> Option<Vec<Key>> {
    match index {
        None => Some(vec![Key::Text(row.id.clone())]),
        Some(index) => index::keys(index, &serde_json::from_slice(&row.body).ok()?).ok(),
    }
}

/// Whether a record is what the query is about. Its bounds are of one type each, as [`crate::request`] sees to.
fn fits(find: &Find, keys: &[Key], position: &[Key], id: &str) -> bool {
    let next = keys.get(find.equal.len());
    let alike = |bound: &Key| next.is_some_and(|key| std::mem::discriminant(key) == std::mem::discriminant(bound));
    keys.starts_with(&find.equal)
        && find.from.as_ref().is_none_or(|from| alike(from) && next >= Some(from))
        && find.to.as_ref().is_none_or(|to| alike(to) && next < Some(to))
        && find.after.as_ref().is_none_or(|after| {
            let (here, there) = ((position, id), (&after.keys[..], &after.id[..]));
            if find.descending { here < there } else { here > there }
        })
}

fn page(shelf: &Shelf, placed: &[(Vec<Key>, &str)], limit: usize) -> Found {
    let mut found = Found::default();
    let mut bytes = 0;
    for (keys, id) in placed {
        if found.rows.len() == limit || bytes > PAGE_BYTES {
            let (keys, id) = &placed[found.rows.len() - 1];
            found.next = Some(Position { keys: keys.clone(), id: (*id).into() });
            break;
        }
        let _ = keys;
        if let Some((row, at)) = shelf.rows.get(*id) {
            bytes += row.body.len();
            found.rows.push(aged(row, *at));
        }
    }
    found
}
