//! Jobs, tasks and pools, as administrators see them, and what they can do about them.

pub mod job;
pub mod pool;
pub mod task;

use culvert_model::Record;
use culvert_records::Stored;

use crate::answer::{Answer, No};
use crate::api::Api;

/// The record that somebody named, or 404: also if nothing can have that name.
async fn named<T: Record>(api: &Api, id: &str, what: &'static str) -> Answer<Stored<T>> {
    if id.is_empty() || id.len() > 512 || id.chars().any(char::is_control) {
        return Err(No::missing(what));
    }
    api.have(id, what).await
}
