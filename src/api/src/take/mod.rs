//! Taking what was made before, or having it made (decision 0001, "The path of a user certificate").
//!
//! There are three ways, in this order: one that is ready; one that is being made, whose job is reserved; one that is
//! made now. All pools are taken from like that.

mod count;
mod order;
mod pooled;
mod wait;

use culvert_model::Millis;
use culvert_pool::Stock;
use culvert_records::{Failure, Stored, Write};

pub use count::{Takes, Way};
pub use order::forget_order;
pub use pooled::Pooled;
pub use wait::take;

use crate::answer::Answer;
use crate::api::Api;
use crate::random;

/// How many are looked at to find one that nobody else takes at the same time.
const CHOICE: u16 = 16;

/// How often one that somebody else took is passed over for another.
const TRIES: usize = 5;

/// What whoever asked for one has.
#[derive(Debug)]
pub enum Got<T> {
    /// One that was ready.
    Taken(T),
    /// A job of this id, whose result is reserved.
    Ordered(String),
}

/// One that is ready, or else a job that makes one for whoever has this word, to be begun before the deadline if there is
/// one. The writes that `with` makes for it, or for nothing yet, happen together with the taking or the order, or not at
/// all; they are asked for again when somebody else was faster. Who asks again with the same word orders nothing more,
/// and is not counted once more.
///
/// # Errors
///
/// One of the writes was refused for another reason, or the store can't be reached.
pub async fn ask<T: Pooled>(
    api: &Api,
    stock: Stock,
    word: &str,
    deadline: Option<Millis>,
    mut with: impl FnMut(Option<&T>) -> Vec<Write>,
) -> Answer<Got<T>> {
    let (way, got) = match ready(api, stock, &mut |item: &T| with(Some(item))).await? {
        Some(item) => (Some(Way::Ready), Got::Taken(item)),
        None => {
            let (way, job) = order::order(api, stock, word, deadline, &mut || with(None)).await?;
            (way, Got::Ordered(job))
        }
    };
    if let Some(way) = way {
        tracing::info!(pool = stock.name(), way = way.name(), "somebody takes from a pool");
        api.takes.count(stock, way);
    }
    Ok(got)
}

/// One that is ready. Of several, one by chance, so that those who take at the same time seldom take the same.
async fn ready<T: Pooled>(api: &Api, stock: Stock, with: &mut impl FnMut(&T) -> Vec<Write>) -> Answer<Option<T>> {
    for _ in 0..TRIES {
        let mut ready = api.bus.find::<T>(stock.ready().limit(CHOICE)).await?.items;
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
async fn try_take<T: Pooled>(
    api: &Api,
    chosen: Stored<T>,
    with: &mut impl FnMut(&T) -> Vec<Write>,
) -> Answer<Option<T>> {
    let (taken, write) = T::take(chosen);
    let mut writes = vec![write];
    writes.extend(with(&taken));
    match api.bus.write(writes).await {
        Ok(_) => Ok(Some(taken)),
        Err(Failure::Refused { write: 0, .. }) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}
