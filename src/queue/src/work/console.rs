//! The console's own certificate.

use culvert_keys::{Pair, Recipe};
use culvert_model::Bytes;
use culvert_model::record::{Tls, TlsKey};
use culvert_records::{Write, insert};

use super::{Need, Trouble};
use crate::Desk;

pub async fn look(desk: &Desk) -> Result<Need, Trouble> {
    let (_, now) = desk.bus.here().await?;
    Ok(match desk.bus.get::<Tls>(Tls::ID).await? {
        Some(_) => Need::Nothing("the console has a certificate"),
        None => Need::Make(vec![Recipe::Console { now }]),
    })
}

pub async fn writes(desk: &Desk, pair: &Pair) -> Result<Vec<Write>, Trouble> {
    if desk.bus.get::<Tls>(Tls::ID).await?.is_some() {
        return Ok(Vec::new());
    }
    let tls = Tls { id: Tls::ID.into(), chain: vec![Bytes(pair.der.clone())], expires: pair.expires };
    Ok(vec![insert(&TlsKey { id: Tls::ID.into(), key: Bytes(pair.key.to_vec()) }), insert(&tls)])
}
