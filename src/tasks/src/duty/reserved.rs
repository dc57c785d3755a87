//! What was made for somebody who does not wait for it any more.
//!
//! Whoever waits takes what was made as soon as it is announced, and waits less long than this looks. So what is reserved
//! now and just the same after that is nobody's.

use culvert_model::record::{Certificate, CertificateState, DhParams, Server};
use culvert_records::{Failure, Key, Query, Stored, Write, update};

use super::{Done, counted};
use crate::desk::{Desk, WATCHED};

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let certificates = certificates(desk).await?;
    let parameters = parameters(desk).await?;
    if !certificates.is_empty() || !parameters.is_empty() {
        desk.watch().await;
    }
    let more = certificates.len() >= WATCHED;
    let (mut ready, mut free) = (0, 0);
    for write in certificates {
        ready += u64::from(desk.write(vec![write]).await?);
    }
    for write in parameters {
        free += u64::from(desk.write(vec![write]).await?);
    }
    let [ready, free] = [counted(ready, "certificate"), counted(free, "parameter set")];
    Ok(Done::of(format!("{ready} and {free} given back")).or_more(more))
}

/// The writes that put certificates back as they are now.
async fn certificates(desk: &Desk<'_>) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    let mut pages = desk.pages::<Certificate>(reserved());
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

/// Likewise for parameters, of which there are few. A server that lacks its own waits for as long as it takes.
async fn parameters(desk: &Desk<'_>) -> Result<Vec<Write>, Failure> {
    let mut found = desk.all::<DhParams>(reserved()).await?;
    let words = found.iter().filter_map(|found| found.record.reserved.clone()).collect();
    let servers = desk.see::<Server>(&words).await?.there;
    let waits = |word: &String| servers.get(word).is_some_and(|server| server.record.dh_params.is_none());
    found.retain(|found| !found.record.reserved.as_ref().is_some_and(waits));
    let free = |found: Stored<DhParams>| {
        let guard = found.unchanged();
        update(&DhParams { reserved: None, ..found.record }, guard)
    };
    Ok(found.into_iter().map(free).collect())
}

/// In the order of who waits; what nobody waits for comes before all of them.
fn reserved() -> Query {
    Query::by("by_reservation").from(Key::Text(String::new()))
}
