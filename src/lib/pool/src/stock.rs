//! What pools hold, and whose they are.

use culvert_model::Id;
use culvert_model::record::{Dh, Purpose, Settings, Work};
use culvert_records::Query;

/// Who has pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The cluster, for organisations and servers that are still to be made.
    Cluster,
    /// An organisation, for its users and its servers.
    Organization(Id),
}

/// What a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stock {
    /// CAs, each for an organisation that is still to be made.
    Authority,
    /// An organisation's certificates for users.
    Client(Id),
    /// An organisation's certificates for servers.
    Server(Id),
    /// Diffie-Hellman parameters of so many bits.
    DhParams(u16),
}

impl Stock {
    /// The names of all pools, in the order of the variants.
    pub const NAMES: [&'static str; 4] = ["authority", "client", "server", "dh_params"];

    /// The beginnings of all jobs' ids.
    pub(crate) const FAMILIES: [&'static str; 3] = ["authority/", "certificate/", "dh-params/"];

    /// What an owner keeps ready by these settings.
    #[must_use]
    pub fn of(owner: Owner, settings: &Settings) -> Vec<Self> {
        match owner {
            Owner::Organization(organization) => vec![Self::Client(organization), Self::Server(organization)],
            Owner::Cluster => {
                // The search takes long, and only servers that have their own need any.
                let sizes = settings.dh_pool_bits.iter().filter(|_| settings.dh == Dh::Own);
                [Self::Authority].into_iter().chain(sizes.map(|bits| Self::DhParams(*bits))).collect()
            }
        }
    }

    /// What this work makes, if it is any pool's.
    #[must_use]
    pub const fn made_by(work: &Work) -> Option<Self> {
        match work {
            Work::SpareCa => Some(Self::Authority),
            Work::Certificate { organization, purpose: Purpose::Client } => Some(Self::Client(*organization)),
            Work::Certificate { organization, purpose: Purpose::Server } => Some(Self::Server(*organization)),
            Work::DhParams { bits } => Some(Self::DhParams(*bits)),
            _ => None,
        }
    }

    /// The work that makes one.
    #[must_use]
    pub const fn work(self) -> Work {
        match self {
            Self::Authority => Work::SpareCa,
            Self::Client(organization) => Work::Certificate { organization, purpose: Purpose::Client },
            Self::Server(organization) => Work::Certificate { organization, purpose: Purpose::Server },
            Self::DhParams(bits) => Work::DhParams { bits },
        }
    }

    /// How many are to be ready.
    #[must_use]
    pub const fn level(self, settings: &Settings) -> u16 {
        match self {
            Self::Authority => settings.ca_pool,
            Self::Client(_) => settings.client_pool,
            Self::Server(_) => settings.server_pool,
            Self::DhParams(_) => settings.dh_pool,
        }
    }

    /// The pool's name, whosever it is: one of [`Self::NAMES`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[match self {
            Self::Authority => 0,
            Self::Client(_) => 1,
            Self::Server(_) => 2,
            Self::DhParams(_) => 3,
        }]
    }

    /// What the ids of all jobs begin with that make one: what follows is a slot of the pool, or a word of whoever
    /// could not wait for those.
    #[must_use]
    pub fn prefix(self) -> String {
        match self {
            Self::Authority => "authority/".into(),
            Self::Client(organization) => format!("certificate/{organization}/client/"),
            Self::Server(organization) => format!("certificate/{organization}/server/"),
            Self::DhParams(bits) => format!("dh-params/{bits}/"),
        }
    }

    /// Finds those that are there for whoever comes first: parameters, or else certificates.
    #[must_use]
    pub fn ready(self) -> Query {
        let of = |organization, purpose| Query::by("by_pool").equal(organization).equal(purpose).equal("ready");
        match self {
            Self::Authority => Query::by("by_purpose").equal("authority").equal("ready"),
            Self::Client(organization) => of(organization, "client"),
            Self::Server(organization) => of(organization, "server"),
            Self::DhParams(bits) => Query::by("by_bits").number(bits.into()),
        }
    }

    /// Finds all jobs that make one.
    #[must_use]
    pub fn jobs(self) -> Query {
        Query::under(&self.prefix())
    }

    /// The slot of this pool that a job has by its id, unless somebody ordered it besides.
    #[must_use]
    pub fn slot(self, job: &str) -> Option<u16> {
        job.strip_prefix(&self.prefix())?.parse().ok()
    }

    /// Whether a job of this id searches for Diffie-Hellman parameters, which a server may be waiting for.
    #[must_use]
    pub fn searched_by(job: &str) -> bool {
        job.starts_with(Self::FAMILIES[2])
    }

    /// The owner who misses something when a job of this id is gone, if any does.
    #[must_use]
    pub fn owner_by_job(id: &str) -> Option<Owner> {
        match id.strip_prefix("certificate/").or_else(|| id.strip_prefix("ca/")) {
            Some(rest) => rest.split('/').next()?.parse().ok().map(Owner::Organization),
            None => Self::FAMILIES.iter().any(|family| id.starts_with(family)).then_some(Owner::Cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_holds_is_told_by_its_jobs() {
        let organization = Id::from_bytes([7; 12]);
        let owner = Owner::Organization(organization);
        let settings = Settings { dh: Dh::Own, ..Settings::default() };
        for owner in [Owner::Cluster, owner] {
            for stock in Stock::of(owner, &settings) {
                assert_eq!(Stock::made_by(&stock.work()), Some(stock));
                assert_eq!(Stock::owner_by_job(&format!("{}3", stock.prefix())), Some(owner));
                assert!(Stock::FAMILIES.iter().any(|family| stock.prefix().starts_with(family)), "{stock:?}");
            }
        }
        assert_eq!(Stock::owner_by_job(&format!("ca/{organization}")), Some(owner));
        for other in ["console-certificate", "certificate/x/client/1", ""] {
            assert_eq!(Stock::owner_by_job(other), None, "{other}");
        }
    }

    #[test]
    fn parameters_are_kept_only_where_servers_have_their_own() {
        for dh in [Dh::None, Dh::Group] {
            let settings = Settings { dh, ..Settings::default() };
            assert_eq!(Stock::of(Owner::Cluster, &settings), [Stock::Authority]);
        }
        let settings = Settings { dh: Dh::Own, dh_pool_bits: vec![2048, 4096], ..Settings::default() };
        let all = [Stock::Authority, Stock::DhParams(2048), Stock::DhParams(4096)];
        assert_eq!(Stock::of(Owner::Cluster, &settings), all);
    }
}
