//! What this process knows of servers, organisations and users: read from the store, kept fresh by messages, asked by
//! every decision.

mod follow;
mod load;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_model::record::{Certificate, Organization, Server, Settings, User};
use culvert_model::{HostId, Id};
use tokio::sync::watch;

pub use follow::follow;

/// The records themselves.
#[derive(Debug, Default)]
pub struct Directory {
    /// All servers.
    pub servers: BTreeMap<Id, Server>,
    /// All organisations.
    pub organizations: BTreeMap<Id, Organization>,
    /// The cluster's settings.
    pub settings: Settings,
    /// The organisations whose users are here.
    pub(crate) covered: BTreeSet<Id>,
    users: HashMap<Id, User>,
    /// By fingerprint.
    certificates: HashMap<String, Leaf>,
    /// Serial numbers, by the organisation whose CA signed them.
    revoked: HashMap<Id, HashSet<String>>,
}

/// What counts of a user's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate.
    pub certificate: Id,
    /// Whose it is, if it is still that user's.
    pub subject: Id,
    /// Whether the user has another one, beside which this one is good for a while.
    pub replaced: bool,
}

impl Directory {
    /// The user of this id, if its organisation is covered.
    #[must_use]
    pub fn user(&self, id: Id) -> Option<&User> {
        self.users.get(&id)
    }

    /// The certificate of this fingerprint.
    #[must_use]
    pub fn leaf(&self, fingerprint: &str) -> Option<Leaf> {
        self.certificates.get(fingerprint).copied()
    }

    /// Whether this organisation's certificate of this serial number was revoked.
    #[must_use]
    pub fn revoked(&self, organization: Id, serial: &str) -> bool {
        self.revoked.get(&organization).is_some_and(|serials| serials.contains(serial))
    }

    /// Whether every user of this server is here.
    #[must_use]
    pub fn covers(&self, server: &Server) -> bool {
        server.organizations.iter().all(|organization| self.covered.contains(organization))
    }

    /// The organisations whose users may come to a server that this host may run.
    #[must_use]
    pub fn wanted(&self, host: HostId) -> BTreeSet<Id> {
        let ours = self.servers.values().filter(|server| server.runs_on(host));
        ours.flat_map(|server| server.organizations.iter().copied()).collect()
    }

    /// Takes in a user as the store has it now.
    pub fn put_user(&mut self, user: User) {
        self.users.insert(user.id, user);
    }

    /// Forgets a user.
    pub fn drop_user(&mut self, id: Id) {
        self.users.remove(&id);
    }

    /// Takes in a certificate.
    pub fn put_certificate(&mut self, certificate: &Certificate) {
        let replaced = certificate.replaced.is_some();
        let leaf = Leaf { certificate: certificate.id, subject: certificate.subject, replaced };
        self.certificates.insert(certificate.fingerprint.clone(), leaf);
    }

    /// Forgets a certificate.
    pub fn drop_certificate(&mut self, id: Id) {
        self.certificates.retain(|_, leaf| leaf.certificate != id);
    }

    /// Takes in that a certificate was revoked.
    pub fn put_revocation(&mut self, organization: Id, serial: String) {
        self.revoked.entry(organization).or_default().insert(serial);
    }

    /// Forgets that: the certificate has expired.
    pub fn drop_revocation(&mut self, organization: Id, serial: &str) {
        if let Some(serials) = self.revoked.get_mut(&organization) {
            serials.remove(serial);
        }
    }
}

/// The directory, shared between the tasks of this process.
#[derive(Debug)]
pub struct Shared {
    directory: Mutex<Directory>,
    /// Raised with each change; 0 until the directory was read for the first time.
    version: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { directory: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl Shared {
    /// The directory as it is now. Not to be held across a wait.
    pub fn read(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the directory and tells everybody.
    pub fn change(&self, change: impl FnOnce(&mut Directory)) {
        change(&mut self.read());
        self.version.send_modify(|version| *version += 1);
    }

    /// Resolves with each change; 0 until the directory was read.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whether the directory was read.
    #[must_use]
    pub fn ready(&self) -> bool {
        *self.version.borrow() > 0
    }

    /// Waits until the directory was read, at most this long; tells whether it was.
    pub async fn wait(&self, most: Duration) -> bool {
        let mut versions = self.versions();
        tokio::time::timeout(most, versions.wait_for(|version| *version > 0)).await.is_ok()
    }
}
