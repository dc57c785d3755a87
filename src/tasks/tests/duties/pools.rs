//! Pools that are not as they should be, and nobody was told.

use std::collections::BTreeSet;

use culvert_model::record::{
    CaKey, Certificate, CertificateKey, CertificateState, Dh, DhParams, Job, JobState, Organization, Priority, Purpose,
    Settings, Tls, Work,
};
use culvert_model::{Id, Record};
use culvert_records::{Guard, delete, insert};

use crate::kit::{Broken, made, organization, touch};
use crate::orphans::certificate;

const READY: CertificateState = CertificateState::Ready;

/// How full the pools are to be.
fn levels() -> Settings {
    let dh_pool_bits = vec![2048];
    Settings {
        client_pool: 3,
        server_pool: 2,
        ca_pool: 2,
        dh_pool: 1,
        dh_pool_bits,
        dh: Dh::Own,
        ..Settings::default()
    }
}

/// A cluster of one organisation, all of whose pools are full.
struct Full {
    broken: Broken,
    staff: Id,
    clients: Vec<Certificate>,
    servers: Vec<Certificate>,
    authorities: Vec<Certificate>,
    params: DhParams,
}

impl Full {
    async fn new() -> Self {
        let broken = Broken::new();
        broken.put(&levels()).await;
        broken.put(&made(|_: &mut Tls| {})).await;
        let organization = organization();
        let staff = organization.id;
        broken.put(&organization).await;
        let ready = |organization, purpose, count| -> Vec<Certificate> {
            let ready = |_| Certificate { purpose, state: READY, ..certificate(organization) };
            (0..count).map(ready).collect()
        };
        let [clients, servers] =
            [(Purpose::Client, 3), (Purpose::Server, 2)].map(|(of, count)| ready(staff, of, count));
        let authorities = ready(Id::new(), Purpose::Authority, 2);
        let params = made(|params: &mut DhParams| params.id = Id::new());
        broken.put(&params).await;
        for certificate in clients.iter().chain(&servers) {
            broken.put(certificate).await;
            broken.put(&made(|key: &mut CertificateKey| key.id = certificate.id)).await;
        }
        for authority in &authorities {
            broken.put(authority).await;
            broken.put(&made(|key: &mut CaKey| key.id = authority.subject)).await;
        }
        let full = Self { broken, staff, clients, servers, authorities, params };
        full.enqueues(&[]).await;
        full
    }

    /// The id of the job of one of the organisation's slots.
    fn slot(&self, slot: &str) -> String {
        format!("certificate/{}/{slot}", self.staff)
    }

    /// The task, twice at once and then once more, enqueues just these jobs beside those that are there.
    async fn enqueues(&self, expected: &[String]) {
        let before = self.jobs().await;
        let (one, other) = tokio::join!(self.broken.says("pools"), self.broken.says("pools"));
        let enqueued = |says: &str| says.split(' ').next().and_then(|word| word.parse::<usize>().ok());
        let both = [one, other].iter().map(|says| enqueued(says).expect("a number")).sum::<usize>();
        assert_eq!(both, expected.len());
        assert_eq!(self.broken.says("pools").await, "0 jobs enqueued");
        let after = self.jobs().await;
        assert!(after.is_superset(&before));
        let new: BTreeSet<_> = after.difference(&before).cloned().collect();
        assert_eq!(new, expected.iter().cloned().collect());
    }

    async fn jobs(&self) -> BTreeSet<String> {
        self.broken.all::<Job>().await.into_iter().map(|job| job.id).collect()
    }

    /// It is gone, and nobody hears of it.
    async fn lose<T: Record>(&self, id: impl ToString) {
        self.broken.write(vec![delete::<T>(id, Guard::default())]).await;
    }

    /// A job that fills this slot, but for this.
    async fn fills(&self, slot: &str, change: impl FnOnce(&mut Job)) {
        let purpose = if slot.starts_with("client") { Purpose::Client } else { Purpose::Server };
        let work = Work::Certificate { organization: self.staff, purpose };
        let mut job = Job::new(self.slot(slot), work, Priority::Low, 1);
        change(&mut job);
        self.broken.put(&job).await;
    }
}

#[tokio::test]
async fn what_is_gone_is_made_again() {
    let full = Full::new().await;
    full.lose::<Certificate>(full.clients[0].id).await;
    full.lose::<Certificate>(full.clients[2].id).await;
    full.enqueues(&["client/0", "client/1"].map(|slot| full.slot(slot))).await;
    // What is to come is as good as there, until its job is gone, too.
    full.lose::<Job>(full.slot("client/0")).await;
    full.enqueues(&[full.slot("client/0")]).await;

    for authority in &full.authorities {
        full.lose::<Certificate>(authority.id).await;
    }
    full.lose::<Certificate>(full.servers[1].id).await;
    full.lose::<DhParams>(full.params.id).await;
    full.lose::<Tls>(Tls::ID).await;
    let of_all = ["authority/0", "authority/1", "dh-params/2048/0", "console-certificate"].map(String::from);
    full.enqueues(&[&of_all[..], &[full.slot("server/0")]].concat()).await;

    let jobs = full.broken.all::<Job>().await;
    for job in &jobs {
        let urgent = job.id == "console-certificate";
        assert_eq!(job.priority, if urgent { Priority::High } else { Priority::Low }, "{}", job.id);
    }
    for job in jobs {
        full.lose::<Job>(&job.id).await;
    }
    let clients = ["client/0", "client/1", "server/0"].map(|slot| full.slot(slot));
    full.enqueues(&[&of_all[..], &clients].concat()).await;
}

