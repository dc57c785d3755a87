//! What a database holds, without changing anything in it.

use std::error::Error;

use culvert_model::record::{Cluster, Host};
use culvert_model::{HostId, Kind};
use culvert_wire::bus::Find;
use culvert_wire::errand::{Content, Member, Report};

use super::Reporter;
use crate::store::mongo::Mongo;
use crate::store::{Answer, Store};
use crate::transfer::TransferError;

/// Tells what a database holds.
///
/// # Errors
///
/// It cannot be used: says why and what to do.
pub async fn run(uri: &str, reporter: &mut Reporter) -> Result<String, Box<dyn Error>> {
    let mongo = Mongo::look(uri, HostId::new()).await?;
    let content = content(&mongo).await.map_err(|trouble| TransferError::of_target(&trouble))?;
    reporter.tell(&Report::Content(content));
    Ok(String::new())
}

async fn content(store: &Mongo) -> Answer<Content> {
    let cluster = store.get(Kind::Cluster, Cluster::ID).await?;
    let cluster = cluster.and_then(|row| serde_json::from_slice::<Cluster>(&row.body).ok());
    let hosts = store.find(Find::all(Kind::Host)).await?.rows;
    let member = |row: &culvert_wire::bus::Row| Member {
        id: row.id.clone(),
        name: serde_json::from_slice::<Host>(&row.body).map_or_else(|_| row.id.clone(), |host| host.name),
        online: row.lease.as_ref().is_some_and(|lease| lease.left > 0),
    };
    Ok(Content {
        state: cluster.as_ref().map(|cluster| cluster.state),
        by: cluster.and_then(|cluster| cluster.by).map(|host| host.to_string()),
        hosts: hosts.iter().map(member).collect(),
        organizations: store.count(Find::all(Kind::Organization)).await?,
        users: store.count(Find::all(Kind::User)).await?,
        servers: store.count(Find::all(Kind::Server)).await?,
    })
}
