//! Keeping the directory fresh: each message names a record, which is read again; a gap reads everything again.

use std::sync::Arc;
use std::time::Duration;

use culvert_model::record::{Certificate, Organization, Revocation, Server, Settings, User};
use culvert_model::{HostId, Id, Kind, Record};
use culvert_records::{Bus, Change, Failure, News};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Directory, Shared};

/// Messages are hints: without any, everything is read again after this time.
const REREAD: Duration = Duration::from_secs(300);

/// The most by which a re-read waits after a gap, so that hosts do not all ask at once.
const JITTER: Duration = Duration::from_millis(300);

/// How long a store that is away is left alone between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The most messages that are taken together.
const TOGETHER: usize = 200;

/// Keeps the directory fresh for as long as the process lives. `instances` hears of every change to an instance, and of
/// every gap.
pub async fn follow(bus: Bus, host: HostId, shared: Arc<Shared>, instances: Arc<Notify>) {
    let kinds = [
        Kind::User,
        Kind::Certificate,
        Kind::Revocation,
        Kind::Organization,
        Kind::Server,
        Kind::Settings,
        Kind::Instance,
    ];
    let mut subscription = bus.subscribe(&kinds).await;
    let mut follower = Follower { bus, host, shared, stale: true, due: Instant::now() + REREAD };
    loop {
        if follower.stale {
            follower.reread().await;
            instances.notify_one();
        }
        let (mut changes, mut gap) = (Vec::new(), false);
        let mut news = timeout_at(follower.due, subscription.next()).await.ok();
        if news.is_none() {
            follower.stale = true;
        }
        while let Some(one) = news.take() {
            match one {
                News::Gap => (follower.stale, gap) = (true, follower.shared.ready()),
                News::Changed(change) if change.kind == Kind::Instance => instances.notify_one(),
                News::Changed(change) => changes.push(change),
            }
            if changes.len() < TOGETHER {
                news = timeout(Duration::ZERO, subscription.next()).await.ok();
            }
        }
        if !follower.stale && !follower.apply(changes).await {
            follower.stale = true;
        }
        if gap {
            sleep(jitter()).await;
        }
    }
}

fn jitter() -> Duration {
    JITTER * u32::from(Id::new().bytes()[11]) / 256
}

struct Follower {
    bus: Bus,
    host: HostId,
    shared: Arc<Shared>,
    stale: bool,
    due: Instant,
}

/// A record as it is now, to be taken in; or its absence.
enum Fresh {
    User(Id, Option<Box<User>>),
    Certificate(Id, Option<Box<Certificate>>),
    Organization(Id, Option<Box<Organization>>),
    Server(Id, Option<Box<Server>>),
    Settings(Option<Box<Settings>>),
    /// Of a certificate of this organisation with this serial number.
    Revocation(Id, String, bool),
}

impl Follower {
    /// Until it is done.
    async fn reread(&mut self) {
        loop {
            match Directory::load(&self.bus, self.host).await {
                Ok(directory) => {
                    self.shared.change(|old| *old = directory);
                    self.stale = false;
                    self.due = Instant::now() + REREAD + jitter();
                    return;
                }
                Err(failure) => {
                    tracing::warn!(%failure, "users and servers cannot be read; what is known stays in force");
                    sleep(PAUSE + jitter()).await;
                }
            }
        }
    }

    /// Takes in what these messages name; tells whether that succeeded.
    async fn apply(&mut self, mut changes: Vec<Change>) -> bool {
        changes.sort_by(|a, b| (a.kind, &a.record).cmp(&(b.kind, &b.record)));
        changes.dedup_by(|a, b| (a.kind, &a.record) == (b.kind, &b.record));
        let mut fresh = Vec::new();
        for change in changes.iter().filter(|change| self.matters(change)) {
            match self.fetch(change).await {
                Ok(one) => fresh.extend(one),
                Err(_) => return false,
            }
        }
        if fresh.is_empty() {
            return true;
        }
        self.shared.change(|directory| fresh.into_iter().for_each(|one| directory.take(one)));
        let directory = self.shared.read();
        // A server that is new here brings organisations whose users are not known yet.
        directory.wanted(self.host).is_subset(&directory.covered)
    }

    /// What is an organisation's matters if that does.
    fn matters(&self, change: &Change) -> bool {
        let scoped = matches!(change.kind, Kind::User | Kind::Certificate | Kind::Revocation) && change.revision != 0;
        let scope = change.scope.as_deref().and_then(|scope| scope.parse::<Id>().ok());
        !scoped || scope.is_none_or(|organization| self.shared.read().covered.contains(&organization))
    }

    async fn fetch(&self, change: &Change) -> Result<Option<Fresh>, Failure> {
        if change.kind == Kind::Settings {
            return Ok(Some(Fresh::Settings(self.get(change).await?)));
        }
        if change.kind == Kind::Revocation {
            let named = change.record.split_once('-').and_then(|(id, serial)| Some((id.parse().ok()?, serial.into())));
            let Some((organization, serial)) = named else { return Ok(None) };
            let there = self.get::<Revocation>(change).await?.is_some();
            return Ok(Some(Fresh::Revocation(organization, serial, there)));
        }
        let Ok(id) = change.record.parse::<Id>() else { return Ok(None) };
        Ok(Some(match change.kind {
            Kind::User => Fresh::User(id, self.get(change).await?),
            Kind::Certificate => Fresh::Certificate(id, self.get(change).await?),
            Kind::Organization => Fresh::Organization(id, self.get(change).await?),
            Kind::Server => Fresh::Server(id, self.get(change).await?),
            _ => return Ok(None),
        }))
    }

    /// A message may be older than its record: what the store has now counts.
    async fn get<T: Record>(&self, change: &Change) -> Result<Option<Box<T>>, Failure> {
        Ok(self.bus.get::<T>(&change.record).await?.map(|stored| Box::new(stored.record)))
    }
}

impl Directory {
    fn take(&mut self, fresh: Fresh) {
        match fresh {
            Fresh::User(_, Some(user)) if self.covered.contains(&user.organization) => self.put_user(*user),
            Fresh::User(id, _) => self.drop_user(id),
            Fresh::Certificate(_, Some(certificate)) => self.put_certificate(&certificate),
            Fresh::Certificate(id, None) => self.drop_certificate(id),
            Fresh::Organization(id, Some(organization)) => drop(self.organizations.insert(id, *organization)),
            Fresh::Organization(id, None) => drop(self.organizations.remove(&id)),
            Fresh::Server(id, Some(server)) => drop(self.servers.insert(id, *server)),
            Fresh::Server(id, None) => drop(self.servers.remove(&id)),
            Fresh::Revocation(organization, serial, true) => self.put_revocation(organization, serial),
            Fresh::Revocation(organization, serial, false) => self.drop_revocation(organization, &serial),
            Fresh::Settings(settings) => self.settings = settings.map(|settings| *settings).unwrap_or_default(),
        }
    }
}
