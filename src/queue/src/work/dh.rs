//! Diffie-Hellman parameters, for the pool or for the server that waits for them.

use culvert_keys::Recipe;
use culvert_model::record::{Dh, DhParams, Job, Settings};
use culvert_model::{Bytes, Id};
use culvert_records::{Write, insert};

use super::{Need, Trouble, settings};
use crate::Desk;

pub async fn look(desk: &Desk, job: &Job, bits: u16) -> Result<Need, Trouble> {
    let Settings { dh, .. } = settings(desk).await?;
    Ok(if dh != Dh::Own && job.reserved.is_none() {
        // Minutes of a processor's time for what nobody would take.
        Need::Nothing("servers have no parameters of their own any more")
    } else {
        Need::Make(vec![Recipe::DhParams { bits }])
    })
}

pub fn writes(job: &Job, bits: u16, der: &[u8]) -> Vec<Write> {
    let params = DhParams { id: Id::new(), bits, reserved: job.reserved.clone(), der: Bytes(der.to_vec()) };
    vec![insert(&params)]
}
