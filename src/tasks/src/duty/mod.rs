//! The table of tasks: a file for each.

mod addresses;
mod certificates;
mod clients;
mod expired;
mod failover;
mod hosts;
mod jobs;
mod locks;
mod orphans;
mod pools;
mod references;
mod reserved;
mod servers;
mod users;

use std::fmt;
use std::pin::Pin;

use culvert_model::record::Host;
use culvert_model::{Kind, Millis};
use culvert_records::Failure;

use crate::desk::Desk;

/// What a task does, once.
///
/// # Errors
///
/// The store can't be reached, or this host lost the run: what was done stays done.
pub type Work = for<'a> fn(&'a Desk<'a>) -> Pin<Box<dyn Future<Output = Result<Done, Failure>> + Send + 'a>>;

/// A task: its name is the id of its record.
#[derive(Debug)]
pub struct Duty {
    /// The name.
    pub name: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// How often it is due, milliseconds.
    pub period: Millis,
    /// It is due as well when a record of these kinds was changed. What it looks at in vain costs nothing then, however
    /// many records there are; and news that get lost cost time, no more than its period.
    pub hears: &'static [Kind],
    /// How long it may take, milliseconds. It is its lease, too: that is kept while the run goes on, and when its host dies,
    /// another begins again so much later.
    pub timeout: Millis,
    /// What it does.
    pub work: Work,
}

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;

/// All tasks. What looks at all users, or at what each of them has, does it once a day.
pub static DUTIES: [Duty; 15] = [
    Duty {
        name: "lost-hosts",
        what: "Sets hosts offline that no longer report.",
        // It is due again when the first lease that it saw could run out.
        period: Host::LEASE,
        hears: &[],
        // Whoever dies while it runs has renewed its own lease at most a renewal before: this one ends first.
        timeout: 5 * SECOND,
        work: |desk| Box::pin(hosts::run(desk)),
    },
    Duty {
        name: "lost-servers",
        what: "Frees the instances of hosts that are lost, and removes the connections to them.",
        period: 5 * SECOND,
        // Whoever is lost is seen to be so by its record, and its instances' leases end a little later.
        hears: &[Kind::Host],
        timeout: 15 * SECOND,
        work: |desk| Box::pin(servers::lost(desk)),
    },
    Duty {
        name: "spare-instances",
        what: "Removes the instances of servers that are gone or have fewer of them.",
        period: MINUTE,
        hears: &[],
        timeout: MINUTE,
        work: |desk| Box::pin(servers::spare(desk)),
    },
    Duty {
        name: "failover",
        what: "Has servers run by another availability group where that is needed.",
        period: MINUTE,
        // It follows from nothing else.
        hears: &[Kind::Host, Kind::Server],
        timeout: 15 * SECOND,
        work: |desk| Box::pin(failover::run(desk)),
    },
    Duty {
        name: "lost-clients",
        what: "Removes the connections of clients whose server does not run where they were.",
        period: 5 * MINUTE,
        hears: &[],
        timeout: MINUTE,
        work: |desk| Box::pin(clients::run(desk)),
    },
    Duty {
        name: "network-locks",
        what: "Unlocks the networks of servers that nobody is moving any more.",
        period: MINUTE,
        hears: &[],
        timeout: MINUTE,
        work: |desk| Box::pin(locks::run(desk)),
    },
    Duty {
        name: "addresses",
        what: "Removes addresses that nobody can have any more.",
        period: 24 * HOUR,
        hears: &[],
        timeout: 5 * MINUTE,
        work: |desk| Box::pin(addresses::run(desk)),
    },
    Duty {
        name: "pools",
        what: "Refills the pools of certificates, should a message have been lost.",
        period: 5 * MINUTE,
        hears: &[],
        timeout: MINUTE,
        work: |desk| Box::pin(pools::run(desk)),
    },
    Duty {
        name: "reserved",
        what: "Puts certificates into the pool that nobody fetched.",
        period: 5 * MINUTE,
        hears: &[],
        timeout: 3 * MINUTE,
        work: |desk| Box::pin(reserved::run(desk)),
    },
    Duty {
        name: "jobs",
        what: "Removes jobs that nobody needs any more.",
        period: MINUTE,
        hears: &[],
        timeout: MINUTE,
        work: |desk| Box::pin(jobs::run(desk)),
    },
    Duty {
        name: "certificates",
        what: "Warns of certificates that end soon, renews those of servers and of the console, revokes those that were \
               replaced a while ago, and has the lists of revoked ones signed anew.",
        period: HOUR,
        hears: &[],
        timeout: 5 * MINUTE,
        work: |desk| Box::pin(certificates::run(desk)),
    },
    Duty {
        name: "server-references",
        what: "Makes servers forget organisations, hosts and certificates that are gone.",
        period: HOUR,
        hears: &[],
        timeout: 2 * MINUTE,
        work: |desk| Box::pin(references::run(desk)),
    },
    Duty {
        name: "lost-users",
        what: "Removes users whose organisation is gone, with all that was theirs.",
        period: 24 * HOUR,
        hears: &[],
        timeout: 5 * MINUTE,
        work: |desk| Box::pin(users::run(desk)),
    },
    Duty {
        name: "lost-records",
        what: "Removes certificates and figures whose owner is gone.",
        period: 24 * HOUR,
        hears: &[],
        timeout: 5 * MINUTE,
        work: |desk| Box::pin(orphans::run(desk)),
    },
    Duty {
        name: "expired",
        what: "Removes logins, nonces and profile links that have expired.",
        period: MINUTE,
        hears: &[],
        timeout: MINUTE,
        work: |desk| Box::pin(expired::run(desk)),
    },
];

/// What came of a run that did what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What it did, for people.
    pub text: String,
    /// In how many milliseconds it is due again, if it is known: at the latest when its period is over.
    pub again: Option<Millis>,
}

impl Done {
    /// Due again in its period.
    #[must_use]
    pub fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: None }
    }

    /// Due again at once if there is more than one run does.
    #[must_use]
    pub fn or_more(self, more: bool) -> Self {
        Self { again: more.then_some(0).or(self.again), ..self }
    }
}

/// `0 users`, `1 user`, `2 users`; for a noun whose plural is formed otherwise, `address|addresses`.
fn counted(number: u64, noun: impl fmt::Display) -> String {
    let noun = noun.to_string();
    let (one, many) =
        noun.split_once('|').map_or_else(|| (noun.clone(), format!("{noun}s")), |(a, b)| (a.into(), b.into()));
    format!("{number} {}", if number == 1 { one } else { many })
}
