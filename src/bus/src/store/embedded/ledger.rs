//! Records and their keys, inside the writer's transaction.

use culvert_model::{HostId, Id, Index, Kind};
use culvert_wire::bus::{Change, Fault, Guard, Key, Refusal, Row, Write};
use rusqlite::types::Value as Column;
use rusqlite::{Connection, params};
use serde_json::{Map, Value};

use super::trouble::Stop;
use super::{key, lease, row};
use crate::store::{Damage, index, wall};

/// What is known and gathered while requests are carried out.
pub struct Ledger<'c> {
    /// The writer's, in a transaction.
    pub connection: &'c Connection,
    /// The boot's clock at the transaction's beginning.
    pub now: i64,
    /// This host, whose claims guards are about.
    pub host: HostId,
    /// What is to be announced if the transaction is committed.
    pub changes: Vec<Change>,
}

/// A body as an object, and its keys in the indexes that it is found by.
#[derive(Default)]
pub struct Image {
    object: Map<String, Value>,
    /// Its keys.
    pub keys: Keys,
}

pub type Keys = Vec<(&'static Index, Vec<u8>)>;

impl Image {
    /// Of a body of this kind.
    pub fn of(kind: Kind, body: &[u8]) -> Result<Self, Fault> {
        Self::of_object(kind, index::parse(kind, body)?)
    }

    /// Of a body that was looked at as a whole before.
    fn again(kind: Kind, body: &[u8]) -> Result<Self, Fault> {
        Self::of_object(kind, index::sketch(kind, body)?)
    }

    fn of_object(kind: Kind, object: Map<String, Value>) -> Result<Self, Fault> {
        let mut found_by = Keys::with_capacity(kind.indexes().len());
        for index in kind.indexes() {
            let keys = index::keys(index, &object)?;
            if !index::left_out(index, &keys) {
                found_by.push((index, key::encode(&keys)));
            }
        }
        Ok(Self { object, keys: found_by })
    }
}

/// The name under which an index's keys stand.
pub fn tree(kind: Kind, index: &str) -> String {
    format!("{}.{index}", kind.name())
}

impl Ledger<'_> {
    /// Carries out one write. Gives the record's new revision; 0 for deletions and checks.
    pub fn write(&mut self, write: &Write) -> Result<u64, Stop> {
        match write {
            Write::Insert { kind, id, body } => self.insert(*kind, id, body),
            Write::Update { kind, id, guard, body } => {
                let old = self.guarded(*kind, id, guard)?;
                let image = Image::again(*kind, body)?;
                self.replace(*kind, &old, &image, body)
            }
            // On no condition, whatever is there goes.
            Write::Delete { kind, id, guard } if *guard == Guard::default() => {
                let old = self.look(*kind, id)?.ok();
                self.remove(*kind, id, old.as_ref()).map(|()| 0)
            }
            Write::Delete { kind, id, guard } => {
                let old = self.guarded(*kind, id, guard)?;
                self.remove(*kind, id, Some(&old)).map(|()| 0)
            }
            Write::Add { kind, id, field, delta } => self.add(*kind, id, field, *delta),
            Write::Check { kind, id, guard } => self.guarded(*kind, id, guard).map(|_| 0),
            Write::Unheld { kind, id } => self.there(*kind, id).and_then(lease::unheld).map(|_| 0),
        }
    }

    /// The record, if it is there and whole.
    pub fn there(&self, kind: Kind, id: &str) -> Result<Row, Stop> {
        Ok(self.look(kind, id)??)
    }

    /// The record, whole or not, if it is there.
    fn look(&self, kind: Kind, id: &str) -> Result<Result<Row, Damage>, Stop> {
        row::get(self.connection, kind, id, self.now)?.ok_or_else(|| Stop::refused(Refusal::Missing))
    }

    /// Puts a body in the place of whatever is there, or removes it.
    pub fn repair(&mut self, kind: Kind, id: &str, body: Option<&[u8]>) -> Result<(), Stop> {
        let image = body.map(|body| Image::of(kind, body)).transpose()?;
        let old = self.look(kind, id)?;
        let revision = old.as_ref().map_or(0, |row| row.revision) + 1;
        self.remove(kind, id, old.as_ref().ok())?;
        let (Some(image), Some(body)) = (image, body) else { return Ok(()) };
        self.connection.prepare_cached("INSERT INTO records VALUES (?, ?, ?, ?)")?.execute(params![
            kind.name(),
            id,
            revision as i64,
            body
        ])?;
        self.move_keys(kind, id, &Keys::new(), &image.keys)?;
        self.changed(kind, id, revision, &image.object);
        Ok(())
    }

    /// The record, if it fulfils the guard.
    fn guarded(&self, kind: Kind, id: &str, guard: &Guard) -> Result<Row, Stop> {
        let row = self.there(kind, id)?;
        if guard.revision.is_some_and(|revision| revision != row.revision) {
            return Err(Stop::refused(Refusal::Stale { revision: row.revision }));
        }
        if guard.claim.as_ref().is_some_and(|claim| !lease::holds(&row, self.host, claim)) {
            return Err(Stop::refused(Refusal::NotHeld { lease: row.lease }));
        }
        Ok(row)
    }

    fn insert(&mut self, kind: Kind, id: &str, body: &[u8]) -> Result<u64, Stop> {
        let image = Image::again(kind, body)?;
        let done = self
            .connection
            .prepare_cached("INSERT INTO records VALUES (?, ?, 1, ?) ON CONFLICT DO NOTHING")?
            .execute(params![kind.name(), id, body])?;
        if done == 0 {
            return Err(Stop::refused(Refusal::Exists));
        }
        self.move_keys(kind, id, &Keys::new(), &image.keys)?;
        self.changed(kind, id, 1, &image.object);
        Ok(1)
    }

    fn replace(&mut self, kind: Kind, old: &Row, image: &Image, body: &[u8]) -> Result<u64, Stop> {
        let revision = old.revision + 1;
        let before = self.keys_before(kind, &old.id, Some(&old.body))?;
        self.move_keys(kind, &old.id, &before.keys, &image.keys)?;
        self.connection
            .prepare_cached("UPDATE records SET revision = ?, body = ? WHERE kind = ? AND id = ?")?
            .execute(params![revision as i64, body, kind.name(), old.id])?;
        self.changed(kind, &old.id, revision, &image.object);
        Ok(revision)
    }

    fn add(&mut self, kind: Kind, id: &str, field: &str, delta: i64) -> Result<u64, Stop> {
        let old = self.there(kind, id)?;
        let mut object = index::parse(kind, &old.body)?;
        let bad = || Fault::Invalid(format!("{field} in {} holds no whole number that can be added to", kind.name()));
        let number = object.get(field).and_then(Value::as_i64).ok_or_else(bad)?;
        object.insert(field.into(), number.checked_add(delta).ok_or_else(bad)?.into());
        let body = serde_json::to_vec(&object).expect("an object has a form in JSON");
        self.replace(kind, &old, &Image::of_object(kind, object)?, &body)
    }

    /// Deletes a record with its keys and its lease; if it is damaged, nothing of it is known.
    pub fn remove(&mut self, kind: Kind, id: &str, old: Option<&Row>) -> Result<(), Stop> {
        let image = self.keys_before(kind, id, old.map(|old| &old.body[..]))?;
        self.move_keys(kind, id, &image.keys, &Keys::new())?;
        for table in ["DELETE FROM records WHERE kind = ? AND id = ?", "DELETE FROM leases WHERE kind = ? AND id = ?"] {
            self.connection.prepare_cached(table)?.execute(params![kind.name(), id])?;
        }
        self.changed(kind, id, 0, &image.object);
        old.and_then(|old| old.lease.as_ref()).map_or(Ok(()), |lease| self.remember_epoch(lease))
    }

    /// The keys of a record that is there. Those that its body does not tell any more are gone: it may have been damaged
    /// after they were made.
    fn keys_before(&self, kind: Kind, id: &str, body: Option<&[u8]>) -> Result<Image, Stop> {
        let image = body.and_then(|body| Image::again(kind, body).ok()).unwrap_or_default();
        for index in kind.indexes().iter().filter(|index| image.keys.iter().all(|(known, _)| known != index)) {
            self.forget_key(kind, index, id)?;
        }
        Ok(image)
    }

    /// Deletes a record's key without knowing it. This looks at all keys of the index.
    fn forget_key(&self, kind: Kind, index: &Index, id: &str) -> Result<(), Stop> {
        self.connection
            .prepare_cached("DELETE FROM keys WHERE tree = ? AND id = ?")?
            .execute(params![tree(kind, index.name), id])?;
        Ok(())
    }

    pub fn move_keys(&self, kind: Kind, id: &str, old: &Keys, new: &Keys) -> Result<(), Stop> {
        for (index, key) in old.iter().filter(|key| !new.contains(key)) {
            let gone = self
                .connection
                .prepare_cached("DELETE FROM keys WHERE tree = ? AND key = ? AND id = ?")?
                .execute(params![tree(kind, index.name), key, id])?;
            if gone == 0 {
                // Somebody changed the body in the file: its key is another.
                self.forget_key(kind, index, id)?;
            }
        }
        for (index, key) in new.iter().filter(|key| !old.contains(key)) {
            let tree = tree(kind, index.name);
            if index.unique && self.taken(&tree, key)? {
                return Err(Stop::refused(Refusal::Taken { index: index.name.into() }));
            }
            self.connection.prepare_cached("INSERT INTO keys VALUES (?, ?, ?)")?.execute(params![tree, key, id])?;
        }
        Ok(())
    }

    fn taken(&self, tree: &str, key: &[u8]) -> Result<bool, Stop> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM keys WHERE tree = ? AND key = ?")?;
        Ok(statement.exists(params![tree, key])?)
    }

    /// Deletes at most so many of the records whose first field in an index is a smaller number.
    pub fn sweep(&mut self, kind: Kind, index: &str, before: i64, most: u16) -> Result<u64, Stop> {
        let (lower, upper) = key::span(&[], None, Some(&Key::Int(before)));
        let ids: Vec<String> = self
            .connection
            .prepare_cached("SELECT id FROM keys WHERE tree = ? AND key >= ? AND key < ? LIMIT ?")?
            .query_map(params![tree(kind, index), lower, upper, most], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in &ids {
            let row = self.look(kind, id)?.ok();
            self.remove(kind, id, row.as_ref())?;
        }
        Ok(ids.len() as u64)
    }

    fn changed(&mut self, kind: Kind, id: &str, revision: u64, object: &Map<String, Value>) {
        if kind.announced() {
            self.changes.push(Change {
                // The announcer gives it its place in the order.
                id: Id::from_bytes([0; 12]),
                kind,
                record: id.into(),
                revision,
                scope: index::scope(kind, object),
                at: wall(),
            });
        }
    }
}

/// Makes the keys of all records again.
pub fn index_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM keys", [])?;
    let mut insert = connection.prepare("INSERT INTO keys VALUES (?, ?, ?)")?;
    for kind in Kind::ALL {
        let mut records = connection.prepare("SELECT id, body FROM records WHERE kind = ?")?;
        let mut rows = records.query([kind.name()])?;
        while let Some(row) = rows.next()? {
            let id: Column = row.get(0)?;
            let image = match row::body(row.get_ref(1)?) {
                Ok(body) => Image::of(*kind, &body),
                Err(why) => Err(Fault::Invalid(why.into())),
            };
            match image {
                Ok(image) => {
                    for (index, key) in image.keys {
                        insert.execute(params![tree(*kind, index.name), key, id])?;
                    }
                }
                // It is told of when it is read; it is found by its id alone.
                Err(_) => tracing::error!(?id, kind = kind.name(), "a damaged record cannot be found by index"),
            }
        }
    }
    Ok(())
}
