//! What the helper needs to start a server's OpenVPN.

use std::sync::Arc;

use culvert_model::record::{Certificate, CertificateKey, Dh, Server, ServerKey};
use culvert_model::{Id, Slot, group};
use culvert_records::{Bus, Failure};
use culvert_wire::helper::{Route, Start};
use thiserror::Error;

use crate::directory::{Directory, Shared};

/// The largest packet inside a tunnel, if the server does not say, in bytes.
const MTU: u16 = 1500;

/// What a server lacks to be started.
#[derive(Debug, Error)]
pub(super) enum Missing {
    /// It was deleted meanwhile.
    #[error("the server was deleted")]
    Server,
    /// It has no organisation with a CA.
    #[error("no organisation is attached: attach one, and start the server again")]
    Organization,
    /// The queue has not made the CA of an organisation yet.
    #[error("the CA of an attached organisation is still being made: this takes a moment")]
    Ca,
    /// It has no certificate.
    #[error(
        "the server has no certificate yet: this takes a moment; if it stays so, detach its organisation and attach it again"
    )]
    Certificate,
    /// It has no key.
    #[error("the server's keys are missing: detach its organisation and attach it again")]
    Key,
    /// The queue has not found its Diffie-Hellman parameters yet.
    #[error(
        "the server's Diffie-Hellman parameters are still being searched for: this takes minutes; set `dh` to `group` to \
         have some at once"
    )]
    Dh,
    /// There is no group of that size.
    #[error("there is no Diffie-Hellman group of {0} bits: set the server's to 2048, 3072 or 4096")]
    Group(u16),
    /// The store did not answer.
    #[error("{0}")]
    Store(#[from] Failure),
}

/// Reads it all.
///
/// # Errors
///
/// What is missing.
pub(super) async fn gather(
    bus: &Bus,
    directory: &Arc<Shared>,
    server: Id,
    epoch: u64,
    slot: Slot,
) -> Result<Start, Missing> {
    let (server, ca, dh, renegotiate) = {
        let directory = directory.read();
        let server = directory.servers.get(&server).cloned().ok_or(Missing::Server)?;
        let ca = authorities(&directory, &server)?;
        let dh = diffie_hellman(directory.settings.dh, &server)?;
        (server, ca, dh, directory.settings.renegotiate)
    };
    let certificate = server.certificate.ok_or(Missing::Certificate)?;
    let leaf = bus.get::<Certificate>(certificate).await?.ok_or(Missing::Certificate)?.record;
    let key = bus.get::<CertificateKey>(certificate).await?.ok_or(Missing::Key)?.record;
    let shared = bus.get::<ServerKey>(server.id).await?.ok_or(Missing::Key)?.record;
    let routes = server.routes.iter().filter(|route| !route.net_gateway);
    Ok(Start {
        slot,
        server: server.id,
        epoch,
        protocol: server.protocol,
        port: server.port,
        bind: server.bind_address,
        network: server.network,
        cipher: server.cipher,
        digest: server.hash,
        multi_device: server.multi_device,
        inter_client: server.inter_client,
        restrict_routes: server.restrict_routes,
        max_clients: small(server.max_clients),
        ping: small(server.ping_interval),
        ping_restart: small(server.ping_timeout),
        renegotiate,
        mtu: server.tun_mtu.unwrap_or(MTU),
        debug: server.debug,
        routes: routes.map(|route| Route { network: route.network, nat: route.nat }).collect(),
        ca,
        certificate: leaf.der.0,
        key: key.key.0,
        tls_crypt: shared.tls_crypt.0,
        dh,
    })
}

fn diffie_hellman(dh: Dh, server: &Server) -> Result<Option<Vec<u8>>, Missing> {
    match dh {
        Dh::None => Ok(None),
        Dh::Group => group(server.dh_size()).map(Some).ok_or(Missing::Group(server.dh_size())),
        Dh::Own => server.dh_params.clone().map(|own| Some(own.0)).ok_or(Missing::Dh),
    }
}

fn authorities(directory: &Directory, server: &Server) -> Result<Vec<Vec<u8>>, Missing> {
    let attached = server.organizations.iter().filter_map(|id| directory.organizations.get(id));
    let ca: Option<Vec<Vec<u8>>> = attached.map(|organization| organization.ca.clone().map(|ca| ca.0)).collect();
    let ca = ca.ok_or(Missing::Ca)?;
    if ca.is_empty() { Err(Missing::Organization) } else { Ok(ca) }
}

fn small(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
