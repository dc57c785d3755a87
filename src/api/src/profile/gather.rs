//! Gathering what is in a profile.

use culvert_model::Id;
use culvert_model::record::{Certificate, CertificateKey, Host, Organization, Server, ServerKey, User};

use super::text::{self, Parts, Remote};
use crate::answer::{Answer, No};
use crate::api::Api;
use crate::{filter, random, renewal, server, user};

/// A profile with the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `<organisation>_<user>_<server>.ovpn`, in ASCII.
    pub name: String,
    /// The profile.
    pub text: String,
}

/// The user's own part of all profiles.
struct Holder {
    user: User,
    organization: Organization,
    certificate: Certificate,
    key: CertificateKey,
    device: (String, String),
}

/// A user's profiles for all servers that the user may connect to, by the server's name. `asked` is the host that the
/// request came to, for servers whose hosts have no known address.
///
/// # Errors
///
/// There is no such user, or the store can't be reached.
pub async fn all(api: &Api, organization: Id, id: Id, asked: Option<&str>) -> Answer<(User, Vec<Named>)> {
    let holder = holder(api, organization, id).await?;
    let mut profiles = Vec::new();
    for server in server::list(api).await? {
        if admits(&server, &holder.user) && server.certificate.is_some() {
            profiles.push(profile(api, &holder, &server, asked).await?);
        }
    }
    Ok((holder.user, profiles))
}

/// A user's profile for one server.
///
/// # Errors
///
/// There is no such user or server, the user may not connect to it, or the store can't be reached.
pub async fn one(api: &Api, organization: Id, id: Id, server: Id, asked: Option<&str>) -> Answer<Named> {
    let holder = holder(api, organization, id).await?;
    let server = api.have::<Server>(server, "server").await?.record;
    if !admits(&server, &holder.user) {
        return Err(No::missing("server of this user"));
    }
    profile(api, &holder, &server, asked).await
}

fn admits(server: &Server, user: &User) -> bool {
    let in_group = server.groups.is_empty() || server.groups.iter().any(|group| user.groups.contains(group));
    server.organizations.contains(&user.organization) && in_group
}

async fn holder(api: &Api, organization: Id, id: Id) -> Answer<Holder> {
    let user = renewal::in_time(api, organization, id).await?;
    let organization = user::organization(api, organization).await?;
    let certificate = api.have::<Certificate>(user.certificate, "certificate").await?.record;
    let key = api.have::<CertificateKey>(user.certificate, "certificate").await?.record;
    let device = (random::hex(32), format!("{:04}", random::below(10_000)));
    Ok(Holder { user, organization, certificate, key, device })
}

async fn profile(api: &Api, holder: &Holder, server: &Server, asked: Option<&str>) -> Answer<Named> {
    let certificate = server.certificate.ok_or(No::missing("server with an organization"))?;
    let signer = api.have::<Certificate>(certificate, "certificate of the server").await?.record.organization;
    let ca = api.have::<Organization>(signer, "organization").await?.record.ca;
    let ca = ca.ok_or_else(|| No::late("The organization's CA is still being made. Try again in a moment."))?;
    let key = api.have::<ServerKey>(server.id, "server").await?.record;
    let remotes = remotes(api, server, asked).await?;
    let text = text::write(Parts {
        user: &holder.user,
        organization: &holder.organization,
        server,
        remotes: &remotes,
        ca: &ca.0,
        certificate: &holder.certificate.der.0,
        key: &holder.key.key.0,
        tls_crypt: &key.tls_crypt.0,
        renegotiate: user::settings(api).await?.renegotiate,
        device: (&holder.device.0, &holder.device.1),
    });
    let names = [&holder.organization.name, &holder.user.name, &server.name].map(|name| filter::file(name));
    Ok(Named { name: format!("{}.ovpn", names.join("_")), text })
}

/// The addresses of a server's hosts: what an administrator set, or else what the host found.
async fn remotes(api: &Api, server: &Server, asked: Option<&str>) -> Answer<Vec<Remote>> {
    let mut remotes = Vec::new();
    for id in &server.hosts {
        let Some(host) = api.bus.get::<Host>(id).await? else { continue };
        let host = host.record;
        let addresses = [host.public_address.or(host.local_address), host.public_address6];
        let bare = addresses.into_iter().flatten().filter_map(|address| bare(&address));
        remotes.extend(bare.map(|address| Remote { address, priority: host.priority }));
    }
    if remotes.is_empty() {
        remotes.extend(asked.and_then(bare).map(|address| Remote { address, priority: 0 }));
    }
    if remotes.is_empty() {
        let text = "No host of the server has a known address: set a public address on one, then try again.";
        return Err(No::bad("no_address", text));
    }
    remotes.sort();
    remotes.dedup_by(|a, b| a.address == b.address);
    Ok(remotes)
}

/// A name or address without brackets and port, that can stand in a profile.
fn bare(text: &str) -> Option<String> {
    let clean = filter::domain(text)?;
    if clean.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(clean);
    }
    match clean.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(address, _)| address.to_owned()),
        None => clean.split(':').next().map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_alone() {
        for (text, alone) in [
            ("vpn.example.org:8443", Some("vpn.example.org")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("10.0.0.1\nup /bin/sh", None),
        ] {
            assert_eq!(bare(text).as_deref(), alone, "{text}");
        }
    }
}
