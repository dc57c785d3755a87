//! The life of certificates: those that end soon are told of, and renewed where nobody has to do anything for it; those
//! that were replaced are good for a while and are then revoked; the lists of the revoked are kept fresh.

use std::collections::HashMap;

use culvert_jobs::demand;
use culvert_model::record::{
    Certificate, CertificateKey, CertificateState, Crl, Instance, Job, Log, Organization, Priority, Purpose,
    Revocation, Server, Settings, Tls, User, Work,
};
use culvert_model::{Id, Millis};
use culvert_records::{Failure, Guard, Key, Query, Stored, delete, insert};
use culvert_revocation::{listing, withdrawal};

use super::{Done, counted};
use crate::desk::Desk;

/// How often a removal is tried anew: others may be having the same list signed.
const TRIES: usize = 5;

const DAY: Millis = 24 * 3600 * 1000;

/// Days before the end at which administrators are told, besides those of the settings.
const DAYS: [u32; 3] = [7, 1, 0];

/// How long revocations are kept after the end of their certificates: each is on one more list than that, and lists are
/// signed every week.
const KEPT: Millis = 15 * DAY;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let settings = desk.bus.get::<Settings>(Settings::ID).await?.map(|stored| stored.record).unwrap_or_default();
    let organizations = desk.all::<Organization>(Query::all()).await?;
    let organizations = organizations.into_iter().map(|stored| stored.record).collect();
    let mut round = Round { desk, settings, organizations, told: 0, renewed: 0, jobs: Vec::new() };
    // However many end soon: what keeps others out comes first.
    let (removed, due) = round.replaced().await?;
    let (lists, next) = round.lists().await?;
    desk.bus.sweep::<Revocation>("by_expiry", signed(desk.now.saturating_sub(KEPT))).await?;
    round.authorities().await?;
    round.console().await?;
    round.ending().await?;
    let [told, renewed] = [counted(round.told, "warning"), counted(round.renewed, "renewal")];
    let [removed, lists] = [counted(removed, "replaced certificate"), counted(lists, "list")];
    Ok(Done {
        text: format!("{told}, {renewed}, {removed} removed, {lists} to be signed"),
        again: due.into_iter().chain(next).min(),
    })
}

/// One run.
struct Round<'a> {
    desk: &'a Desk<'a>,
    settings: Settings,
    organizations: Vec<Organization>,
    told: u64,
    renewed: u64,
    /// What is to be renewed.
    jobs: Vec<Job>,
}

