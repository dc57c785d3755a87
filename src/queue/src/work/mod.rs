//! What a job needs from the records, and what its result becomes in them: a file for each kind of work.
//!
//! `look` reads, and says what is to be made. `writes` says what makes it visible; the queue commits that together with
//! the job's removal, guarded by the job's claim. `undo` says what takes back what was done, if the job is given up.
//! All may be called again at any time, also by another host: they go by what is in the store.

mod addresses;
mod ca;
mod certificate;
mod console;
mod crl;
mod dh;
mod renew;
mod users;

use culvert_keys::{Issuer, Made, Recipe};
use culvert_model::Id;
use culvert_model::record::{CaKey, Job, Organization, Reason, Settings, Work};
use culvert_records::{Failure, Write};
use zeroize::Zeroizing;

use crate::Desk;
use crate::claimed::Claimed;

/// Why a job was not done.
#[derive(Debug)]
pub enum Trouble {
    /// It is gone, or not open any more.
    Lost,
    /// The store is away.
    Away,
    /// Something else has to be made before.
    NotYet(&'static str),
    /// A batch was not written, or perhaps.
    Unwritten(Failure),
    /// There was nothing to do, and then somebody changed it.
    Changed,
    /// What went wrong, for people.
    Failed(String),
    /// The same, when trying again would only come to the same.
    Hopeless(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        if failure.outage() { Self::Away } else { Self::Failed(failure.to_string()) }
    }
}

/// What a job takes.
pub enum Need {
    /// Nothing: what it would make is there, or nobody needs it any more. There is nothing to write either.
    Nothing(&'static str),
    /// These are to be made, in this order. None, if the work is only writes.
    Make(Vec<Recipe>),
}

/// Reads what the job needs.
pub async fn look(desk: &Desk, job: &Job) -> Result<Need, Trouble> {
    match &job.work {
        Work::ConsoleCertificate => console::look(desk).await,
        Work::Ca { organization } => ca::look(desk, *organization).await,
        Work::SpareCa => ca::look_spare(desk).await,
        Work::Certificate { organization, purpose } => certificate::look(desk, *organization, *purpose).await,
        Work::DhParams { bits } => dh::look(desk, job, *bits).await,
        Work::Users { organization, users } => users::look(desk, *organization, users).await,
        Work::AssignPool { .. }
        | Work::AssignAddresses { .. }
        | Work::AssignAddress { .. }
        | Work::UnassignAddress { .. }
        | Work::Crl { .. } => Ok(Need::Make(Vec::new())),
        Work::Renew { certificate, .. } => renew::look(desk, *certificate).await,
        _ => Err(Trouble::Failed("This kind of work is not known here.".into())),
    }
}

/// The writes that make the result visible: none, if it isn't needed any more. What doesn't fit into one batch is
/// written batch by batch in this order, each under the job's claim, or was so already; when one of them is refused, this
/// is asked again.
pub async fn writes(claimed: &mut Claimed, made: &[Made]) -> Result<Vec<Write>, Trouble> {
    let (shared, job) = (claimed.desk.clone(), claimed.job.record.clone());
    let (desk, job) = (&*shared, &job);
    match (&job.work, made) {
        (Work::ConsoleCertificate, [Made::Pair(pair)]) => console::writes(desk, pair).await,
        (Work::Ca { organization }, [Made::Pair(pair)]) => ca::writes(desk, *organization, pair).await,
        (Work::SpareCa, [Made::Pair(pair)]) => Ok(ca::writes_spare(job, pair)),
        (Work::Certificate { organization, purpose }, [Made::Pair(pair)]) => {
            Ok(certificate::writes(job, *organization, *purpose, pair))
        }
        (Work::DhParams { bits }, [Made::DhParams(der)]) => dh::writes(desk, job, *bits, der).await,
        (Work::Users { organization, users }, made) => users::writes(desk, job, *organization, users, made).await,
        (Work::AssignPool { server, old, new }, _) => addresses::move_all(claimed, *server, [*old, *new]).await,
        (Work::AssignAddresses { server }, _) => addresses::assign_all(claimed, *server).await,
        (Work::AssignAddress { server, user }, _) => addresses::assign(desk, *server, *user).await,
        (Work::UnassignAddress { server, user }, _) => addresses::unassign(desk, *server, *user).await,
        (Work::Renew { certificate, immediate, compromised }, made) => {
            let reason = if *compromised { Reason::KeyCompromise } else { Reason::Superseded };
            let pair = if let [Made::Pair(pair)] = made { Some(pair) } else { None };
            renew::writes(desk, *certificate, immediate.then_some(reason), pair).await
        }
        (Work::Crl { organization }, []) => crl::writes(desk, *organization).await,
        _ => Ok(Vec::new()),
    }
}

/// The writes that take back what the job has done so far, when it is cancelled or dies. At most a batch.
pub async fn undo(desk: &Desk, job: &Job) -> Result<Vec<Write>, Trouble> {
    match &job.work {
        Work::AssignPool { server, .. } => addresses::give_up_move(desk, job, *server).await,
        Work::Users { users, .. } if job.cancelled => users::forget(desk, users).await.map(|()| Vec::new()),
        _ => Ok(Vec::new()),
    }
}

async fn organization(desk: &Desk, id: Id) -> Result<Option<Organization>, Failure> {
    Ok(desk.bus.get::<Organization>(id).await?.map(|stored| stored.record))
}

/// The CA of an organisation.
async fn issuer(desk: &Desk, organization: Organization) -> Result<Issuer, Trouble> {
    let key = desk.bus.get::<CaKey>(organization.id).await?;
    let (Some(certificate), Some(key)) = (organization.ca, key) else {
        return Err(Trouble::NotYet("The organisation's CA is not made yet."));
    };
    Ok(Issuer { certificate: certificate.0, key: Zeroizing::new(key.record.key.0) })
}

async fn settings(desk: &Desk) -> Result<Settings, Failure> {
    let stored = desk.bus.get::<Settings>(Settings::ID).await?;
    Ok(stored.map_or_else(Settings::default, |stored| stored.record))
}
