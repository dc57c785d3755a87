//! The pools, should a message have been lost.

use culvert_pool::refill_all;
use culvert_records::Failure;

use super::{Desk, counted};

pub async fn run(desk: &Desk<'_>) -> Result<String, Failure> {
    let done = refill_all(desk.bus).await?;
    Ok(format!("{} enqueued", counted(done.enqueued as u64, "job")))
}
