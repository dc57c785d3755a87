//! Jobs whose results are somebody's who waits.

use culvert_jobs::place;
use culvert_model::record::{Job, JobState, Priority};
use culvert_model::{Kind, Millis};
use culvert_pool::Stock;
use culvert_records::{Failure, Guard, Stored, Write, delete, insert, update};

use super::Way;
use crate::answer::Answer;
use crate::api::Api;
use crate::random;

/// Puts the word into a job that is open, or makes one. With the job's id, and which way that is, unless it was ordered
/// before.
pub(super) async fn order(
    api: &Api,
    stock: Stock,
    word: &str,
    deadline: Option<Millis>,
    with: &mut impl FnMut() -> Vec<Write>,
) -> Answer<(Option<Way>, String)> {
    let now = api.now().await?;
    let mut jobs = api.bus.list::<Job>(stock.jobs()).await?;
    if let Some(mine) = jobs.iter().find(|job| is_of(job, word) && comes(&job.record)) {
        let check = Write::Check { kind: Kind::Job, id: mine.record.id.clone(), guard: Guard::default() };
        api.bus.write([vec![check], with()].concat()).await?;
        return Ok((None, mine.record.id.clone()));
    }
    jobs.retain(|job| free(&job.record, now));
    // What runs is done first. Of several, one by chance, so that those who come at the same time seldom meet.
    jobs.sort_by_cached_key(|job| (job.held_for() == 0, random::below(1 << 16)));
    for found in jobs {
        let guard = found.unchanged();
        let job = Job { reserved: Some(word.into()), priority: Priority::High, ..found.record };
        match api.bus.write([vec![update(&job, guard)], with()].concat()).await {
            Ok(_) => return Ok((Some(Way::Coming), job.id)),
            // Done meanwhile, or somebody else's: the next one.
            Err(Failure::Refused { write: 0, .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    let id = format!("{}{}", stock.prefix(), random::word(16));
    let mut job = Job { reserved: Some(word.into()), deadline, ..Job::new(id, stock.work(), Priority::High, now) };
    place(&api.bus, std::slice::from_mut(&mut job)).await?;
    api.bus.write([vec![insert(&job)], with()].concat()).await?;
    Ok((Some(Way::Made), job.id))
}

fn is_of(job: &Stored<Job>, word: &str) -> bool {
    job.record.reserved.as_deref() == Some(word)
}

/// Whether a job is not given up.
fn comes(job: &Job) -> bool {
    job.state == JobState::Open && !job.cancelled
}

/// Whether a job's result will be there for whoever comes first, and soon: one that failed waits for its next attempt.
fn free(job: &Job, now: Millis) -> bool {
    comes(job) && job.reserved.is_none() && job.not_before <= now && job.deadline.is_none()
}

/// Nobody waits with this word any more: what is made for it goes to the pool, and what was ordered besides and not begun
/// is not made. Best effort: what comes of an order that stays is for whoever needs it.
pub async fn forget_order(api: &Api, stock: Stock, word: &str) {
    if let Err(failure) = let_go(api, stock, word).await {
        tracing::debug!(%failure, pool = stock.name(), "an order was not taken back");
    }
}

async fn let_go(api: &Api, stock: Stock, word: &str) -> Result<(), Failure> {
    for mut job in api.bus.list::<Job>(stock.jobs()).await?.into_iter().filter(|job| is_of(job, word)) {
        let ordered = stock.slot(&job.record.id).is_none();
        if ordered && job.held_for() == 0 && job.record.state == JobState::Open {
            api.bus.write(vec![delete::<Job>(&job.record.id, job.unchanged())]).await?;
        } else {
            job.record.reserved = None;
            job.record.deadline = None;
            job.record.priority = Priority::Low;
            api.bus.update(&mut job).await?;
        }
    }
    Ok(())
}
