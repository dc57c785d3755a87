//! The life of certificates, over a real bus: renewed, replaced, revoked, listed, told of before they end.

use std::io::Write as _;
use std::process::Command;

use crate::kit::samples::user;
use crate::kit::{Cluster, job, until};
use culvert_model::record::{
    Certificate, CertificateKey, CertificateState, Crl, Job, JobState, Log, Organization, Priority, Purpose,
    Revocation, Tls, User, Work,
};
use culvert_model::{Bytes, Id, Millis, Role};
use culvert_records::{Guard, Kept, Query, Refusal, Stored, delete};
use culvert_revocation::{listing, withdraw};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::DUTIES;
use openssl::pkey::PKey;
use openssl::x509::{CrlStatus, X509, X509Crl};

const DAY: Millis = 24 * 3600 * 1000;

struct World {
    cluster: Cluster,
    organization: Id,
}

impl World {
    /// An organisation with a CA, and a queue.
    async fn new() -> Self {
        let cluster = Cluster::new();
        cluster.settings(|settings| settings.user_key = culvert_model::KeyKind::P256).await;
        cluster.queue();
        let organization = cluster.organization().await;
        let world = Self { cluster, organization };
        world.done(job("ca", Work::Ca { organization }, Priority::High)).await;
        world
    }

    /// Enqueues a job and waits for its end.
    async fn done(&self, job: Job) {
        self.cluster.api().insert(&job).await.expect("a new job");
        self.idle().await;
    }

    async fn idle(&self) {
        until("no jobs", async || (self.cluster.jobs().await == 0).then_some(())).await;
    }

    async fn now(&self) -> Millis {
        self.cluster.api().here().await.expect("the bus answers").1
    }

    /// A user with a certificate.
    async fn user(&self) -> User {
        let work = Work::Certificate { organization: self.organization, purpose: Purpose::Client };
        self.done(job(&format!("certificate/{}", Id::new()), work, Priority::High)).await;
        let made =
            self.cluster.certificates(self.organization, Purpose::Client, CertificateState::Ready).await.remove(0);
        self.change(made.id, |certificate| certificate.state = CertificateState::Taken).await;
        let user = User { id: made.subject, certificate: made.id, name: "alice".into(), ..user(self.organization) };
        self.cluster.api().insert(&user).await.expect("a new user");
        user
    }

    async fn renewed(&self, user: &User, immediate: bool) -> User {
        let work = Work::Renew { certificate: user.certificate, immediate, compromised: false };
        self.done(job(&format!("renew/{}", user.certificate), work, Priority::Normal)).await;
        self.cluster.api().get::<User>(user.id).await.expect("the bus answers").expect("a user").record
    }

    async fn certificate(&self, id: Id) -> Option<Stored<Certificate>> {
        self.cluster.api().get::<Certificate>(id).await.expect("the bus answers")
    }

    async fn change(&self, id: Id, change: impl Fn(&mut Certificate)) {
        let mut stored = self.certificate(id).await.expect("a certificate");
        change(&mut stored.record);
        self.cluster.api().update(&mut stored).await.expect("nobody else changes it");
    }

    async fn revoked(&self) -> Vec<String> {
        let all = self.cluster.api().list::<Revocation>(Query::all()).await.expect("the bus answers");
        all.into_iter().map(|stored| stored.record.serial).collect()
    }

    async fn list(&self) -> Crl {
        self.cluster.api().get::<Crl>(self.organization).await.expect("the bus answers").expect("a list").record
    }

    /// Runs the task, and what it enqueues.
    async fn task(&self) -> String {
        let bus = self.cluster.bus(Role::Tasks);
        let (_, now) = bus.here().await.expect("the bus answers");
        let duty = DUTIES.iter().find(|duty| duty.name == "certificates").expect("it is in the table");
        let desk = Desk { bus: &bus, host: self.cluster.host, now, grace: std::time::Duration::ZERO, fence: None };
        let done = (duty.work)(&desk).await.expect("the bus answers");
        self.idle().await;
        done.text
    }

    async fn told(&self) -> Vec<String> {
        let all = self.cluster.api().list::<Log>(Query::all()).await.expect("the bus answers");
        let all = all.into_iter().map(|stored| stored.record.message);
        all.filter(|message| message.contains(" ends in ") || message.contains("has ended")).collect()
    }

