//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use culvert_model::record::{Host, Log};
use culvert_model::{HostId, Id, Kind, Millis, Record};
use culvert_records::{Bus, Failure, Stored};
use tokio::sync::{Mutex, Semaphore, broadcast, watch};
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answer, No};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::crl::Lists;
use crate::event::Feed;
use crate::limiter::Limiter;
use crate::password::Hasher;
use crate::recall::Recall;
use crate::take::Takes;

/// Requests that are being answered at the same time.
const PLACES: usize = 256;

/// Answers to guessed codes that are held back at the same time.
const GUESSES: usize = 64;

/// Attempts to log in from one address in a window of the limiter, successes included: many people may share one.
const FROM_ONE: u32 = 200;

/// What all requests share. Cheap to clone. Nothing here is state of the cluster: any api can answer any request.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

/// See [`Api`].
#[derive(Debug)]
pub struct Inner {
    /// The records.
    pub bus: Bus,
    /// Hashes of passwords and PINs.
    pub hasher: Hasher,
    /// Who tried to log in how often.
    pub logins: Limiter,
    /// Likewise under names that nobody has.
    pub strangers: Limiter,
    /// Likewise from where, whatever the name: one address is not to keep all hashing to itself.
    pub addresses: Limiter,
    /// What consoles are told.
    pub feed: Feed,
    /// Whether there is an administrator.
    pub first: watch::Sender<bool>,
    /// How many answers there were.
    pub counters: Counters,
    /// How what was made before was taken.
    pub takes: Takes,
    /// Places for requests, those that wait for events not counted.
    pub places: Arc<Semaphore>,
    /// Places for answers that are held back because a code was guessed.
    pub guesses: Semaphore,
    /// What was read last of what the bus does not remember.
    pub recall: Recall,
    /// Lists of revoked certificates that were just read.
    pub lists: Lists,
    /// Held while a network or a port is chosen for a server.
    pub choosing: Mutex<()>,
    clock: Clock,
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Api {
    /// Over this bus.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self(Arc::new(Inner {
            bus,
            hasher: Hasher::default(),
            logins: Limiter::default(),
            strangers: Limiter::default(),
            addresses: Limiter::of(FROM_ONE),
            feed: Feed::default(),
            first: watch::Sender::new(false),
            counters: Counters::default(),
            takes: Takes::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            guesses: Semaphore::new(GUESSES),
            recall: Recall::default(),
            lists: Lists::default(),
            choosing: Mutex::default(),
            clock: Clock::default(),
        }))
    }
}

impl Inner {
    /// Milliseconds since 1970 by the store's clock.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn now(&self) -> Answer<Millis> {
        Ok(self.clock.now(&self.bus).await?)
    }

    /// The record of this id, or 404.
    ///
    /// # Errors
    ///
    /// It is not there, or the store can't be reached.
    pub async fn have<T: Record>(&self, id: impl ToString, what: &'static str) -> Answer<Stored<T>> {
        self.bus.get(id).await?.ok_or_else(|| No::missing(what))
    }

    /// The host that this process runs on.
    ///
    /// # Errors
    ///
    /// The bus can't be reached.
    pub async fn host(&self) -> Answer<HostId> {
        Ok(self.bus.standing().await?.0)
    }

    /// This host's record, if its bus has made it.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn own_host(&self) -> Answer<Option<Stored<Host>>> {
        let id = self.host().await?;
        Ok(self.bus.get(id).await?)
    }

    /// Waits for changes to records of these kinds, as long as there is patience.
    pub fn watch(&self, kinds: &'static [Kind], patience: Duration) -> Watch {
        Watch { changes: self.feed.changes(), kinds, end: Instant::now() + patience }
    }

    /// Changes a record: reads it, lets `change` do its work, writes it, and begins again if somebody else wrote it
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// It is not there, `change` refused, the store can't be reached, or others write it all the time.
    pub async fn change<T: Record, R>(
        &self,
        id: impl ToString,
        what: &'static str,
        mut change: impl FnMut(&mut T) -> Answer<R>,
    ) -> Answer<(T, R)> {
        let id = id.to_string();
        for _ in 0..5 {
            let mut stored = self.have::<T>(&id, what).await?;
            let result = change(&mut stored.record)?;
            match self.bus.update(&mut stored).await {
                Ok(()) => return Ok((stored.record, result)),
                Err(Failure::Refused { why: culvert_records::Refusal::Stale { .. }, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(No::raced())
    }

    /// Writes down what happened, for administrators. That this may fail does not undo what happened.
    pub async fn note(&self, message: String) {
        let timestamp = self.now().await.map_or(0, |now| (now / 1000) as i64);
        if let Err(failure) = self.bus.insert(&Log { id: Id::new(), timestamp, message }).await {
            tracing::warn!(%failure, "could not write to the log");
        }
    }
}

/// Waits for changes: look, and while there is nothing to see, ask [`Watch::next`].
#[derive(Debug)]
pub struct Watch {
    changes: broadcast::Receiver<Kind>,
    kinds: &'static [Kind],
    end: Instant,
}

impl Watch {
    /// Returns at the next change, or after a second, since a change may go untold; false when patience is at its end.
    pub async fn next(&mut self) -> bool {
        if Instant::now() >= self.end {
            return false;
        }
        let again = (Instant::now() + Duration::from_secs(1)).min(self.end);
        let news = async {
            // Who lags behind has missed something, and looks.
            while self.changes.recv().await.is_ok_and(|kind| !self.kinds.contains(&kind)) {}
        };
        let _ = timeout_at(again, news).await;
        true
    }
}
