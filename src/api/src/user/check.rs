//! Whether a user may be as an administrator wants it.

use std::net::IpAddr;

use culvert_contract::body::{PinChange, PortForward, UserChange};
use culvert_model::record::{Settings, User};

use crate::answer::{Answer, No};
use crate::filter;

/// The fewest digits of a PIN.
const PIN: usize = 6;

/// The most digits of a PIN.
const LONGEST_PIN: usize = 64;

/// Whether the contract knows this way to prove to be somebody (`semantics.md` section f).
fn auth_types(text: &str) -> bool {
    let plain = ["local", "duo", "yubico", "plugin", "radius", "radius_duo"];
    let signed_on = ["azure", "google", "authzero", "slack", "saml", "saml_okta", "saml_onelogin", "saml_jumpcloud"];
    let base = text.strip_suffix("_duo").or_else(|| text.strip_suffix("_yubico")).unwrap_or(text);
    plain.contains(&text) || signed_on.contains(&base)
}

/// What is the same in a new user and a changed one.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// See the body's field of this name, as all others.
    pub auth_type: &'a str,
    pub yubico_id: &'a str,
    pub network_links: &'a [String],
    pub client_to_client: bool,
    pub mac_addresses: &'a [String],
    pub dns_servers: &'a [String],
    pub port_forwarding: &'a [PortForward],
    pub bypass_secondary: bool,
    /// Whether there is a PIN afterwards.
    pub pin: bool,
}

/// Refuses what this version does not do, and what does not fit together.
///
/// # Errors
///
/// Something of it may not be.
pub fn wish(wish: Wish<'_>) -> Answer<()> {
    let refused = [
        (
            "auth_type",
            auth_types(wish.auth_type) && wish.auth_type != "local",
            "Users are local: there is no single sign-on yet.",
        ),
        ("yubico_id", !wish.yubico_id.is_empty(), "YubiKeys are not asked for yet."),
        ("network_links", !wish.network_links.is_empty(), "Networks behind a user's machine are not there yet."),
        ("client_to_client", wish.client_to_client, "Set inter_client on the server instead."),
        ("mac_addresses", !wish.mac_addresses.is_empty(), "Hardware addresses can't be set yet."),
        ("port_forwarding", !wish.port_forwarding.is_empty(), "Ports are not forwarded yet."),
    ];
    if let Some((field, _, why)) = refused.into_iter().find(|(_, asked, _)| *asked) {
        return Err(No::unsupported(field, why));
    }
    if wish.dns_servers.iter().any(|text| text.parse::<IpAddr>().is_err()) {
        let text = "A DNS server must be given by its IP address.";
        return Err(No::field("dns_servers", "dns_server_invalid", text));
    }
    if wish.bypass_secondary && wish.pin {
        let text = "A user without second factors can have no PIN.";
        return Err(No::field("bypass_secondary", "pin_bypass_secondary", text));
    }
    Ok(())
}

/// Whether a PIN may be set to this.
///
/// # Errors
///
/// It may not.
pub fn pin(pin: &str, settings: &Settings) -> Answer<()> {
    if settings.pin_mode == "disabled" {
        return Err(No::field("pin", "pin_disabled", "PINs are disabled in the settings."));
    }
    if !pin.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(No::field("pin", "pin_not_digits", "A PIN has digits only."));
    }
    if pin.len() < PIN {
        return Err(No::field("pin", "pin_too_short", "A PIN has at least six digits."));
    }
    if pin.len() > LONGEST_PIN {
        return Err(No::field("pin", "pin_too_long", "A PIN has at most 64 digits."));
    }
    Ok(())
}

/// The user as it is to be.
///
/// # Errors
///
/// It may not be so.
pub fn changed(user: User, change: &UserChange) -> Answer<User> {
    let pin = match change.pin {
        PinChange::Remove => false,
        PinChange::Keep => user.pin,
        PinChange::Set(_) => true,
    };
    wish(Wish {
        auth_type: &change.auth_type,
        yubico_id: &change.yubico_id,
        network_links: &change.network_links,
        client_to_client: change.client_to_client,
        mac_addresses: &change.mac_addresses,
        dns_servers: &change.dns_servers,
        port_forwarding: &change.port_forwarding,
        bypass_secondary: change.bypass_secondary,
        pin,
    })?;
    if change.send_key_email && !change.email.is_empty() {
        let text = "Mail is not sent yet: make a profile link instead.";
        return Err(No::field("send_key_email", "email_not_configured", text));
    }
    let name = filter::name(&change.name);
    if name.is_empty() {
        // The original renames such a user to `undefined`.
        return Err(No::field("name", "name_missing", "A user must have a name."));
    }
    Ok(User {
        name,
        email: filter::name_or_none(Some(&change.email)),
        groups: filter::set(&change.groups),
        disabled: change.disabled,
        pin,
        bypass_secondary: change.bypass_secondary,
        dns_servers: some(change.dns_servers.clone()),
        dns_suffix: filter::name_or_none(Some(&change.dns_suffix)),
        ..user
    })
}

/// The list, or nothing if it is empty.
pub fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins() {
        let settings = Settings::default();
        assert!(pin("123456", &settings).is_ok());
        for (bad, id) in [("12345", "pin_too_short"), ("12345a", "pin_not_digits"), ("", "pin_too_short")] {
            assert_eq!(pin(bad, &settings).expect_err("refused").id, id);
        }
        let disabled = Settings { pin_mode: "disabled".into(), ..settings };
        assert_eq!(pin("123456", &disabled).expect_err("refused").id, "pin_disabled");
    }

    #[test]
    fn known_ways_to_prove_who_one_is() {
        assert!(["local", "radius_duo", "saml_okta_yubico", "google"].into_iter().all(auth_types));
        assert!(!["", "x", "local_duo_duo", "yubico_yubico"].into_iter().any(auth_types));
    }
}
