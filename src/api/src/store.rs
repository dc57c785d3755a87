//! Where records are kept, and moves from one place to the other: what `culvert join` and `culvert leave` ask.

use culvert_records::{Keeper, Standing, Transfer};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::Api;
use crate::{overview, server};

/// How it is with the store, as `culvert` reads it.
///
/// # Errors
///
/// The bus can't be reached.
pub async fn standing(api: &Api) -> Answer<Value> {
    let (_, Standing { keeper, transfer, binding }) = api.bus.standing().await?;
    let keeper = match keeper {
        Keeper::Embedded => "embedded",
        Keeper::Mongo => "mongodb",
    };
    let transfer = transfer.map(|transfer| match transfer {
        Transfer::Underway { step, done, total } => {
            json!({ "state": "underway", "step": step, "done": done, "total": total })
        }
        Transfer::Waiting(why) => json!({ "state": "waiting", "why": why }),
        Transfer::Refused(why) => json!({ "state": "refused", "why": why }),
    });
    let holds = overview::status(api).await.ok().map(|counted| {
        json!({ "organizations": counted.org_count, "users": counted.user_count, "servers": counted.server_count })
    });
    Ok(json!({ "keeper": keeper, "transfer": transfer, "binding": binding, "holds": holds }))
}

/// Has the bus start again with what was changed in the state folder.
///
/// # Errors
///
/// The bus can't be reached.
pub async fn restart(api: &Api) -> Answer<Value> {
    api.bus.restart().await?;
    Ok(json!({}))
}

/// Lets this host run no server any more: it is about to leave its cluster.
///
/// # Errors
///
/// The store can't be reached. What was done stays done.
pub async fn detach(api: &Api) -> Answer<Value> {
    let here = api.host().await?;
    let mut detached = Vec::new();
    for server in server::list(api).await?.into_iter().filter(|server| server.hosts.contains(&here)) {
        server::detach_host(api, server.id, here).await?;
        detached.push(server.name);
    }
    Ok(json!({ "detached": detached }))
}
