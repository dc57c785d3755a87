//! The steps that every story begins with: log in, make an organisation, users and a server, start it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::appliance::{Appliance, Setup};
use crate::console::Console;
use crate::lines::until;
use crate::namespace::{Namespace, Town};

/// A town with an appliance in it, and an administrator who is logged in.
#[derive(Debug)]
pub struct Story {
    // Dropped in this order: the appliance before the namespaces that it runs in.
    /// The appliance.
    pub appliance: Appliance,
    /// The administrator.
    pub console: Console,
    /// Where VPN clients and browsers run.
    pub client: Arc<Namespace>,
    /// Where the appliance runs.
    pub server: Arc<Namespace>,
    /// A host behind the appliance.
    pub behind: Namespace,
}

impl Story {
    /// Begins with an appliance on this store.
    pub fn begin(town: Town, setup: Setup) -> Result<Self> {
        let (server, client, behind) = (Arc::new(town.server), Arc::new(town.client), town.behind);
        let appliance = Appliance::start(&server, setup)?;
        let mut console = Console::new(&client, Town::SERVER);
        console.log_in(&appliance.credentials()?)?;
        Ok(Self { appliance, console, client, server, behind })
    }

    /// Makes an organisation and gives back its id.
    pub fn organization(&self, name: &str) -> Result<String> {
        id(&self.console.expect(Method::POST, "/organization", Some(&json!({ "name": name })))?)
    }

    /// Makes a user and gives back its id.
    pub fn user(&self, organization: &str, name: &str, pin: Option<&str>) -> Result<String> {
        let body = json!({ "name": name, "pin": pin });
        let made = self.console.expect(Method::POST, &format!("/user/{organization}"), Some(&body))?;
        id(&made[0])
    }

    /// Makes a server for an organisation, not yet started, and gives back its id.
    pub fn server(&self, organization: &str, changes: &Value) -> Result<String> {
        let mut body = json!({
            "name": "lab", "network": "10.40.0.0/24", "port": 1194, "protocol": "udp", "cipher": "aes256",
            "hash": "sha256", "inter_client": true, "restrict_routes": true,
        });
        for (name, value) in changes.as_object().context("an object")? {
            body[name] = value.clone();
        }
        let server = id(&self.console.expect(Method::POST, "/server", Some(&body))?)?;
        self.console.expect(Method::PUT, &format!("/server/{server}/organization/{organization}"), None)?;
        Ok(server)
    }

    /// Starts or stops a server.
    pub fn operate(&self, server: &str, operation: &str) -> Result<()> {
        self.console.expect(Method::PUT, &format!("/server/{server}/operation/{operation}"), None).map(drop)
    }

    /// The profile of a user on a server.
    pub fn profile(&self, organization: &str, user: &str, server: &str) -> Result<String> {
        profile(&self.console, organization, user, server)
    }

    /// Waits until the API shows a user online (or not), and gives back what it says of the user's server.
    pub fn online(&self, organization: &str, user: &str, online: bool, deadline: Duration) -> Result<Value> {
        until(&format!("the user shown with online = {online}"), deadline, || {
            let shown = self.console.get(&format!("/user/{organization}/{user}"))?;
            Ok((shown["status"] == online).then(|| shown["servers"][0].clone()))
        })
    }
}

/// The profile of a user on a server.
pub fn profile(console: &Console, organization: &str, user: &str, server: &str) -> Result<String> {
    let answer = console.ask(Method::GET, &format!("/data/{organization}/{user}/{server}.key"), None)?;
    ensure!(answer.status == 200, "profile: {} {}", answer.status, answer.text());
    Ok(answer.text())
}

/// The id of something that the API made.
pub fn id(made: &Value) -> Result<String> {
    made["id"].as_str().map(String::from).with_context(|| format!("no id in {made}"))
}