    /// Whether `openssl verify` takes this certificate by the CA and its list.
    async fn verified(&self, der: &Bytes) -> bool {
        let organization = self.cluster.api().get::<Organization>(self.organization).await.expect("the bus answers");
        let ca = organization.and_then(|stored| stored.record.ca).expect("a CA");
        let pem = |der: &Bytes| X509::from_der(&der.0).and_then(|one| one.to_pem()).expect("a certificate");
        let list = X509Crl::from_der(&self.list().await.der.0).and_then(|list| list.to_pem()).expect("a list");
        let (ca, leaf, list) = (file(&pem(&ca)), file(&pem(der)), file(&list));
        let mut signed = Command::new("openssl");
        signed.args(["crl", "-noout", "-CAfile"]).arg(ca.path()).arg("-in").arg(list.path());
        let output = signed.output().expect("openssl is installed");
        assert!(String::from_utf8_lossy(&output.stderr).contains("verify OK"), "{output:?}");
        let mut verify = Command::new("openssl");
        verify
            .args(["verify", "-crl_check", "-CRLfile"])
            .arg(list.path())
            .arg("-CAfile")
            .arg(ca.path())
            .arg(leaf.path());
        verify.output().expect("openssl is installed").status.success()
    }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room on the disk");
    file
}

#[tokio::test]
async fn renewed_and_the_old_one_good_for_a_while() {
    let world = World::new().await;
    let before = world.user().await;
    let after = world.renewed(&before, false).await;
    assert_ne!(after.certificate, before.certificate);
    let old = world.certificate(before.certificate).await.expect("it is good for a while").record;
    let new = world.certificate(after.certificate).await.expect("a new one").record;
    assert_eq!((new.subject, new.purpose, new.state, new.replaced), (before.id, old.purpose, old.state, None));
    assert!(new.serial != old.serial && new.fingerprint != old.fingerprint);
    let key = world.cluster.api().get::<CertificateKey>(new.id).await.expect("the bus answers").expect("a key");
    let key = PKey::private_key_from_pkcs8(&key.record.key.0).expect("PKCS #8");
    let x509 = X509::from_der(&new.der.0).expect("DER");
    assert!(x509.public_key().expect("it has one").public_eq(&key));
    let left = old.replaced.expect("it is replaced") - world.now().await;
    assert!(left > Certificate::GRACE - 60_000 && left <= Certificate::GRACE, "{left}");

    // Nothing happens to it before that; then it is revoked and gone.
    world.task().await;
    assert_eq!((world.revoked().await, world.verified(&old.der).await), (Vec::new(), true));
    world.change(old.id, |old| old.replaced = Some(1)).await;
    assert!(world.task().await.contains("1 replaced certificate removed"));
    assert!(world.certificate(old.id).await.is_none());
    assert!(world.cluster.api().get::<CertificateKey>(old.id).await.expect("the bus answers").is_none());
    assert_eq!(world.revoked().await, [old.serial]);
    assert!(!world.verified(&old.der).await && world.verified(&new.der).await);
    assert!(world.renewed(&after, false).await.certificate != after.certificate, "and so on");
}

#[tokio::test]
async fn renewed_at_once_takes_back_all_that_the_user_had() {
    let world = World::new().await;
    let first = world.user().await;
    // As releases left them that did not note the number.
    let serial = world.certificate(first.certificate).await.expect("a certificate").record.serial;
    world.change(first.certificate, |certificate| certificate.serial = String::new()).await;
    let second = world.renewed(&first, false).await;
    let third = world.renewed(&second, true).await;
    let mut revoked = world.revoked().await;
    revoked.sort();
    let mut expected = vec![serial, world.certificate(second.certificate).await.expect("it is there").record.serial];
    expected.sort();
    assert_eq!(revoked, expected);
    for (user, good) in [(&first, false), (&second, false), (&third, true)] {
        let der = world.certificate(user.certificate).await.expect("it is there").record.der;
        assert_eq!(world.verified(&der).await, good);
    }
    world.task().await;
    assert!(world.certificate(second.certificate).await.is_none(), "the rest of it is gone, too");
}

/// Whoever wanted it had seen the old one; another renewal came first.
#[tokio::test]
async fn what_was_replaced_meanwhile_is_revoked_all_the_same() {
    let world = World::new().await;
    let first = world.user().await;
    let second = world.renewed(&first, false).await;
    assert_eq!(world.renewed(&first, true).await, second, "it has one that nobody else has");
    let [old, new] = [&first, &second].map(|user| world.certificate(user.certificate));
    let (old, new) = (old.await.expect("it is there").record, new.await.expect("it is there").record);
    assert_eq!(world.revoked().await, [old.serial]);
    let now = world.now().await;
    assert!(old.replaced.is_some_and(|replaced| replaced <= now), "{:?}", old.replaced);
    assert!(!world.verified(&old.der).await && world.verified(&new.der).await);
    world.task().await;
    assert!(world.certificate(old.id).await.is_none(), "nothing is left of it");
}

