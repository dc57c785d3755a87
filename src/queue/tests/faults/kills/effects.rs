//! Jobs of every kind, what they find, and how it is told that each was done exactly once.

use std::collections::BTreeSet;

use culvert_model::record::{
    Address, CaKey, Certificate, CertificateKey, Crl, Dh, DhParams, Log, Organization, Priority, Purpose, Revocation,
    Server, Settings, Tls, TlsKey, User, Work,
};
use culvert_model::{Id, KeyKind, Kind, Record};
use culvert_records::{Bus, Query};
use openssl::pkey::PKey;
use openssl::x509::X509;

use crate::kit::samples::{made, server, user};
use crate::kit::{job, new_user, organization};

const NETWORKS: [&str; 2] = ["10.50.0.0/24", "10.60.0.0/24"];

/// What kind of work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Console,
    Ca,
    SpareCa,
    Certificate,
    Renew,
    Crl,
    Users,
    AssignAddress,
    UnassignAddress,
    AssignAddresses,
    AssignPool,
    DhParams,
}

/// All that take no more than a moment.
pub const QUICK: [Case; 11] = [
    Case::Console,
    Case::Ca,
    Case::SpareCa,
    Case::Certificate,
    Case::Renew,
    Case::Crl,
    Case::Users,
    Case::AssignAddress,
    Case::UnassignAddress,
    Case::AssignAddresses,
    Case::AssignPool,
];

/// What a job finds: an organisation with three users, and a server of theirs.
pub struct Scene {
    case: Case,
    api: Bus,
    /// Who alone sees CAs' keys.
    queue: Bus,
    /// With a CA, and one without.
    organizations: [Id; 2],
    server: Server,
    users: Vec<User>,
}

impl Scene {
    /// Everything but the job; this organisation has a CA.
    pub async fn new([api, queue]: [Bus; 2], case: Case, with_ca: Id) -> Self {
        let organizations = [with_ca, organization(&api).await];
        let [old, _] = NETWORKS;
        let server = Server {
            network: old.parse().expect("a network"),
            network_lock: (case == Case::AssignPool).then(|| "one".into()),
            ..server(&[with_ca])
        };
        let users: Vec<User> = (0..3).map(|_| user(with_ca)).collect();
        let scene = Self { case, api, queue, organizations, server, users };
        scene.put(&Settings { user_key: KeyKind::P256, dh: Dh::Own, ..Settings::default() }).await;
        scene.put(&scene.server).await;
        for user in &scene.users {
            scene.put(user).await;
        }
        scene.prepare().await;
        scene
    }

    async fn put<T: Record>(&self, record: &T) {
        self.api.insert(record).await.expect("a new record");
    }

    async fn all<T: Record>(&self) -> Vec<T> {
        let bus = if T::KIND == Kind::CaKey { &self.queue } else { &self.api };
        let all = bus.list::<T>(Query::all()).await.expect("the bus answers");
        all.into_iter().map(|stored| stored.record).collect()
    }

    async fn prepare(&self) {
        match self.case {
            Case::Renew => self.put(&self.certificate()).await,
            Case::Crl => self.put(&self.revocation()).await,
            // Two have addresses, one of them on another device as well.
            Case::UnassignAddress | Case::AssignPool => {
                for (number, (user, device)) in [(0, 0), (0, 1), (1, 0)].into_iter().enumerate() {
                    self.put(&self.address(self.users[user].id, device, number as u8 + 2)).await;
                }
            }
            // Nobody has this one any more.
            Case::AssignAddresses => self.put(&self.address(Id::new(), 0, 2)).await,
            _ => {}
        }
    }

    fn address(&self, user: Id, device: u16, last: u8) -> Address {
        Address::new(self.server.id, user, device, [10, 50, 0, last].into())
    }

    /// What the first user has.
    fn certificate(&self) -> Certificate {
        made(|one: &mut Certificate| {
            (one.id, one.organization, one.subject) =
                (self.users[0].certificate, self.organizations[0], self.users[0].id);
            (one.reserved, one.replaced, one.expires) = (None, None, u64::MAX >> 12);
        })
    }

    fn revocation(&self) -> Revocation {
        made(|one: &mut Revocation| {
            let [organization, _] = self.organizations;
            (one.id, one.organization) = (Revocation::name(organization, "0a"), organization);
            one.expires = u64::MAX >> 12;
        })
    }

    /// Enqueues the job.
    pub async fn enqueue(&self) {
        let ([organization, without], server) = (self.organizations, self.server.id);
        let first = self.users[0].id;
        let work = match self.case {
            Case::Console => Work::ConsoleCertificate,
            Case::Ca => Work::Ca { organization: without },
            Case::SpareCa => Work::SpareCa,
            Case::Certificate => Work::Certificate { organization, purpose: Purpose::Server },
            Case::Renew => Work::Renew { certificate: self.users[0].certificate, immediate: true, compromised: false },
            Case::Crl => Work::Crl { organization },
            Case::Users => Work::Users { organization, users: ["ann", "bob"].map(|name| new_user(name.into())).into() },
            Case::AssignAddress => Work::AssignAddress { server, user: first },
            Case::UnassignAddress => Work::UnassignAddress { server, user: first },
            Case::AssignAddresses => Work::AssignAddresses { server },
            Case::AssignPool => {
                let [old, new] = NETWORKS.map(|network| network.parse().expect("a network"));
                Work::AssignPool { server, old, new }
            }
            Case::DhParams => Work::DhParams { bits: 2048 },
        };
        self.put(&job("one", work, Priority::High)).await;
    }

