//! What is expired.

use culvert_model::record::{Nonce, ProfileLink, Session};
use culvert_records::Failure;

use super::{Desk, counted};

const INDEX: &str = "by_expiry";

pub async fn run(desk: &Desk<'_>) -> Result<String, Failure> {
    let now = i64::try_from(desk.now).unwrap_or(i64::MAX);
    let logins = desk.bus.sweep::<Session>(INDEX, now).await?;
    let nonces = desk.bus.sweep::<Nonce>(INDEX, now).await?;
    let links = desk.bus.sweep::<ProfileLink>(INDEX, now).await?;
    let [logins, nonces, links] = [counted(logins, "login"), counted(nonces, "nonce"), counted(links, "profile link")];
    Ok(format!("{logins}, {nonces} and {links} removed"))
}
