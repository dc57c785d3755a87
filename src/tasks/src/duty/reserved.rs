//! What was made for somebody who does not wait for it any more.
//!
//! Whoever waits takes what was made as soon as it is announced, and waits less long than this looks. So what is reserved
//! now and just the same after that is nobody's.

use culvert_model::record::{Certificate, CertificateState};
use culvert_records::{Failure, Key, Query, Write, update};

use super::{Done, counted};
use crate::desk::{Desk, WATCHED};

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let certificates = certificates(desk).await?;
    if !certificates.is_empty() {
        desk.watch().await;
    }
    let more = certificates.len() >= WATCHED;
    let mut ready = 0;
    for write in certificates {
        ready += u64::from(desk.write(vec![write]).await?);
    }
    Ok(Done::of(format!("{} given back", counted(ready, "certificate"))).or_more(more))
}

/// The writes that put certificates back as they are now.
async fn certificates(desk: &Desk<'_>) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    let mut pages = desk.bus.pages::<Certificate>(reserved());
    while let Some(page) = pages.next().await? {
        writes.extend(page.into_iter().filter(|found| found.record.state == CertificateState::Reserved).map(|found| {
            let guard = found.unchanged();
            update(&Certificate { state: CertificateState::Ready, reserved: None, ..found.record }, guard)
        }));
        if writes.len() >= WATCHED {
            break;
        }
    }
    writes.truncate(WATCHED);
    Ok(writes)
}

/// In the order of who waits; what nobody waits for comes before all of them.
fn reserved() -> Query {
    Query::by("by_reservation").from(Key::Text(String::new()))
}
