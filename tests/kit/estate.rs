//! Several appliances on one database: a hub in the middle, and machines that reach it and nobody else.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Result;

use crate::appliance::{Appliance, Setup};
use crate::console::Console;
use crate::mongod::ReplicaSet;
use crate::namespace::Namespace;

/// A database, and machines that reach it and nobody else.
#[derive(Debug)]
pub struct Estate {
    // Dropped before the namespace that it runs in.
    pub database: ReplicaSet,
    pub hub: Arc<Namespace>,
}

impl Estate {
    const DATABASE: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);

    /// With a database of one member, and no machine yet.
    pub fn new() -> Result<Self> {
        let hub = Arc::new(Namespace::new("hub")?);
        hub.ip(&format!("addr add {}/32 dev lo", Self::DATABASE))?;
        let database = ReplicaSet::start_in(hub.name(), IpAddr::V4(Self::DATABASE), 1)?;
        Ok(Self { database, hub })
    }

    /// The address of a machine's console.
    #[must_use]
    pub fn address(number: u8) -> String {
        format!("10.90.{number}.2")
    }

    /// A machine of this number.
    pub fn machine(&self, number: u8) -> Result<(Arc<Namespace>, Setup)> {
        let machine = Arc::new(Namespace::new("machine")?);
        self.hub.cable(&format!("10.90.{number}.1/24"), &machine, &format!("10.90.{number}.2/24"))?;
        machine.ip(&format!("route add default via 10.90.{number}.1"))?;
        let setup = Setup::new(&self.database.uri("culvert"), &Self::address(number));
        Ok((machine, setup))
    }

    /// The appliance of this number, started.
    pub fn start(&self, number: u8) -> Result<Appliance> {
        let (machine, setup) = self.machine(number)?;
        Appliance::start(&machine, setup)
    }

    /// The console of the appliance of this number, from the hub.
    pub fn console(&self, number: u8, credentials: &(String, String)) -> Result<Console> {
        let mut console = Console::new(&self.hub, &Self::address(number));
        console.log_in(credentials)?;
        Ok(console)
    }
}
