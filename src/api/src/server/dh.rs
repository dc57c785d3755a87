//! Diffie-Hellman parameters of a server's own, where the settings say that servers have some.
//!
//! Nobody waits for them: what gets a server its parameters is written in one batch with what made it lack them. Ready
//! ones become its own at once; else a job is reserved under the server's id, and the queue puts the result into the
//! server, whatever became of this process. As long as that job is open, the server's status is `pending`; when it was
//! given up, the server says why. That is read from the jobs, so whatever is done about a job is seen at its server.

use std::collections::{BTreeMap, BTreeSet};

use culvert_model::Id;
use culvert_model::record::{Dh, DhParams, Job, JobState, Server, Settings};
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
pub async fn change<R>(api: &Api, id: Id, change: impl Fn(&mut Server) -> Answer<R>) -> Answer<(Server, R)> {
    super::again(|| async {
        let stored = api.have::<Server>(id, "server").await?;
        let mut server = stored.record.clone();
        let result = change(&mut server)?;
        let server = write(api, server, |server| vec![update(server, stored.unchanged())]).await?;
        changed(api, &stored.record, &server).await;
        Ok((server, result))
    })
    .await
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

/// Gets all servers what they lack, after the settings have said that they are to have some.
///
/// # Errors
///
/// The store can't be reached, or others write a server all the time.
pub async fn provide_all(api: &Api, settings: &Settings) -> Answer<()> {
    let mut all = Ok(());
    for server in super::list(api).await?.iter().filter(|server| lacks(server, settings)) {
        match change(api, server.id, |_| Ok(())).await {
            // It was deleted meanwhile.
            Err(no) if no.status == StatusCode::NOT_FOUND => {}
            // The others are not to wait for this one.
            Err(no) if no == No::raced() => all = Err(no),
            done => drop(done?),
        }
    }
    all
}

/// The searches for servers that lack parameters, as far as they can be looked at while the store is away.
#[derive(Debug, Default)]
pub struct Searches(Option<BTreeMap<String, Job>>);

impl Searches {
    /// For these servers.
    ///
    /// # Errors
    ///
    /// The store refuses.
    pub async fn of(api: &Api, servers: &[Server], settings: &Settings) -> Answer<Self> {
        let lacking = servers.iter().filter(|server| lacks(server, settings));
        let sizes: BTreeSet<u16> = lacking.map(Server::dh_size).collect();
        let mut searches = BTreeMap::new();
        for bits in sizes {
            let jobs = match api.bus.list::<Job>(Stock::DhParams(bits).jobs()).await {
                Err(failure) if failure.outage() => return Ok(Self(None)),
                jobs => jobs?.into_iter().map(|found| found.record).filter(|job| !job.cancelled),
            };
            // Where one died, another may have been ordered since.
            let (dead, open): (Vec<Job>, Vec<Job>) = jobs.partition(|job| job.state == JobState::Dead);
            searches.extend(dead.into_iter().chain(open).filter_map(|job| Some((job.reserved.clone()?, job))));
        }
        Ok(Self(Some(searches)))
    }

    /// Whether a server that lacks parameters will have some, as far as is known.
    pub fn under_way(&self, server: Id) -> bool {
        let Self(Some(searches)) = self else { return true };
        searches.get(&server.to_string()).is_some_and(|job| job.state == JobState::Open)
    }

    /// Why a server lacks parameters, for people.
    pub fn reason(&self, server: Id) -> Option<String> {
        let job = self.0.as_ref()?.get(&server.to_string());
        Some(match job {
            None => "Nobody searches for its Diffie-Hellman parameters: start it to begin a search.".into(),
            Some(Job { id, state: JobState::Dead, error, .. }) => {
                let why = error.as_deref().unwrap_or("Nobody knows why.");
                format!(
                    "The search for its Diffie-Hellman parameters was given up. {why} Retry the job {id}, or start the \
                     server to begin another search."
                )
            }
            Some(Job { id, .. }) => format!(
                "Its Diffie-Hellman parameters are being searched for, which takes minutes: the job {id} says how far that is."
            ),
        })
    }
}
