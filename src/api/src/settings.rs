//! The settings, with the administrator's own account.

use culvert_contract::body::SettingsChange;
use culvert_contract::reply;
use culvert_model::record::{Host, Settings};

use crate::administrator::{self, Wish};
use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::Caller;
use crate::{host, user};

/// What users may, must or can't have.
const PIN_MODES: [&str; 3] = ["optional", "required", "disabled"];

/// The settings as they are shown to this administrator.
///
/// # Errors
///
/// The store can't be reached.
pub async fn read(api: &Api, caller: &Caller) -> Answer<reply::Settings> {
    let admin = administrator::read(api, caller.admin.id).await?;
    let settings = user::settings(api).await?;
    let own = api.own_host().await?.map(|host| host.record);
    let mut shown = reply::Settings::of(admin);
    shown.theme = Some(settings.theme);
    shown.pin_mode = Some(settings.pin_mode);
    shown.restrict_import = settings.restrict_import;
    shown.server_port = 443;
    shown.public_address = own.as_ref().and_then(|host| host.public_address.clone().or(host.local_address.clone()));
    shown.public_address6 = own.and_then(|host| host.public_address6);
    Ok(shown)
}

/// Changes the settings and the own account.
///
/// # Errors
///
/// They may not be so, or the store can't be reached.
pub async fn update(api: &Api, caller: &Caller, change: &SettingsChange) -> Answer<reply::Settings> {
    supported(change)?;
    let pin_mode = Some(change.pin_mode.as_str()).filter(|mode| !mode.is_empty()).unwrap_or("optional");
    if !PIN_MODES.contains(&pin_mode) {
        let text = "The PIN mode must be optional, required or disabled.";
        return Err(No::field("pin_mode", "pin_mode_invalid", text));
    }
    let username = administrator::name(&change.username)?;
    let password = Some(change.password.reveal()).filter(|password| !password.is_empty());
    let public_address = host::address("public_address", &change.public_address)?;
    let public_address6 = host::address("public_address6", &change.public_address6)?;
    if username.is_some() || password.is_some() {
        administrator::change(api, caller, caller.admin.id, Wish { username, password, rights: None }).await?;
    }
    api.change::<Settings, ()>(Settings::ID, "settings", |settings| {
        settings.pin_mode = pin_mode.into();
        settings.restrict_import = change.restrict_import;
        match change.theme.as_str() {
            "" => {}
            "light" => settings.theme = "light".into(),
            _ => settings.theme = "dark".into(),
        }
        Ok(())
    })
    .await?;
    own_addresses(api, public_address, public_address6).await?;
    api.note(format!("The settings were changed by {}.", caller.admin.username)).await;
    read(api, caller).await
}

/// An address that is the one the host found is no setting.
async fn own_addresses(api: &Api, address: Option<String>, address6: Option<String>) -> Answer<()> {
    let Some(own) = api.own_host().await? else { return Ok(()) };
    let address = address.filter(|address| Some(address) != own.record.local_address.as_ref());
    if (&own.record.public_address, &own.record.public_address6) == (&address, &address6) {
        return Ok(());
    }
    api.change::<Host, ()>(own.record.id, "host", |host| {
        host.public_address.clone_from(&address);
        host.public_address6.clone_from(&address6);
        Ok(())
    })
    .await?;
    Ok(())
}

/// Refuses what would be relied on. The rest of what Culvert does not have is dropped, as `docs/compatibility.md` says.
fn supported(change: &SettingsChange) -> Answer<()> {
    let refused = [
        ("server_cert", !change.server_cert.is_empty(), "The console makes its own certificate."),
        ("server_key", !change.server_key.is_empty(), "The console makes its own key."),
        (
            "server_port",
            !matches!(change.server_port, 0 | 443),
            "The port is chosen where Culvert is started (--listen).",
        ),
        ("acme_domain", !change.acme_domain.is_empty(), "Certificates are not fetched yet."),
        ("sso", !change.sso.is_empty(), "Single sign-on is not there yet."),
        ("auditing", !change.auditing.is_empty(), "Auditing is not there yet."),
        ("monitoring", !change.monitoring.is_empty(), "See /metrics on the local socket."),
        ("influxdb_url", !change.influxdb_url.is_empty(), "See /metrics on the local socket."),
        ("email_server", !change.email_server.is_empty(), "Mail is not sent yet."),
        ("cloud_provider", !change.cloud_provider.is_empty(), "Clouds are not advertised to."),
        ("restrict_client", change.restrict_client, "Clients cannot be restricted yet."),
        ("reverse_proxy", change.reverse_proxy, "Culvert is its own front; it does not believe forwarded addresses."),
        ("routed_subnet6", !change.routed_subnet6.is_empty(), "IPv6 inside the tunnel is not there yet."),
        ("routed_subnet6_wg", !change.routed_subnet6_wg.is_empty(), "WireGuard is not there yet."),
    ];
    match refused.into_iter().find(|(_, asked, _)| *asked) {
        Some((field, _, why)) => Err(No::unsupported(field, why)),
        None => Ok(()),
    }
}
