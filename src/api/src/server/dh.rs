//! Diffie-Hellman parameters of a server's own, where the settings say that servers have some.
//!
//! Nobody waits for them: what gets a server its parameters is written in one batch with what made it lack them. Ready
//! ones become its own at once; else a job is reserved under the server's id, and the queue puts the result into the
//! server, whatever became of this process. Until then the server's status is `pending`.

use culvert_model::Id;
use culvert_model::record::{Dh, DhParams, Server, Settings};
use culvert_pool::Stock;
use culvert_records::{Write, update};
use http::StatusCode;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::take::{Got, ask, forget_order};
use crate::user::settings;

/// Whether a server is to have parameters of its own by these settings, and has none.
pub fn lacks(server: &Server, settings: &Settings) -> bool {
    settings.dh == Dh::Own && server.dh_params.is_none()
}

/// Makes these writes for a server, together with what gets it parameters if it lacks some. With the server as it is then.
///
/// # Errors
///
/// One of the writes was refused, or the store can't be reached.
pub async fn write(api: &Api, mut server: Server, writes: impl Fn(&Server) -> Vec<Write>) -> Answer<Server> {
    if !lacks(&server, &settings(api).await?) {
        api.bus.write(writes(&server)).await?;
        return Ok(server);
    }
    let with = |params: Option<&DhParams>| {
        let dh_params = params.map(|params| params.der.clone());
        writes(&Server { dh_params, ..server.clone() })
    };
    let got = ask(api, Stock::DhParams(server.dh_size()), &server.id.to_string(), None, with).await?;
    if let Got::Taken(params) = got {
        server.dh_params = Some(params.der);
    }
    Ok(server)
}

/// As [`crate::api::Inner::change`], of a server that may lack parameters afterwards.
///
/// # Errors
///
/// It is not there, `change` refused, the store can't be reached, or others write it all the time.
pub async fn change<R>(api: &Api, id: Id, mut change: impl FnMut(&mut Server) -> Answer<R>) -> Answer<(Server, R)> {
    for _ in 0..5 {
        let stored = api.have::<Server>(id, "server").await?;
        let mut server = stored.record.clone();
        let result = change(&mut server)?;
        match write(api, server, |server| vec![update(server, stored.unchanged())]).await {
            Ok(server) => {
                changed(api, &stored.record, &server).await;
                return Ok((server, result));
            }
            Err(no) if no.status == StatusCode::CONFLICT => {}
            Err(no) => return Err(no),
        }
    }
    Err(No::raced())
}

/// Gets a server what it lacks.
///
/// # Errors
///
/// It is still being searched for, the server is not there, or the store can't be reached.
pub async fn provide(api: &Api, id: Id) -> Answer<()> {
    let settings = settings(api).await?;
    let mut server = api.have::<Server>(id, "server").await?.record;
    if lacks(&server, &settings) {
        server = change(api, id, |_| Ok(())).await?.0;
    }
    if lacks(&server, &settings) {
        let text = "The server's Diffie-Hellman parameters are still being searched for: its status is pending until then. \
                    See /v1/jobs for how far the search is, or let servers have a group of RFC 7919 (the setting dh).";
        return Err(No { later: true, ..No::new(StatusCode::SERVICE_UNAVAILABLE, "server_dh_pending", text) });
    }
    Ok(())
}

/// What a server waited for before it was changed, it may not any more.
pub async fn changed(api: &Api, old: &Server, new: &Server) {
    if new.dh_size() != old.dh_size() {
        give_up(api, old.id, old.dh_size()).await;
    }
}

/// A server does not wait for parameters of this size any more.
pub async fn give_up(api: &Api, server: Id, bits: u16) {
    forget_order(api, Stock::DhParams(bits), &server.to_string()).await;
}
