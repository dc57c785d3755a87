//! How a server is shown, with what its instances and clients do.

use std::collections::{BTreeMap, BTreeSet};

use culvert_contract::reply::{self, ServerStatus};
use culvert_model::record::{Connection, Instance, InstanceState, Server, Settings};
use culvert_model::{Id, Millis};

use super::dh::{self, Searches};
use crate::answer::Answer;
use crate::api::Api;
use crate::organization;
use crate::user::settings;

/// Servers with their instances and connections, each read once.
#[derive(Debug, Default)]
pub struct Scene {
    instances: BTreeMap<Id, Vec<Instance>>,
    connections: BTreeMap<Id, Vec<Connection>>,
    members: BTreeMap<Id, u64>,
    settings: Settings,
    searches: Searches,
    now: Millis,
}

impl Scene {
    /// Of one server.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn of(api: &Api, server: &Server) -> Answer<Self> {
        Self::gathered(api, Some(server.id), std::slice::from_ref(server)).await
    }

    /// Of all servers, of which these are shown.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn all(api: &Api, shown: &[Server]) -> Answer<Self> {
        Self::gathered(api, None, shown).await
    }

    async fn gathered(api: &Api, server: Option<Id>, shown: &[Server]) -> Answer<Self> {
        let instances = api.recall.instances(&api.bus, server).await?;
        let connections = api.recall.connections(&api.bus, server).await?;
        let settings = settings(api).await?;
        let searches = Searches::of(api, shown, &settings).await?;
        let mut scene = Self { now: api.now().await?, settings, searches, ..Self::default() };
        for instance in instances {
            scene.instances.entry(instance.server).or_default().push(instance);
        }
        for connection in connections {
            scene.connections.entry(connection.server).or_default().push(connection);
        }
        for server in shown {
            scene.count(api, &server.organizations).await?;
        }
        Ok(scene)
    }

    async fn count(&mut self, api: &Api, organizations: &[Id]) -> Answer<()> {
        for organization in organizations {
            if !self.members.contains_key(organization) {
                self.members.insert(*organization, organization::users(api, *organization).await?);
            }
        }
        Ok(())
    }

    fn online(&self, server: &Server) -> impl Iterator<Item = &Instance> {
        let instances = self.instances.get(&server.id).into_iter().flatten();
        instances.filter(|instance| instance.state == InstanceState::Online)
    }

    /// How a server is.
    pub fn status(&self, server: &Server) -> ServerStatus {
        match (server.online, self.online(server).next()) {
            (false, _) if self.lacks(server) && self.searches.under_way(server.id) => ServerStatus::Pending,
            (false, _) => ServerStatus::Offline,
            (true, None) => ServerStatus::Pending,
            (true, Some(_)) => ServerStatus::Online,
        }
    }

    fn lacks(&self, server: &Server) -> bool {
        dh::lacks(server, &self.settings)
    }

    /// Why a server does not run, as far as is known.
    fn reason(&self, server: &Server) -> Option<String> {
        if self.status(server) == ServerStatus::Online {
            return None;
        }
        if self.lacks(server) {
            return self.searches.reason(server.id);
        }
        let instances = self.instances.get(&server.id).into_iter().flatten();
        let mut failed = instances.filter(|instance| instance.state == InstanceState::Failed);
        failed.find_map(|instance| instance.reason.clone())
    }

    /// The hosts that run an instance of a server.
    pub fn hosts(&self, server: &Server) -> BTreeSet<culvert_model::HostId> {
        if !server.online {
            return BTreeSet::new();
        }
        self.online(server).filter_map(|instance| instance.host).collect()
    }

    /// The server as it is shown.
    pub fn show(&self, server: Server) -> reply::Server {
        let status = self.status(&server);
        let reason = self.reason(&server);
        let since = self.online(&server).map(|instance| instance.since).min();
        let uptime = since.filter(|_| status == ServerStatus::Online);
        let connections = self.connections.get(&server.id).map_or(&[][..], Vec::as_slice);
        let users: BTreeSet<Id> = connections.iter().map(|connection| connection.user).collect();
        reply::Server {
            id: server.id,
            status,
            reason,
            uptime: uptime.map(|since| (self.now.saturating_sub(since) / 1000).max(1)),
            users_online: users.len() as u64,
            devices_online: connections.len() as u64,
            user_count: server.organizations.iter().filter_map(|organization| self.members.get(organization)).sum(),
            network: server.network.to_string(),
            network_wg: None,
            bind_address: server.bind_address.map(|address| address.to_string()),
            port: server.port.get(),
            port_wg: None,
            protocol: server.protocol,
            dh_param_bits: server.dh_param_bits,
            groups: server.groups,
            wg: false,
            ipv6: false,
            ipv6_firewall: false,
            network_mode: "tunnel".into(),
            network_start: None,
            network_end: None,
            hide_ovpn: false,
            ovpn_dco: Some(false),
            dynamic_firewall: false,
            bypass_sso_auth: false,
            geo_sort: false,
            force_connect: false,
            route_dns: false,
            device_auth: false,
            restrict_routes: server.restrict_routes,
            multi_device: server.multi_device,
            dns_servers: server.dns_servers,
            search_domain: server.search_domain,
            otp_auth: server.otp_auth,
            sso_auth: false,
            sso_webauth: false,
            cipher: server.cipher,
            hash: server.hash,
            block_outside_dns: server.block_outside_dns,
            jumbo_frames: false,
            lzo_compression: false,
            inter_client: server.inter_client,
            ping_interval: server.ping_interval,
            ping_timeout: server.ping_timeout,
            ping_interval_wg: 30,
            ping_timeout_wg: 120,
            link_ping_interval: 1,
            link_ping_timeout: 5,
            inactive_timeout: server.inactive_timeout,
            session_timeout: server.session_timeout,
            allowed_devices: None,
            max_clients: server.max_clients,
            max_devices: Some(server.max_devices),
            replica_count: server.replica_count,
            vxlan: false,
            dns_mapping: false,
            debug: server.debug,
            pre_connect_msg: server.pre_connect_msg,
            mss_fix: server.mss_fix,
            tun_mtu: server.tun_mtu,
            fragment: None,
            multihome: Some(false),
            name: server.name,
        }
    }
}

/// The server as it is shown, alone.
///
/// # Errors
///
/// The store can't be reached.
pub async fn show(api: &Api, server: Server) -> Answer<reply::Server> {
    Ok(Scene::of(api, &server).await?.show(server))
}