#[tokio::test]
async fn a_renewal_that_nobody_needs_any_more_does_nothing() {
    let world = World::new().await;
    let before = world.user().await;
    let after = world.renewed(&before, false).await;
    assert_eq!(world.renewed(&before, false).await, after, "it was renewed already");
    world.cluster.api().delete::<User>(after.id).await.expect("it is there");
    world
        .done(job(
            "again",
            Work::Renew { certificate: after.certificate, immediate: true, compromised: false },
            Priority::Normal,
        ))
        .await;
    let all = world.cluster.certificates(world.organization, Purpose::Client, CertificateState::Taken).await;
    assert_eq!((all.len(), world.revoked().await.len()), (2, 0));
}

/// Whoever revokes while a list is being signed finds the revocation on the next one.
#[tokio::test]
async fn no_revocation_goes_without_being_listed() {
    let world = World::new().await;
    let api = world.cluster.api();
    let template = world.user().await.certificate;
    let template = world.certificate(template).await.expect("a certificate").record;
    let mut serials = Vec::new();
    for number in 0_u8..60 {
        let id = Id::new();
        let (serial, fingerprint) = (format!("7f{number:02x}"), format!("{number:064x}"));
        serials.push(serial.clone());
        api.insert(&Certificate { id, serial, fingerprint, ..template.clone() }).await.expect("a new certificate");
        withdraw(api, id, world.now().await).await.expect("it can be revoked");
        // At once, and not together with what comes in the next moment.
        if let Some(mut job) = api.get::<Job>(format!("crl/{}", world.organization)).await.expect("the bus answers") {
            job.record.not_before = 0;
            let _ = api.update(&mut job).await;
        }
    }
    world.idle().await;
    let list = world.list().await;
    println!("{} lists were signed for {} revocations", list.number, serials.len());
    assert!(list.number > 1, "several were signed meanwhile");
    let signed = X509Crl::from_der(&list.der.0).expect("a list");
    let listed: Vec<String> = signed
        .get_revoked()
        .expect("some are")
        .iter()
        .map(|one| one.serial_number().to_bn().and_then(|number| number.to_hex_str()).expect("a number").to_lowercase())
        .collect();
    assert!(serials.iter().all(|serial| listed.contains(serial)), "{listed:?}");
}

/// What the queue does while somebody revokes: it has claimed the job, read the revocations and signed them.
#[tokio::test]
async fn a_list_that_is_being_signed_without_a_revocation_cannot_be_written() {
    let cluster = Cluster::new();
    let organization = cluster.organization().await;
    let (api, queue) = (cluster.api(), cluster.bus(Role::Queue));
    let certificate = |number: u8| Certificate {
        id: Id::new(),
        organization,
        purpose: Purpose::Client,
        state: CertificateState::Taken,
        reserved: None,
        subject: Id::new(),
        der: Bytes(Vec::new()),
        fingerprint: format!("{number:064x}"),
        expires: u64::MAX / 4,
        serial: format!("7f{number:02x}"),
        replaced: None,
    };
    let revoke = async |number| {
        let certificate = certificate(number);
        api.insert(&certificate).await.expect("a new certificate");
        withdraw(api, certificate.id, 1).await.expect("it can be revoked");
    };
    let key = format!("crl/{organization}");
    let signs = async || match queue.claim::<Job>(&key, None, "queue-test", 60_000).await.expect("the bus answers") {
        Kept::Held(job) => job,
        Kept::Lost => panic!("nobody else has it"),
    };
    let ends = async |job: &Stored<Job>| {
        let guard = Guard { revision: Some(job.revision), claim: job.claim() };
        queue.write(vec![delete::<Job>(&key, guard)]).await.map(drop)
    };
    revoke(1).await;
    let job = signs().await;
    revoke(2).await;
    let refused = ends(&job).await.expect_err("it would be a list without the second");
    assert!(matches!(refused.refusal(), Some(Refusal::Stale { .. })), "{refused}");
    // It reads again, and nobody comes in between.
    let job = queue.get::<Job>(&key).await.expect("the bus answers").expect("it is there");
    ends(&job).await.expect("it is as it was read");
    // From here on there is a new one, and one that was given up is taken up again.
    revoke(3).await;
    let mut job = api.get::<Job>(&key).await.expect("the bus answers").expect("a new one");
    (job.record.state, job.record.attempts) = (JobState::Dead, 5);
    api.update(&mut job).await.expect("nobody else changes it");
    revoke(4).await;
    let job = api.get::<Job>(&key).await.expect("the bus answers").expect("it is there").record;
    assert_eq!((job.state, job.attempts), (JobState::Open, 0));
}

