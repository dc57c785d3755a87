//! What a server's instances printed.

use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::{Host, Instance, Output, Server};
use culvert_records::Query;

use crate::answer::Answer;
use crate::api::Api;

/// The output of all instances, each line with the name of the host that runs it.
///
/// # Errors
///
/// The server is not there, or the store can't be reached.
pub async fn output(api: &Api, server: Id) -> Answer<reply::ServerOutput> {
    api.have::<Server>(server, "server").await?;
    let outputs = api.bus.list::<Output>(Query::by("by_server").equal(server)).await?;
    let mut lines = Vec::new();
    for output in outputs {
        let host = host(api, &output.record.id).await?;
        lines.extend(output.record.lines.into_iter().map(|line| format!("[{host}] {line}")));
    }
    Ok(reply::ServerOutput { id: server, output: lines })
}

/// The name of the host that runs an instance, or its number if nobody does.
async fn host(api: &Api, instance: &str) -> Answer<String> {
    let found = api.bus.get::<Instance>(instance).await?.and_then(|found| found.record.host);
    let host = match found {
        Some(host) => api.bus.get::<Host>(host).await?,
        None => None,
    };
    let number = || instance.rsplit('-').next().unwrap_or_default().to_owned();
    Ok(host.map_or_else(number, |host| host.record.name))
}

/// Forgets the output.
///
/// # Errors
///
/// The server is not there, or the store can't be reached.
pub async fn clear(api: &Api, server: Id) -> Answer<()> {
    api.have::<Server>(server, "server").await?;
    for mut output in api.bus.list::<Output>(Query::by("by_server").equal(server)).await? {
        output.record.lines.clear();
        // An instance may have printed meanwhile: that much stays.
        match api.bus.update(&mut output).await {
            Ok(()) | Err(culvert_records::Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}