impl Round<'_> {
    /// New certificates end with their CA: it is told of when they begin to be shorter for it.
    async fn authorities(&mut self) -> Result<(), Failure> {
        let (leaf, before) = (self.settings.leaf_days, self.before());
        for Organization { id, name, ca_expires, .. } in self.organizations.clone() {
            let Some(expires) = ca_expires else { continue };
            let rest = "What it signs ends with it: move its users to a new organization before that.";
            self.warn(&format!("ca/{id}"), expires, &[leaf, before], &format!("CA of organization {name}"), rest)
                .await?;
        }
        Ok(())
    }

    /// So many days before the end it is told for the first time.
    fn before(&self) -> u32 {
        u32::try_from(self.settings.expiry() / DAY).unwrap_or(u32::MAX)
    }

    async fn console(&mut self) -> Result<(), Failure> {
        let Some(tls) = self.desk.bus.get_whole::<Tls>(Tls::ID).await? else { return Ok(()) };
        let expires = tls.record.expires;
        if expires <= self.desk.now + self.settings.expiry() {
            self.enqueue("console-certificate".into(), Work::ConsoleCertificate);
        }
        let rest = "It is renewed by itself; browsers then ask again whether it is to be trusted.";
        self.warn("console", expires, &[self.before()], "certificate of the console", rest).await
    }

    /// Certificates of users and servers, and those that have lain in a pool for too long.
    async fn ending(&mut self) -> Result<(), Failure> {
        let horizon = self.desk.now + self.settings.expiry();
        let soon = Query::by("by_expiry").to(Key::Int(signed(horizon)));
        let mut pages = self.desk.bus.pages::<Certificate>(soon);
        while let Some(page) = pages.next().await?.filter(|page| !page.is_empty()) {
            let servers = self.desk.all::<Server>(Query::all()).await?;
            let shown = shown(self.desk).await?.unwrap_or_default();
            for certificate in page {
                self.end(certificate, &servers, &shown).await?;
            }
            self.renew().await?;
        }
        self.renew().await
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let jobs = std::mem::take(&mut self.jobs);
        self.renewed += unless_damaged(demand(self.desk.bus, jobs).await)?.enqueued as u64;
        Ok(())
    }

    async fn end(
        &mut self,
        stored: Stored<Certificate>,
        servers: &[Stored<Server>],
        shown: &HashMap<Id, Id>,
    ) -> Result<(), Failure> {
        let certificate = &stored.record;
        let renewable = self.outlived(certificate);
        match (certificate.state, certificate.purpose) {
            (CertificateState::Ready, Purpose::Client | Purpose::Server) if renewable => {
                self.desk.remove_with::<Certificate, CertificateKey>(&stored).await?;
            }
            (CertificateState::Taken, Purpose::Client) => self.user(certificate).await?,
            (CertificateState::Taken, Purpose::Server) => {
                let has = |server: &&Stored<Server>| server.record.certificate == Some(certificate.id);
                let shows = |server: &&Stored<Server>| shown.get(&certificate.id) == Some(&server.record.id);
                if let Some(server) = servers.iter().find(has) {
                    self.server(certificate, &server.record.name, renewable).await?;
                } else if let Some(server) = servers.iter().find(shows) {
                    let what = format!("certificate that server {} was started with", server.record.name);
                    self.leaf(certificate, &what, "Restart the server before: it has a new one.").await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a new one would live longer: none outlives its CA.
    fn outlived(&self, certificate: &Certificate) -> bool {
        let signer = self.organizations.iter().find(|signer| signer.id == certificate.organization);
        signer.and_then(|signer| signer.ca_expires).is_some_and(|end| end > certificate.expires + DAY)
    }

    async fn server(&mut self, certificate: &Certificate, name: &str, renewable: bool) -> Result<(), Failure> {
        if renewable {
            let work = Work::Renew { certificate: certificate.id, immediate: false, compromised: false };
            self.enqueue(format!("renew/{}", certificate.id), work);
        }
        let what = format!("certificate of server {name}");
        self.leaf(certificate, &what, "It is renewed by itself; the server takes the new one at its next start.").await
    }

    async fn user(&mut self, certificate: &Certificate) -> Result<(), Failure> {
        let Some(user) = self.desk.bus.get_whole::<User>(certificate.subject).await? else { return Ok(()) };
        if user.record.certificate != certificate.id {
            return Ok(());
        }
        let what = format!("certificate of user {}", user.record.name);
        self.leaf(certificate, &what, "A new one comes with the next profile that is fetched for the user.").await
    }

    async fn leaf(&mut self, certificate: &Certificate, what: &str, rest: &str) -> Result<(), Failure> {
        let days = self.before();
        self.warn(&format!("certificate/{}", certificate.id), certificate.expires, &[days], what, rest).await
    }

    /// Tells administrators once at each of so many days before the end.
    async fn warn(&mut self, key: &str, expires: Millis, days: &[u32], what: &str, rest: &str) -> Result<(), Failure> {
        let Some(days) = told_at(expires, self.desk.now, days) else { return Ok(()) };
        let left = expires.saturating_sub(self.desk.now) / DAY;
        let message = match expires > self.desk.now {
            true => format!("The {what} ends in {}. {rest}", counted(left, "day")),
            false => format!("The {what} has ended. {rest}"),
        };
        let log = Log::of_expiry(key, expires, days, message, signed(self.desk.now / 1000));
        // Refused if it was told before.
        self.told += u64::from(self.desk.write(vec![insert(&log)]).await?);
        Ok(())
    }

    fn enqueue(&mut self, id: String, work: Work) {
        self.jobs.push(Job::new(id, work, Priority::Normal, self.desk.now));
    }

    /// Ends what was replaced and is not good any more: how many, and in how many milliseconds the next one is due. What a
    /// server was started with and still shows is left until it is started again.
    async fn replaced(&self) -> Result<(u64, Option<Millis>), Failure> {
        let now = self.desk.now;
        let over = Query::by("by_replacement").from(Key::Int(0)).to(Key::Int(signed(now) + 1));
        let over = self.desk.all::<Certificate>(over).await?;
        let shown = if over.is_empty() { None } else { shown(self.desk).await? };
        let unused = |one: &Certificate| shown.as_ref().is_some_and(|shown| !shown.contains_key(&one.id));
        let mut count = 0;
        for certificate in over.iter().filter(|one| one.record.purpose != Purpose::Server || unused(&one.record)) {
            count += u64::from(unless_damaged(withdraw(self.desk, certificate).await)?);
        }
        let later = Query::by("by_replacement").from(Key::Int(signed(now) + 1)).limit(1);
        let later = self.desk.bus.find::<Certificate>(later).await?.items.pop();
        Ok((count, later.and_then(|stored| stored.record.replaced).map(|at| at.saturating_sub(now))))
    }

    /// Has lists signed that are due: how many, and in how many milliseconds the next one is.
    async fn lists(&self) -> Result<(u64, Option<Millis>), Failure> {
        let now = self.desk.now;
        let lists = self.desk.all::<Crl>(Query::all()).await?;
        let mut count = 0;
        let mut again: Option<Millis> = None;
        for organization in self.organizations.iter().filter(|organization| organization.ca.is_some()) {
            let list = lists.iter().find(|list| list.record.id == organization.id);
            match list.map(|list| list.record.next).filter(|next| *next > now) {
                Some(next) => again = Some(again.map_or(next - now, |again| again.min(next - now))),
                // Refused: somebody has just had it signed.
                None => count += u64::from(unless_damaged(self.list(organization.id).await)?),
            }
        }
        Ok((count, again))
    }

    async fn list(&self, organization: Id) -> Result<bool, Failure> {
        self.desk.write(vec![listing(self.desk.bus, organization, self.desk.now).await?]).await
    }
}

/// Revokes a certificate and removes it with its key, if it is still as it was seen.
pub async fn withdraw(desk: &Desk<'_>, certificate: &Stored<Certificate>) -> Result<bool, Failure> {
    for _ in 0..TRIES {
        let writes = withdrawal(desk.bus, certificate, desk.now).await?;
        let key = delete::<CertificateKey>(certificate.record.id, Guard::default());
        if desk.write([writes.as_slice(), &[key]].concat()).await? || desk.write(writes).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The certificates that running servers were started with, and which servers those are; none, if one of them can't be read.
async fn shown(desk: &Desk<'_>) -> Result<Option<HashMap<Id, Id>>, Failure> {
    let Some(instances) = desk.every::<Instance>().await? else { return Ok(None) };
    let running = instances.into_iter().map(|stored| stored.record).filter(|instance| instance.host.is_some());
    Ok(Some(running.filter_map(|instance| Some((instance.certificate?, instance.server))).collect()))
}

/// What a damaged record is in the way of is left until that is repaired, and keeps nothing else.
fn unless_damaged<T: Default>(done: Result<T, Failure>) -> Result<T, Failure> {
    match done {
        Err(Failure::Invalid(_)) => Ok(T::default()),
        done => done,
    }
}

/// The fewest of the days before the end that have come, if any has: that is when it was to be told last.
fn told_at(expires: Millis, now: Millis, days: &[u32]) -> Option<u32> {
    let come = |days: &u32| expires <= now + Millis::from(*days) * DAY;
    let most = days.iter().copied().max().unwrap_or_default();
    days.iter().copied().chain(DAYS).filter(|days| *days <= most).filter(come).min()
}

fn signed(number: Millis) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn each_time_to_tell_comes_once() {
        let at = |left: f64| told_at(NOW + (left * DAY as f64) as Millis, NOW, &[30]);
        for (left, days) in [(30.1, None), (30.0, Some(30)), (7.1, Some(30)), (7.0, Some(7)), (0.5, Some(1))] {
            assert_eq!(at(left), days, "{left}");
        }
        assert_eq!(told_at(NOW, NOW, &[30]), Some(0));
        assert_eq!(told_at(NOW + 2 * DAY, NOW, &[1]), None, "a setting below the others is the first time to tell");
        assert_eq!(told_at(NOW + 1000 * DAY, NOW, &[1825, 30]), Some(1825));
    }

    proptest! {
        /// However often and at whatever times it is looked at: what is told comes nearer to the end, each at most once.
        #[test]
        fn ever_nearer(mut looks in prop::collection::vec(0..60 * DAY, 1..40), first in 0..50_u32) {
            looks.sort_unstable();
            let end = NOW + 45 * DAY;
            let mut told: Vec<u32> = looks.iter().filter_map(|look| told_at(end, NOW + look, &[first])).collect();
            told.dedup();
            prop_assert!(told.windows(2).all(|pair| pair[0] > pair[1]), "{told:?}");
            prop_assert_eq!(told.is_empty(), looks.last().is_some_and(|last| NOW + last + Millis::from(first) * DAY < end));
        }
    }
}
