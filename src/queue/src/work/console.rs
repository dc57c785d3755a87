//! The console's own certificate: made once, and again when it ends soon.

use culvert_keys::{Pair, Recipe};
use culvert_model::Bytes;
use culvert_model::record::{Tls, TlsKey};
use culvert_records::{Failure, Guard, Stored, Write, insert, update};

use super::{Need, Trouble, settings};
use crate::Desk;

pub async fn look(desk: &Desk) -> Result<Need, Trouble> {
    let (_, now) = desk.bus.here().await?;
    Ok(match present(desk).await? {
        Some((_, true)) => Need::Nothing("the console has a certificate"),
        _ => Need::Make(vec![Recipe::Console { now }]),
    })
}

/// The certificate that is there, and whether it is good for a while.
async fn present(desk: &Desk) -> Result<Option<(Stored<Tls>, bool)>, Failure> {
    let (_, now) = desk.bus.here().await?;
    let Some(tls) = desk.bus.get::<Tls>(Tls::ID).await? else { return Ok(None) };
    let lasting = tls.record.expires > now + settings(desk).await?.expiry();
    Ok(Some((tls, lasting)))
}

pub async fn writes(desk: &Desk, pair: &Pair) -> Result<Vec<Write>, Trouble> {
    let tls = Tls { id: Tls::ID.into(), chain: vec![Bytes(pair.der.clone())], expires: pair.expires };
    let key = TlsKey { id: Tls::ID.into(), key: Bytes(pair.key.to_vec()) };
    Ok(match present(desk).await? {
        None => vec![insert(&key), insert(&tls)],
        Some((_, true)) => Vec::new(),
        Some((old, false)) => vec![update(&key, Guard::default()), update(&tls, old.unchanged())],
    })
}
