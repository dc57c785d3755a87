//! The cluster's own settings, which the contract's settings document has no place for.

use std::time::Duration;

use culvert_contract::body::ClusterChange;
use culvert_contract::reply;
use culvert_model::record::Settings;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::Caller;
use crate::{server, user};

/// How long whoever changes the settings waits for servers to get what they lack by the new ones.
const PATIENCE: Duration = Duration::from_secs(20);

/// The settings as they are shown.
///
/// # Errors
///
/// The store can't be reached.
pub async fn read(api: &Api) -> Answer<reply::Cluster> {
    Ok(show(&user::settings(api).await?))
}

fn show(settings: &Settings) -> reply::Cluster {
    reply::Cluster {
        client_pool: settings.client_pool,
        server_pool: settings.server_pool,
        ca_pool: settings.ca_pool,
        dh_pool: settings.dh_pool,
        dh: settings.dh,
        user_key: settings.user_key,
        server_key: settings.server_key,
        ca_key: settings.ca_key,
        leaf_days: settings.leaf_days,
        ca_days: settings.ca_days,
        expiry_days: settings.expiry_days,
        renegotiate: settings.renegotiate,
    }
}

/// Changes the settings. Nothing, or 0, leaves one as it is.
///
/// # Errors
///
/// They may not be so, or the store can't be reached.
pub async fn update(api: &Api, caller: &Caller, change: &ClusterChange) -> Answer<reply::Cluster> {
    let edit = |settings: &mut Settings| apply(settings, change);
    let (settings, ()) = api.change::<Settings, ()>(Settings::ID, "settings", edit).await?;
    api.note(format!("The cluster's settings were changed by {}.", caller.admin.username)).await;
    // The settings are changed, whatever comes of this. What takes long goes on.
    let _ = timeout(PATIENCE, tokio::spawn(provide(api.clone(), settings.clone()))).await;
    Ok(show(&settings))
}

/// Gets servers what they lack by these settings. One that still lacks something shows why.
async fn provide(api: Api, settings: Settings) {
    if let Err(no) = server::provide_all(&api, &settings).await {
        tracing::warn!(why = %no.text, "not all servers got the parameters that they lack");
    }
}

fn apply(settings: &mut Settings, change: &ClusterChange) -> Answer<()> {
    put(&mut settings.client_pool, "client_pool", change.client_pool, 1..=1000)?;
    put(&mut settings.server_pool, "server_pool", change.server_pool, 1..=100)?;
    put(&mut settings.ca_pool, "ca_pool", change.ca_pool, 1..=100)?;
    put(&mut settings.dh_pool, "dh_pool", change.dh_pool, 1..=20)?;
    choose(&mut settings.dh, "dh", &change.dh, "none, group or own")?;
    choose(&mut settings.user_key, "user_key", &change.user_key, KEYS)?;
    choose(&mut settings.server_key, "server_key", &change.server_key, KEYS)?;
    choose(&mut settings.ca_key, "ca_key", &change.ca_key, KEYS)?;
    put(&mut settings.leaf_days, "leaf_days", change.leaf_days, 1..=7300)?;
    put(&mut settings.ca_days, "ca_days", change.ca_days, 1..=36_500)?;
    put(&mut settings.expiry_days, "expiry_days", change.expiry_days, 1..=365)?;
    put(&mut settings.renegotiate, "renegotiate", change.renegotiate, 20..=31_536_000)
}

/// The words for kinds of keys.
const KEYS: &str = "rsa-2048, rsa-3072, rsa-4096, p-256, p-384 or ed25519";

/// One of some words.
fn choose<T: DeserializeOwned>(setting: &mut T, field: &'static str, word: &str, words: &str) -> Answer<()> {
    if !word.is_empty() {
        let chosen = serde_json::from_value(word.into());
        *setting = chosen.map_err(|_| No::field(field, "value_invalid", format!("This must be {words}.")))?;
    }
    Ok(())
}

fn put<T: TryFrom<i64>>(
    setting: &mut T,
    field: &'static str,
    number: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Answer<()> {
    if number == 0 {
        return Ok(());
    }
    let fits = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
    *setting = fits.ok_or_else(|| {
        let text = format!("This must be a number from {} to {}.", range.start(), range.end());
        No::field(field, "value_invalid", text)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_keeps_and_nonsense_is_refused() {
        let mut settings = Settings::default();
        let before = settings.clone();
        apply(&mut settings, &ClusterChange::default()).expect("nothing changes");
        assert_eq!(settings, before);
        apply(&mut settings, &ClusterChange { renegotiate: 30, ..ClusterChange::default() }).expect("fine");
        assert_eq!(settings.renegotiate, 30);
        for bad in [
            ClusterChange { user_key: "rsa-3000".into(), ..ClusterChange::default() },
            ClusterChange { client_pool: -1, ..ClusterChange::default() },
            ClusterChange { renegotiate: 19, ..ClusterChange::default() },
        ] {
            assert_eq!(apply(&mut settings, &bad).expect_err("refused").id, "value_invalid");
        }
    }
}
