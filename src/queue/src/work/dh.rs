//! Diffie-Hellman parameters, for the pool or for the server that waits for them.

use culvert_keys::Recipe;
use culvert_model::record::{Dh, DhParams, Job, Server, Settings};
use culvert_model::{Bytes, Id};
use culvert_records::{Failure, Stored, Write, insert, update};

use super::{Need, Trouble, settings};
use crate::Desk;

pub async fn look(desk: &Desk, job: &Job, bits: u16) -> Result<Need, Trouble> {
    let Settings { dh, .. } = settings(desk).await?;
    Ok(if dh != Dh::Own && waiting(desk, job, bits).await?.is_none() {
        // Minutes of a processor's time for what nobody would take.
        Need::Nothing("servers have no parameters of their own any more")
    } else {
        Need::Make(vec![Recipe::DhParams { bits }])
    })
}

/// Into the server that waits for them: whoever ordered them need not be there any more. Else into the pool.
pub async fn writes(desk: &Desk, job: &Job, bits: u16, der: &[u8]) -> Result<Vec<Write>, Trouble> {
    let der = Bytes(der.to_vec());
    Ok(vec![match waiting(desk, job, bits).await? {
        Some(mut server) => {
            server.record.dh_params = Some(der);
            update(&server.record, server.unchanged())
        }
        None => insert(&DhParams { id: Id::new(), bits, der }),
    }])
}

/// The server that reserved the result and still lacks it.
async fn waiting(desk: &Desk, job: &Job, bits: u16) -> Result<Option<Stored<Server>>, Failure> {
    let Some(Ok(id)) = job.reserved.as_ref().map(|word| word.parse::<Id>()) else { return Ok(None) };
    let server = desk.bus.get::<Server>(id).await?;
    Ok(server.filter(|found| found.record.dh_params.is_none() && found.record.dh_size() == bits))
}