    /// Everything that the job is for is there, and nothing twice.
    pub async fn once(&self) {
        match self.case {
            Case::Console => assert_eq!((self.all::<Tls>().await.len(), self.all::<TlsKey>().await.len()), (1, 1)),
            Case::Ca => self.has_ca().await,
            Case::SpareCa => {
                let [made] = <[_; 1]>::try_from(self.all::<Certificate>().await).expect("one");
                self.belong(&made.der.0, made.id).await;
                assert_eq!(self.all::<CaKey>().await.len(), 2);
            }
            Case::Certificate => {
                let [made] = <[_; 1]>::try_from(self.all::<Certificate>().await).expect("one");
                self.keys([made.id]).await;
            }
            Case::Renew => self.renewed().await,
            Case::Crl => self.listed().await,
            Case::Users => self.made().await,
            Case::AssignAddress => self.hold([(0, 1), (1, 0), (2, 0)]).await,
            Case::UnassignAddress => self.hold([(0, 0), (1, 1), (2, 0)]).await,
            Case::AssignAddresses => self.hold([(0, 1), (1, 1), (2, 1)]).await,
            Case::AssignPool => {
                let moved = self.api.get::<Server>(self.server.id).await.expect("the bus answers").expect("a server");
                let moved = moved.record;
                assert_eq!((moved.network.to_string().as_str(), moved.network_lock), (NETWORKS[1], None));
                self.hold([(0, 2), (1, 1), (2, 1)]).await;
            }
            Case::DhParams => assert_eq!(self.all::<DhParams>().await.len(), 1),
        }
    }

    /// The keys of these certificates are there, and no others.
    async fn keys(&self, certificates: impl IntoIterator<Item = Id>) {
        let keys: BTreeSet<Id> = self.all::<CertificateKey>().await.into_iter().map(|key| key.id).collect();
        assert_eq!(keys, certificates.into_iter().collect());
    }

    async fn belong(&self, der: &[u8], key: Id) {
        let key = self.all::<CaKey>().await.into_iter().find(|found| found.id == key).expect("a key");
        let key = PKey::private_key_from_pkcs8(&key.key.0).expect("PKCS #8");
        let certificate = X509::from_der(der).expect("DER");
        assert!(certificate.public_key().expect("it has one").public_eq(&key), "they belong to each other");
    }

    async fn has_ca(&self) {
        let [_, id] = self.organizations;
        let organization = self.api.get::<Organization>(id).await.expect("the bus answers").expect("it is there");
        self.belong(&organization.record.ca.expect("a CA").0, id).await;
        assert_eq!(self.all::<CaKey>().await.len(), 2);
    }

    async fn renewed(&self) {
        let old = self.certificate();
        let user = self.api.get::<User>(old.subject).await.expect("the bus answers").expect("a user").record;
        let all: BTreeSet<Id> = self.all::<Certificate>().await.into_iter().map(|one| one.id).collect();
        assert!(user.certificate != old.id && all == BTreeSet::from([old.id, user.certificate]), "{all:?}");
        self.keys([user.certificate]).await;
        assert_eq!(self.logged("was renewed").await, 1);
        self.listed().await;
    }

    /// One certificate is revoked, and the list with it is the first.
    async fn listed(&self) {
        let revoked: Vec<String> = self.all::<Revocation>().await.into_iter().map(|one| one.id).collect();
        assert_eq!(revoked, [self.revocation().id]);
        let lists: Vec<u64> = self.all::<Crl>().await.into_iter().map(|list| list.number).collect();
        assert_eq!(lists, [1]);
    }

    async fn made(&self) {
        let new = self.all::<User>().await.into_iter().filter(|user| ["ann", "bob"].contains(&user.name.as_str()));
        let new: Vec<User> = new.filter(|user| self.users.iter().all(|old| old.id != user.id)).collect();
        assert_eq!((new.len(), self.all::<Certificate>().await.len()), (2, 2));
        assert!(new[0].name != new[1].name);
        self.keys(new.iter().map(|user| user.certificate)).await;
        assert_eq!(self.logged("were created").await, 1);
    }

    async fn logged(&self, what: &str) -> usize {
        self.all::<Log>().await.iter().filter(|log| log.message.contains(what)).count()
    }

    /// So many addresses of the server's network have the users, each another one; and nobody else has one.
    async fn hold(&self, wanted: [(usize, usize); 3]) {
        let server =
            self.api.get::<Server>(self.server.id).await.expect("the bus answers").expect("it is there").record;
        let held = self.all::<Address>().await;
        for (user, count) in wanted {
            assert_eq!(held.iter().filter(|held| held.user == self.users[user].id).count(), count, "{held:?}");
        }
        let places: BTreeSet<_> = held.iter().filter_map(|held| held.within(server.network)).collect();
        assert_eq!((held.len(), places.len()), (wanted.iter().map(|(_, count)| count).sum(), held.len()), "{held:?}");
        assert!(held.iter().all(|held| held.next.is_none()), "{held:?}");
    }
}
