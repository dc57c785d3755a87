//! The lists of revoked certificates, which anybody may ask for, however often: what is asked for, be it there or not, is read
//! once in a moment and then given to all from the same memory; no two are read at the same time, and few wait for that. So
//! a flood of requests, also for what nobody has, is at most one request of the store at a time, and leaves room for others.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::Crl;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::answer::{Answer, No};
use crate::api::Api;

/// How old a list may be that is given again. It was signed half a second after the revocation in any case.
const FRESH: Duration = Duration::from_secs(1);

/// Requests for lists that are being answered at the same time, an eighth of all.
const PLACES: usize = 32;

/// The lists that were read in the last moment.
#[derive(Debug)]
pub struct Lists {
    places: Semaphore,
    read: Mutex<BTreeMap<Id, (Instant, Option<reply::Crl>)>>,
}

impl Default for Lists {
    fn default() -> Self {
        Self { places: Semaphore::new(PLACES), read: Mutex::default() }
    }
}

/// The signed list of an organisation's revoked certificates.
///
/// # Errors
///
/// There is none, too many are asked for, or the store can't be reached.
pub async fn read(api: &Api, organization: Id) -> Answer<reply::Crl> {
    let _place = api.lists.places.try_acquire().map_err(|_| No::busy())?;
    let mut read = api.lists.read.lock().await;
    read.retain(|_, (at, _)| at.elapsed() < FRESH);
    let list = match read.get(&organization) {
        Some((_, list)) => list.clone(),
        None => {
            let found = api.bus.get::<Crl>(organization).await?.map(|found| found.record);
            let name = format!("{organization}.crl");
            let list = found.map(|Crl { number, der, .. }| reply::Crl { name, number, der: Bytes::from(der.0) });
            read.insert(organization, (Instant::now(), list.clone()));
            list
        }
    };
    list.ok_or_else(|| No::missing("list of revoked certificates"))
}
