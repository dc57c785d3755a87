//! Waiting for what is being made.

use std::time::Duration;

use culvert_model::Kind;
use culvert_model::record::{Certificate, CertificateState, Job, JobState, Organization};
use culvert_pool::Stock;
use culvert_records::{Failure, Query, Write};
use http::StatusCode;

use super::{Got, ask, forget_order, ready, try_take};
use crate::answer::{Answer, No};
use crate::api::{Api, Watch};
use crate::random;

/// How long one waits for something to be made.
const PATIENCE: Duration = Duration::from_secs(50);

/// Takes a certificate of this stock, or waits until one is made: the writes that `with` makes for it happen together with the
/// taking, or not at all. They are asked for again when somebody else was faster.
///
/// # Errors
///
/// None came in time, one of the writes was refused for another reason, or the store can't be reached.
pub async fn take(api: &Api, stock: Stock, mut with: impl FnMut(&Certificate) -> Vec<Write>) -> Answer<Certificate> {
    let mut watch = api.watch(&[Kind::Certificate, Kind::Job, Kind::Organization], PATIENCE);
    let word = random::word(24);
    let deadline = api.now().await? + PATIENCE.as_millis() as u64;
    let asked = ask(api, stock, &word, Some(deadline), |item| item.map_or_else(Vec::new, &mut with)).await;
    let result = match asked {
        Ok(Got::Taken(item)) => return Ok(item),
        Ok(Got::Ordered(job)) => until_made(api, stock, &word, &job, &mut watch, &mut with).await,
        Err(no) => Err(no),
    };
    match result {
        Ok((item, true)) => Ok(item),
        other => {
            forget(api, stock, &word).await;
            other.map(|(item, _)| item)
        }
    }
}

/// With whether it is the one that was reserved.
async fn until_made(
    api: &Api,
    stock: Stock,
    word: &str,
    job: &str,
    watch: &mut Watch,
    with: &mut impl FnMut(&Certificate) -> Vec<Write>,
) -> Answer<(Certificate, bool)> {
    loop {
        // Read first: if it is gone because it was done, then what it made is there.
        let job = api.bus.get::<Job>(job).await?.map(|found| found.record);
        for found in api.bus.find::<Certificate>(reserved(word)).await?.items {
            if let Some(taken) = try_take(api, found, with).await? {
                return Ok((taken, true));
            }
        }
        // Another one may have come to the pool before.
        if let Some(taken) = ready(api, stock, with).await? {
            return Ok((taken, false));
        }
        hopeless(api, stock, job.as_ref()).await?;
        if !watch.next().await {
            let text = "What this takes was not made in time: is a queue process running? Nothing was changed.";
            return Err(No::late(text));
        }
    }
}

/// Finds what was made for whoever has this word.
fn reserved(word: &str) -> Query {
    Query::by("by_reservation").equal(word).limit(1)
}

/// Nobody waits with this word any more: what was made for it is there for whoever comes first. Best effort: what is left
/// behind is swept by a task.
async fn forget(api: &Api, stock: Stock, word: &str) {
    forget_order(api, stock, word).await;
    if let Err(failure) = give_back(api, word).await {
        tracing::debug!(%failure, pool = stock.name(), "what was reserved was not given back");
    }
}

async fn give_back(api: &Api, word: &str) -> Result<(), Failure> {
    for mut made in api.bus.find::<Certificate>(reserved(word)).await?.items {
        (made.record.state, made.record.reserved) = (CertificateState::Ready, None);
        api.bus.update(&mut made).await?;
    }
    Ok(())
}

/// Whether waiting has become useless: the organisation is gone, or the job was given up.
async fn hopeless(api: &Api, stock: Stock, job: Option<&Job>) -> Answer<()> {
    if let Stock::Client(organization) | Stock::Server(organization) = stock {
        api.have::<Organization>(organization, "organization").await?;
    }
    match job {
        None => {
            let text = "The job that made what this takes was cancelled. Nothing was changed. Try again.";
            Err(No { later: true, ..No::new(StatusCode::SERVICE_UNAVAILABLE, "job_cancelled", text) })
        }
        Some(Job { state: JobState::Dead, error, .. }) => {
            let why = error.as_deref().unwrap_or("nobody knows why");
            let text = format!("What this takes could not be made: {why}. Nothing was changed.");
            Err(No::new(StatusCode::INTERNAL_SERVER_ERROR, "making_failed", text))
        }
        Some(_) => Ok(()),
    }
}
