//! Taking a certificate out of an organisation's pool, or having one made (decision 0001, "The path of a user
//! certificate").

use std::time::Duration;

use culvert_model::record::{
    Certificate, CertificateKey, CertificateState, Job, Organization, Priority, Purpose, Work,
};
use culvert_model::{Id, Kind};
use culvert_records::{Failure, Guard, Query, Stored, Write, delete, insert, update};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::random;

/// How long one waits for a certificate to be made.
const PATIENCE: Duration = Duration::from_secs(50);

/// How many certificates are looked at to find one that nobody else takes at the same time.
const CHOICE: u16 = 16;

/// Takes a certificate of this organisation: the writes that `with` makes for it happen together with the taking, or
/// not at all. They are asked for again when somebody else was faster.
///
/// # Errors
///
/// None came in time, one of the writes was refused for another reason, or the store can't be reached.
pub async fn take<F>(api: &Api, organization: Id, purpose: Purpose, mut with: F) -> Answer<Certificate>
where
    F: FnMut(&Certificate) -> Vec<Write>,
{
    if let Some(taken) = from_pool(api, organization, purpose, &mut with).await? {
        return Ok(taken);
    }
    let word = random::word(24);
    let result = made(api, organization, purpose, &word, &mut with).await;
    if result.is_err() {
        give_back(api, &word).await;
    }
    result
}

/// One that is ready. Of several, one by chance, so that those who take at the same time seldom take the same.
async fn from_pool<F>(api: &Api, organization: Id, purpose: Purpose, with: &mut F) -> Answer<Option<Certificate>>
where
    F: FnMut(&Certificate) -> Vec<Write>,
{
    for _ in 0..5 {
        let purpose = serde_json::to_value(purpose).ok().and_then(|word| word.as_str().map(str::to_owned));
        let pool = Query::by("by_pool").equal(organization).equal(purpose.unwrap_or_default()).equal("ready");
        let mut ready = api.bus.find::<Certificate>(pool.limit(CHOICE)).await?.items;
        if ready.is_empty() {
            return Ok(None);
        }
        let chosen = ready.swap_remove(random::below(ready.len() as u32) as usize);
        if let Some(taken) = try_take(api, chosen, with).await? {
            return Ok(Some(taken));
        }
    }
    Ok(None)
}

/// Nothing if somebody else took it.
async fn try_take<F>(api: &Api, chosen: Stored<Certificate>, with: &mut F) -> Answer<Option<Certificate>>
where
    F: FnMut(&Certificate) -> Vec<Write>,
{
    let guard = chosen.unchanged();
    let taken = Certificate { state: CertificateState::Taken, reserved: None, ..chosen.record };
    let mut writes = vec![update(&taken, guard)];
    writes.extend(with(&taken));
    match api.bus.write(writes).await {
        Ok(_) => Ok(Some(taken)),
        Err(Failure::Refused { write: 0, .. }) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// One that is being made, or is made now, for whoever has this word.
async fn made<F>(api: &Api, organization: Id, purpose: Purpose, word: &str, with: &mut F) -> Answer<Certificate>
where
    F: FnMut(&Certificate) -> Vec<Write>,
{
    let mut watch = api.watch(&[Kind::Certificate, Kind::Job, Kind::Organization], PATIENCE);
    order(api, organization, purpose, word).await?;
    loop {
        let reserved = api.bus.find::<Certificate>(Query::by("by_reservation").equal(word).limit(1)).await?;
        if let Some(reserved) = reserved.items.into_iter().next()
            && let Some(taken) = try_take(api, reserved, with).await?
        {
            return Ok(taken);
        }
        // Whoever made it may have begun before the word was there: then it is in the pool.
        if let Some(taken) = from_pool(api, organization, purpose, with).await? {
            forget(api, word).await;
            return Ok(taken);
        }
        hopeless(api, organization, word).await?;
        if !watch.next().await {
            let text = "No certificate was made in time: is a queue process running? Nothing was changed.";
            return Err(No::late(text));
        }
    }
}

/// Whether waiting has become useless: the organisation is gone, or the job was given up.
async fn hopeless(api: &Api, organization: Id, word: &str) -> Answer<()> {
    api.have::<Organization>(organization, "organization").await?;
    let dead = api.bus.find::<Job>(Query::by("by_state").equal("dead").limit(200)).await?.items;
    match dead.into_iter().find(|job| job.record.reserved.as_deref() == Some(word)) {
        Some(job) => {
            let why = job.record.error.unwrap_or_default();
            let text = format!("No certificate could be made: {why}. Nothing was changed.");
            Err(No::new(http::StatusCode::INTERNAL_SERVER_ERROR, "certificate_failed", text))
        }
        None => Ok(()),
    }
}

/// Puts the word into a job that is open, or makes one.
async fn order(api: &Api, organization: Id, purpose: Purpose, word: &str) -> Answer<()> {
    let work = Work::Certificate { organization, purpose };
    let open = api.bus.find::<Job>(Query::by("by_state").equal("open").limit(200)).await?.items;
    for mut job in open.into_iter().filter(|job| job.record.work == work && job.record.reserved.is_none()) {
        job.record.reserved = Some(word.into());
        job.record.priority = Priority::High;
        match api.bus.update(&mut job).await {
            Ok(()) => return Ok(()),
            // Done meanwhile, or somebody else's: the next one.
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    let now = api.now().await?;
    let purpose = match purpose {
        Purpose::Client => "client",
        Purpose::Server => "server",
        Purpose::Authority => "authority",
    };
    let id = format!("certificate/{organization}/{purpose}/{}", random::word(16));
    let job = Job { reserved: Some(word.into()), ..Job::new(id, work, Priority::High, now) };
    Ok(api.bus.insert(&job).await?)
}

/// Takes the word out of the job again, whose certificate then goes to the pool. Best effort: what is left behind is
/// swept.
async fn forget(api: &Api, word: &str) {
    let Ok(open) = api.bus.find::<Job>(Query::by("by_state").equal("open").limit(200)).await else { return };
    for mut job in open.items.into_iter().filter(|job| job.record.reserved.as_deref() == Some(word)) {
        job.record.reserved = None;
        job.record.priority = Priority::Low;
        if api.bus.update(&mut job).await.is_ok() {
            return;
        }
    }
    give_back(api, word).await;
}

/// Puts what was made for this word into the pool.
async fn give_back(api: &Api, word: &str) {
    let Ok(found) = api.bus.find::<Certificate>(Query::by("by_reservation").equal(word).limit(1)).await else { return };
    for mut certificate in found.items {
        certificate.record.state = CertificateState::Ready;
        certificate.record.reserved = None;
        if let Err(failure) = api.bus.update(&mut certificate).await {
            tracing::debug!(%failure, "a reserved certificate was not given back");
        }
    }
}

/// The writes that remove a certificate and its key.
pub fn removal(id: Id) -> Vec<Write> {
    vec![delete::<Certificate>(id, Guard::default()), delete::<CertificateKey>(id, Guard::default())]
}

/// The job that makes an organisation's CA.
pub fn ca_job(organization: Id, now: culvert_model::Millis) -> Write {
    insert(&Job::new(format!("ca/{organization}"), Work::Ca { organization }, Priority::High, now))
}
