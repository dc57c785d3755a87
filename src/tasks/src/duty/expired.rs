//! What is expired. The store compares and removes in one step, so that what is made to last longer meanwhile stays.

use culvert_model::record::{Nonce, ProfileLink, Session};
use culvert_records::Failure;

use super::{Done, counted};
use crate::desk::Desk;

const INDEX: &str = "by_expiry";

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let now = i64::try_from(desk.now).unwrap_or(i64::MAX);
    let logins = counted(desk.bus.sweep::<Session>(INDEX, now).await?, "login");
    let nonces = counted(desk.bus.sweep::<Nonce>(INDEX, now).await?, "nonce");
    let links = counted(desk.bus.sweep::<ProfileLink>(INDEX, now).await?, "profile link");
    Ok(Done::of(format!("{logins}, {nonces} and {links} removed")))
}