#[tokio::test]
async fn what_has_expired_leaves_the_list_after_one_more() {
    let world = World::new().await;
    let now = world.now().await;
    let organization = world.organization;
    let revocation = Revocation {
        id: format!("{organization}-0a"),
        organization,
        serial: "0a".into(),
        since: now,
        expires: now,
        reason: None,
    };
    world.cluster.api().insert(&revocation).await.expect("a new revocation");
    let number = openssl::bn::BigNum::from_u32(10).and_then(|number| number.to_asn1_integer()).expect("a number");
    for (round, listed) in [(1, true), (2, false)] {
        let job = listing(world.cluster.api(), organization, now).await.expect("the bus answers");
        world.cluster.api().write(vec![job]).await.expect("nobody else writes it");
        world.idle().await;
        let list = world.list().await;
        let signed = X509Crl::from_der(&list.der.0).expect("a list");
        assert_eq!(matches!(signed.get_by_serial(&number), CrlStatus::Revoked(_)), listed);
        assert_eq!((list.number, list.next > list.signed + 6 * DAY), (round, true));
    }
}

#[tokio::test]
async fn each_end_is_told_of_once_at_each_time() {
    let world = World::new().await;
    let user = world.user().await;
    let now = world.now().await;
    assert!(world.task().await.starts_with("0 warnings, 0 renewals"));
    let ends = async |days: u64| world.change(user.certificate, |one| one.expires = now + days * DAY + DAY / 2).await;
    for (days, told) in [(29, 1), (20, 2), (6, 3)] {
        // Another end is another certificate to the log.
        ends(days).await;
        world.task().await;
        world.task().await;
        assert_eq!(world.told().await.len(), told, "{:?}", world.told().await);
    }
    assert!(world.told().await.iter().any(|message| message.contains("certificate of user alice ends in 6 days")));

    let mut organization = world
        .cluster
        .api()
        .get::<Organization>(world.organization)
        .await
        .expect("the bus answers")
        .expect("it is there");
    organization.record.ca_expires = Some(now + 1000 * DAY + DAY / 2);
    world.cluster.api().update(&mut organization).await.expect("nobody else changes it");
    world.task().await;
    world.task().await;
    let told = world.told().await;
    assert!(
        told.len() == 4 && told.iter().any(|message| message.contains("CA of organization acme ends in 1000 days"))
    );
}

#[tokio::test]
async fn the_console_gets_another_before_its_own_ends() {
    let world = World::new().await;
    world.done(job("console-certificate", Work::ConsoleCertificate, Priority::High)).await;
    let api = world.cluster.api();
    let mut first = api.get::<Tls>(Tls::ID).await.expect("the bus answers").expect("a certificate");
    world.task().await;
    assert_eq!(api.get::<Tls>(Tls::ID).await.expect("the bus answers").as_ref(), Some(&first));
    first.record.expires = world.now().await + 3 * DAY;
    api.update(&mut first).await.expect("nobody else changes it");
    // One that was given up does not stand in the way.
    let work = job("console-certificate", Work::ConsoleCertificate, Priority::Normal);
    api.insert(&Job { state: JobState::Dead, attempts: 5, ..work }).await.expect("a new job");
    assert!(world.task().await.contains("1 renewal"));
    let second = api.get::<Tls>(Tls::ID).await.expect("the bus answers").expect("a certificate").record;
    assert!(second.chain != first.record.chain && second.expires > first.record.expires + 800 * DAY);
}

#[tokio::test]
async fn what_lay_in_a_pool_for_too_long_is_thrown_away() {
    let world = World::new().await;
    let work = Work::Certificate { organization: world.organization, purpose: Purpose::Client };
    world.done(job("one", work, Priority::Low)).await;
    let made = world.cluster.certificates(world.organization, Purpose::Client, CertificateState::Ready).await.remove(0);
    let now = world.now().await;
    world.change(made.id, |made| made.expires = now + DAY).await;
    world.task().await;
    assert!(world.certificate(made.id).await.is_none());
    assert_eq!(world.told().await, Vec::<String>::new());
}
