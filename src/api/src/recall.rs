//! What was read last of what the bus does not remember, for as long as the database is away: how many users an
//! organisation has, what runs, and who is connected. Without it no list of organisations, hosts or servers could be shown,
//! though the bus remembers those. What was never read is shown as none; the answer is marked in any case.

use std::collections::BTreeMap;
use std::sync::Mutex;

use culvert_model::record::{Connection, Instance, User};
use culvert_model::{Id, Record};
use culvert_records::{Bus, Failure, Query, note_remembered};

/// The most records of a kind that are remembered.
const MOST: usize = 10_000;

/// What was read last.
#[derive(Debug, Default)]
pub struct Recall {
    users: Mutex<BTreeMap<Id, u64>>,
    instances: Shelf<Instance>,
    connections: Shelf<Connection>,
}

/// Records by their servers.
#[derive(Debug)]
struct Shelf<T>(Mutex<Read<T>>);

#[derive(Debug)]
struct Read<T>(BTreeMap<Id, Vec<T>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::new(Read(BTreeMap::new())))
    }
}

impl Recall {
    /// How many users an organisation has.
    ///
    /// # Errors
    ///
    /// The bus can't be reached, or the request makes no sense.
    pub async fn users(&self, bus: &Bus, organization: Id) -> Result<u64, Failure> {
        let counted = bus.count::<User>(Query::by("by_organization").equal(organization)).await;
        let mut users = self.users.lock().expect("nobody panics while holding this");
        match counted {
            Ok(count) => {
                if users.len() < MOST || users.contains_key(&organization) {
                    users.insert(organization, count);
                }
                Ok(count)
            }
            Err(failure) => recalled(failure, users.get(&organization).copied().unwrap_or_default()),
        }
    }

    /// The instances of a server, or of all.
    ///
    /// # Errors
    ///
    /// As [`Self::users`].
    pub async fn instances(&self, bus: &Bus, server: Option<Id>) -> Result<Vec<Instance>, Failure> {
        self.instances.list(bus, server, |instance| instance.server).await
    }

    /// Who is connected to a server, or to any.
    ///
    /// # Errors
    ///
    /// As [`Self::users`].
    pub async fn connections(&self, bus: &Bus, server: Option<Id>) -> Result<Vec<Connection>, Failure> {
        self.connections.list(bus, server, |connection| connection.server).await
    }
}

impl<T: Record + Clone> Shelf<T> {
    async fn list(&self, bus: &Bus, server: Option<Id>, of: impl Fn(&T) -> Id) -> Result<Vec<T>, Failure> {
        let query = Query::by("by_server");
        let listed = bus.list::<T>(server.map_or(query.clone(), |server| query.equal(server))).await;
        let mut read = self.0.lock().expect("nobody panics while holding this");
        match listed {
            Ok(all) => {
                let all: Vec<T> = all.into_iter().map(|stored| stored.record).collect();
                read.keep(server, &all, of);
                Ok(all)
            }
            Err(failure) => recalled(failure, read.recall(server)),
        }
    }
}

impl<T: Clone> Read<T> {
    fn keep(&mut self, server: Option<Id>, all: &[T], of: impl Fn(&T) -> Id) {
        match server {
            Some(server) => drop(self.0.remove(&server)),
            None => self.0.clear(),
        }
        for one in all {
            self.0.entry(of(one)).or_default().push(one.clone());
        }
        if self.0.values().map(Vec::len).sum::<usize>() > MOST {
            self.0.clear();
        }
    }

    fn recall(&self, server: Option<Id>) -> Vec<T> {
        match server {
            None => self.0.values().flatten().cloned().collect(),
            Some(server) => self.0.get(&server).cloned().unwrap_or_default(),
        }
    }
}

/// A secret record, which nobody remembers: while the database is away, it is as if there were none, and the answer is
/// marked. For what is only shown.
///
/// # Errors
///
/// As [`Recall::users`].
pub async fn secret<T: Record>(bus: &Bus, id: Id) -> Result<Option<T>, Failure> {
    match bus.get::<T>(id).await {
        Ok(found) => Ok(found.map(|stored| stored.record)),
        Err(failure) => recalled(failure, None),
    }
}

/// What is answered instead of a failure, and marked, if the database is away.
fn recalled<T>(failure: Failure, known: T) -> Result<T, Failure> {
    match failure {
        Failure::Unavailable => {
            note_remembered();
            Ok(known)
        }
        failure => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known() {
        let [one, two] = [Id::new(), Id::new()];
        let mut read = Read(BTreeMap::new());
        read.keep(Some(one), &[(one, 1)], |it: &(Id, u8)| it.0);
        assert_eq!((read.recall(None), read.recall(Some(one))), (vec![(one, 1)], vec![(one, 1)]));
        read.keep(None, &[(two, 2), (two, 3)], |it| it.0);
        assert_eq!((read.recall(Some(one)).len(), read.recall(Some(two)).len()), (0, 2));
        read.keep(Some(two), &[], |it| it.0);
        assert_eq!(read.recall(None), [], "what is gone is known to be");
    }

    #[test]
    fn too_much_is_not_kept() {
        let mut read = Read(BTreeMap::new());
        let server = Id::new();
        read.keep(None, &vec![0_u8; MOST + 1], |_| server);
        assert!(read.recall(None).is_empty());
    }

    #[test]
    fn only_an_outage_is_bridged() {
        assert!(matches!(recalled(Failure::Unavailable, 1), Ok(1)));
        assert!(recalled(Failure::Busy, 1).is_err() && recalled(Failure::Denied, 1).is_err());
    }
}
