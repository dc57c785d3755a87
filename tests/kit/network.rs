//! Machines on one switch: each a network namespace with an address of its own, that can be cut off from others.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;

use crate::namespace::{Namespace, succeed};

/// A switch. Deleted when dropped; the machines are then alone.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
}

/// A machine on a switch.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where its programs run.
    pub namespace: Arc<Namespace>,
    /// Its address.
    pub address: IpAddr,
}

impl Network {
    /// A new one, with nobody on it.
    pub fn new() -> Result<Self> {
        let switch = Namespace::new("switch")?;
        switch.ip("link add switch type bridge forward_delay 0")?;
        switch.ip("link set switch up")?;
        Ok(Self { switch })
    }

    /// A machine that is put on the switch under the last number of its address.
    pub fn machine(&self, what: &str, number: u8) -> Result<Machine> {
        let namespace = Arc::new(Namespace::new(what)?);
        let address = IpAddr::from([10, 77, 0, number]);
        self.attach(&namespace, number, address)?;
        Ok(Machine { namespace, address })
    }

    /// Puts a namespace that has other cables, too, on the switch.
    pub fn attach(&self, namespace: &Namespace, number: u8, address: IpAddr) -> Result<()> {
        namespace.ip(&format!("link add switch0 type veth peer name port{number} netns {}", self.switch.name()))?;
        self.switch.ip(&format!("link set port{number} master switch"))?;
        self.switch.ip(&format!("link set port{number} up"))?;
        namespace.ip(&format!("addr add {address}/24 dev switch0"))?;
        namespace.ip("link set switch0 up")?;
        Ok(())
    }
}

impl Machine {
    /// Lets nothing through between this machine and these addresses any more, in either direction, and says so to nobody.
    pub fn cut(&self, others: &[IpAddr]) -> Result<()> {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let others = others.join(", ");
        let rules = format!(
            "add table inet cut; \
             add chain inet cut in {{ type filter hook input priority -300; }}; \
             add chain inet cut out {{ type filter hook output priority -300; }}; \
             add rule inet cut in ip saddr {{ {others} }} drop; \
             add rule inet cut out ip daddr {{ {others} }} drop"
        );
        succeed(self.namespace.command("nft").arg(rules)).map(drop)
    }

    /// Lets everything through again.
    pub fn heal(&self) -> Result<()> {
        succeed(self.namespace.command("nft").args(["delete", "table", "inet", "cut"])).map(drop)
    }
}
