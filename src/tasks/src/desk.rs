//! What a run of a task works with: it reads page by page, and changes only what is still as it was seen.
//!
//! Whatever a run decides, it decides on what it has read, and that may have changed since: a host is back, a client has
//! connected again. So every change carries the revision that was seen, and the reservation under which the run acts.
//! What was refreshed in between stays; who was paused and lost the reservation changes nothing any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use culvert_lease::Terms;
use culvert_model::record::Log;
use culvert_model::{HostId, Id, Millis, Record};
use culvert_records::{BATCH, Bus, Failure, Guard, Hold, Key, Query, Stored, Write, delete, insert};
use tokio::time::sleep;

use crate::fence::{Fence, OWNER};

/// So many records are changed together: half a batch, so that there is room for the conditions.
pub const TOGETHER: usize = BATCH / 2;

/// So many records are remembered while they are watched; whatever else there is, the next run finds.
pub const WATCHED: usize = 1_000;

/// How long what seems left behind is watched before it is taken for that: longer than anybody waits for a certificate.
pub const GRACE: Duration = Duration::from_secs(60);

/// What a run gets to work with.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The records.
    pub bus: &'a Bus,
    /// This host.
    pub host: HostId,
    /// When the run began, milliseconds since 1970 by the store's clock.
    pub now: Millis,
    /// How long what seems left behind is watched before it is taken for that.
    pub grace: Duration,
    /// The reservation; a test may run a task without one.
    pub fence: Option<Fence>,
}

impl Desk<'_> {
    /// All records of a query: for kinds of which a cluster has few, like its hosts and servers.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn all<T: Record>(&self, query: Query) -> Result<Vec<Stored<T>>, Failure> {
        let mut all = Vec::new();
        let mut pages = self.bus.pages(query);
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// All records of a kind of which a cluster has few, if every one is whole: what a damaged one refers to nobody knows.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn every<T: Record>(&self) -> Result<Option<Vec<Stored<T>>>, Failure> {
        // Before and after, since others may come and go meanwhile.
        let before = self.bus.count::<T>(Query::all()).await?;
        let all = self.all(Query::all()).await?;
        let after = self.bus.count::<T>(Query::all()).await?;
        Ok((before.max(after) <= all.len() as u64).then_some(all))
    }

    /// Looks for these records. They are read in the order of ids from the first to the last: right for ids that lie close
    /// together.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn see<T: Record>(&self, ids: &BTreeSet<String>) -> Result<Seen<T>, Failure> {
        let mut seen = Seen { there: BTreeMap::new(), absent: BTreeSet::new() };
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(seen) };
        let range = Query::all().from(Key::Text(first.clone())).to(Key::Text(format!("{last}\0")));
        let mut pages = self.bus.pages::<T>(range);
        while let Some(page) = pages.next().await? {
            let found = page.into_iter().map(|stored| (stored.record.id(), stored));
            seen.there.extend(found.filter(|(id, _)| ids.contains(id)));
        }
        for id in ids {
            if !seen.there.contains_key(id) && self.is_absent::<T>(id).await? {
                seen.absent.insert(id.clone());
            }
        }
        Ok(seen)
    }

    /// Those of these records that are not there.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn absent<T: Record>(&self, ids: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        Ok(self.see::<T>(ids).await?.absent)
    }

    /// Whether there is no such record, damaged or whole.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn is_absent<T: Record>(&self, id: impl ToString) -> Result<bool, Failure> {
        Ok(self.bus.count::<T>(Query::all().equal(id)).await? == 0)
    }

    /// Gives whatever was seen just now the time to change, if it is anybody's.
    pub async fn watch(&self) {
        sleep(self.grace).await;
    }

    /// Writes that happen all or none. False if one of them was refused: something is not as it was seen.
    ///
    /// # Errors
    ///
    /// This host does not have the run any more, or the store can't be reached.
    pub async fn write(&self, mut writes: Vec<Write>) -> Result<bool, Failure> {
        let first = u16::from(self.fence.is_some());
        if let Some(fence) = &self.fence {
            writes.insert(0, fence.check().await?);
        }
        match self.bus.write(writes).await {
            Ok(_) => Ok(true),
            Err(Failure::Refused { write, .. }) if write >= first => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Removes those of these records that are still as they were seen, as long as all of `on` holds. How many.
    ///
    /// # Errors
    ///
    /// As [`Desk::write`].
    pub async fn remove<T: Record>(&self, seen: &[Stored<T>], on: &[Write]) -> Result<u64, Failure> {
        let mut removed = 0;
        for some in seen.chunks(TOGETHER) {
            if self.write(removal(some, on)).await? {
                removed += some.len() as u64;
                continue;
            }
            // One of them has changed, or is gone already: one by one.
            for one in some.chunks(1).filter(|_| some.len() > 1) {
                removed += u64::from(self.write(removal(one, on)).await?);
            }
        }
        Ok(removed)
    }

    /// Removes a record that is still as it was seen, together with its secret of the same id, if it has one.
    ///
    /// # Errors
    ///
    /// As [`Desk::write`].
    pub async fn remove_with<T: Record, S: Record>(&self, seen: &Stored<T>) -> Result<bool, Failure> {
        let one = std::slice::from_ref(seen);
        if self.write(removal(one, &[delete::<S>(seen.record.id(), Guard::default())])).await? {
            return Ok(true);
        }
        Ok(self.remove(one, &[]).await? > 0)
    }

    /// Removes a record that nothing refers to any more, if it is there.
    ///
    /// # Errors
    ///
    /// As [`Desk::write`].
    pub async fn erase<T: Record>(&self, id: impl ToString) -> Result<bool, Failure> {
        self.write(vec![delete::<T>(id, Guard::default())]).await
    }

    /// Writes something about a record that others hold at times: under its lease, so that whoever takes it in this moment
    /// has it, or comes after us. False if it is not as it was seen any more, or somebody holds it.
    ///
    /// # Errors
    ///
    /// As [`Desk::write`].
    pub async fn settle<T: Record>(
        &self,
        seen: &Stored<T>,
        writes: impl FnOnce(Guard) -> Vec<Write>,
    ) -> Result<bool, Failure> {
        let Some((hold, held)) = Hold::claim(self.bus, seen, OWNER, MOMENT).await? else { return Ok(false) };
        let written = match hold.held() {
            Some(claim) => self.write(writes(Guard { revision: Some(held.revision), claim: Some(claim) })).await,
            None => Ok(false),
        };
        hold.release().await;
        written
    }

    /// The entry in the administrators' log.
    pub fn note(&self, message: String) -> Write {
        insert(&Log { id: Id::new(), timestamp: (self.now / 1000) as i64, message })
    }
}

/// What was found of some records. One that is damaged is neither there nor absent: nobody knows what it says.
#[derive(Debug)]
pub struct Seen<T> {
    /// Those that are whole, by id.
    pub there: BTreeMap<String, Stored<T>>,
    /// The ids of those that are not there.
    pub absent: BTreeSet<String>,
}

/// For how long a record is taken that is only changed or removed: it is never renewed.
const MOMENT: Terms = Terms::of(5_000);

/// On the condition that this record is as it was seen.
pub fn unless_changed<T: Record>(seen: &Stored<T>) -> Write {
    Write::Check { kind: T::KIND, id: seen.record.id(), guard: seen.unchanged() }
}

fn removal<T: Record>(seen: &[Stored<T>], on: &[Write]) -> Vec<Write> {
    let removals = seen.iter().map(|stored| delete::<T>(stored.record.id(), stored.unchanged()));
    on.iter().cloned().chain(removals).collect()
}
