//! The pools, should a message have been lost.

use culvert_pool::refill_all;
use culvert_records::Failure;

use super::{Done, counted};
use crate::desk::Desk;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let done = refill_all(desk.bus).await?;
    Ok(Done::of(format!("{} enqueued", counted(done.enqueued as u64, "job"))))
}