/// One that somebody has or waits for is not there for whoever comes next.
#[tokio::test]
async fn what_is_somebodys_does_not_count() {
    let full = Full::new().await;
    let taken = Certificate { state: CertificateState::Taken, ..full.clients[0].clone() };
    let reserved =
        Certificate { state: CertificateState::Reserved, reserved: Some("ann".into()), ..full.clients[1].clone() };
    full.broken.write([taken, reserved].iter().map(touch).collect()).await;
    full.lose::<Certificate>(full.servers[0].id).await;
    full.fills("client/0", |job| job.reserved = Some("bob".into())).await;
    full.fills("server/0", |job| job.cancelled = true).await;
    // The slots of those that are on the way are occupied.
    full.enqueues(&["client/1", "client/2", "server/1"].map(|slot| full.slot(slot))).await;
}

/// It waits for an administrator, and the others are made.
#[tokio::test]
async fn a_dead_job_is_left_and_does_not_count() {
    let full = Full::new().await;
    for client in &full.clients {
        full.lose::<Certificate>(client.id).await;
    }
    full.lose::<Certificate>(full.servers[0].id).await;
    for slot in ["client/1", "server/0"] {
        full.fills(slot, |job| job.state = JobState::Dead).await;
    }
    full.enqueues(&["client/0", "client/2", "server/1"].map(|slot| full.slot(slot))).await;
    assert_eq!(full.broken.get::<Job>(full.slot("client/1")).await.record.state, JobState::Dead);
}

/// Its CA comes first, and at once: nothing can be made before.
#[tokio::test]
async fn an_organization_without_ca() {
    let full = Full::new().await;
    let signed = organization();
    let guests = Organization { ca: None, ..signed.clone() };
    full.broken.put(&guests).await;
    let ca = format!("ca/{}", guests.id);
    full.enqueues(std::slice::from_ref(&ca)).await;
    assert_eq!(full.broken.get::<Job>(&ca).await.record.priority, Priority::High);
    // One that failed too often is an administrator's.
    let dead = Job { state: JobState::Dead, ..full.broken.get::<Job>(&ca).await.record };
    full.broken.write(vec![touch(&dead)]).await;
    full.enqueues(&[]).await;

    // Its pools are filled as soon as it has one.
    full.broken.write(vec![touch(&signed)]).await;
    let slots = ["client/0", "client/1", "client/2", "server/0", "server/1"];
    full.enqueues(&slots.map(|slot| format!("certificate/{}/{slot}", guests.id))).await;
}

/// More than a level that was lowered is left, and so is what a slot above it makes.
#[tokio::test]
async fn too_many_are_left() {
    let full = Full::new().await;
    full.fills("client/2", |_| {}).await;
    full.broken.write(vec![touch(&Settings { client_pool: 1, ..levels() })]).await;
    full.enqueues(&[]).await;
    assert_eq!(full.broken.all::<Certificate>().await.len(), 7);
}

/// Another enqueues for the same slot between this one's look and its write.
#[tokio::test]
async fn somebody_was_faster() {
    let full = Full::new().await;
    for client in &full.clients[..2] {
        full.lose::<Certificate>(client.id).await;
    }
    let work = Work::Certificate { organization: full.staff, purpose: Purpose::Client };
    let theirs = Job::new(full.slot("client/0"), work, Priority::High, 7);
    full.broken.before_the_next(vec![insert(&theirs)]);
    assert_eq!(full.broken.says("pools").await, "1 job enqueued");
    assert_eq!(full.broken.get::<Job>(&theirs.id).await.record, theirs);
    assert!(full.broken.has::<Job>(full.slot("client/1")).await);
    full.enqueues(&[]).await;
}

/// The console's certificate and an organisation that can't be read keep no pool empty.
#[tokio::test]
async fn what_is_damaged_keeps_no_pool_empty() {
    let full = Full::new().await;
    let damaged = Id::new();
    full.broken.put_damaged::<Organization>(damaged).await;
    full.broken.write(vec![delete::<Tls>(Tls::ID, Guard::default())]).await;
    full.broken.put_damaged::<Tls>(Tls::ID).await;
    full.broken.write(vec![delete::<Certificate>(full.clients[0].id, Guard::default())]).await;
    let slot = format!("certificate/{}/client/0", full.staff);
    let bus = full.broken.role(culvert_model::Role::Pools);
    let owners = [damaged, full.staff].map(culvert_pool::Owner::Organization).into();
    culvert_pool::refill(&bus, &owners).await.expect("the bus answers");
    let jobs = async || full.broken.all::<Job>().await.into_iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(jobs().await, std::slice::from_ref(&slot));
    full.broken.write(vec![delete::<Job>(&slot, Guard::default())]).await;
    full.enqueues(&[slot]).await;
}
