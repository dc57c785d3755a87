//! What the store says to a request, in the words of the protocol.

use std::time::Duration;

use culvert_model::record::Purpose;
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Fault, Find, Reply, Request, Row, Write};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Server;
use crate::roles::{Verdict, cached};
use crate::store::{Answer, Found, Owner, Store, Trouble};

/// The stores have deadlines of their own; this one is for a store that misses them.
const DEADLINE: Duration = Duration::from_secs(10);

/// Carries a request out.
pub async fn answer<S: Store>(server: &Server<S>, request: Request, verdict: Verdict) -> Result<Reply, Fault> {
    let late = match request {
        Request::Get { .. } | Request::Find(_) | Request::Count(_) | Request::Here => Fault::Unavailable,
        _ => Fault::Unknown,
    };
    let done = timeout(DEADLINE, async {
        match (&request, verdict) {
            (_, Verdict::Denied) => return Err(Trouble::Fault(Fault::Denied)),
            (Request::Standing | Request::Restart, _) => {}
            _ if !server.serves() => return Err(Trouble::Fault(Fault::Unavailable)),
            (Request::Get { id, .. }, Verdict::IfOfServer) => of_server(server, id).await?,
            _ => {}
        }
        carry_out(server, request).await
    });
    match done.await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(Trouble::Refused { write, why })) => Ok(Reply::Refused { write, why }),
        Ok(Err(Trouble::Damaged(damage))) => Err(Fault::Invalid(damage.to_string())),
        Ok(Err(Trouble::Fault(fault))) => Err(fault),
        Err(_) => Err(late),
    }
}

async fn carry_out<S: Store>(server: &Server<S>, request: Request) -> Answer<Reply> {
    let Server { store, host, .. } = server;
    match request {
        Request::Get { kind, id } => get(server, kind, &id).await,
        Request::Find(query) => find(server, query).await,
        Request::Count(query) => store.count(query).await.map(Reply::Count),
        Request::Write { id, writes } => write(server, id, writes, None).await,
        Request::WriteAgain { id, writes, begun } => {
            write(server, id, writes, Some(Duration::from_millis(begun))).await
        }
        Request::Claim { kind, id, revision, owner, lease } => {
            let owner = Owner { host: *host, name: owner };
            store.claim(kind, &id, revision, owner, lease).await.map(|row| Reply::Claimed { row })
        }
        Request::Renew { kind, id, claim, lease } => {
            store.renew(kind, &id, *host, claim, lease).await.map(|row| Reply::Claimed { row })
        }
        Request::Pass { kind, id, claim, owner, lease } => {
            store.pass(kind, &id, *host, claim, owner, lease).await.map(|row| Reply::Claimed { row })
        }
        Request::Release { kind, id, claim } => {
            store.release(kind, &id, *host, claim).await.map(|()| Reply::Written { revisions: Vec::new() })
        }
        Request::Sweep { kind, index, before } => store.sweep(kind, &index, before).await.map(Reply::Count),
        Request::Here => store.now().await.map(|now| Reply::Here { host: *host, now }),
        Request::Standing => Ok(Reply::Standing { host: server.host, standing: server.told.now() }),
        Request::Restart => {
            // Who ends it has nothing to wait for: the answer is still written.
            server.restart.notify_one();
            Ok(Reply::Restarting)
        }
        Request::Adopt { host } => adopt(server, host).await,
        Request::Subscribe(_) => {
            Err(Trouble::Fault(Fault::Invalid("a subscription is no request of one answer".into())))
        }
    }
}

async fn adopt<S: Store>(server: &Server<S>, host: HostId) -> Answer<Reply> {
    let no = || Trouble::Fault(Fault::Unavailable);
    let (answer, answered) = oneshot::channel();
    server.adoptions.as_ref().ok_or_else(no)?.try_send((host, answer)).map_err(|_| no())?;
    answered.await.map_err(|_| no())?.map(|()| Reply::Adopted)
}

/// Writes that are new, or were asked for so long ago and may have been done since.
async fn write<S: Store>(server: &Server<S>, id: u128, writes: Vec<Write>, begun: Option<Duration>) -> Answer<Reply> {
    let remembered = server.cache.as_ref().map(|cache| (cache, writes.clone()));
    let revisions = match begun {
        None => server.store.write(id, writes).await,
        Some(begun) => server.store.write_again(id, writes, begun).await,
    };
    match (&revisions, remembered) {
        (Ok(revisions), Some((cache, writes))) => cache.written(&writes, revisions),
        (Err(Trouble::Fault(Fault::Unknown)), Some((cache, writes))) => cache.forget(&writes),
        _ => {}
    }
    revisions.map(|revisions| Reply::Written { revisions })
}

async fn get<S: Store>(server: &Server<S>, kind: Kind, id: &str) -> Answer<Reply> {
    let cache = server.cache.as_ref().filter(|_| cached(kind));
    match (server.store.get(kind, id).await, cache) {
        (Ok(row), cache) => {
            if let Some(cache) = cache {
                cache.read(kind, id, row.as_ref());
            }
            Ok(rows(row.into_iter().collect(), false))
        }
        (Err(Trouble::Fault(Fault::Unavailable)), Some(cache)) => match cache.get(kind, id) {
            Some(row) => Ok(rows(row.into_iter().collect(), true)),
            None => Err(Trouble::Fault(Fault::Unavailable)),
        },
        (Err(trouble), _) => Err(trouble),
    }
}

async fn find<S: Store>(server: &Server<S>, query: Find) -> Answer<Reply> {
    let _turn = server.pages.acquire().await;
    let cache = server.cache.as_ref().filter(|_| cached(query.kind));
    match (server.store.find(query.clone()).await, cache) {
        (Ok(Found { rows, next, .. }), _) => Ok(Reply::Rows { rows, next, cached: false }),
        (Err(Trouble::Fault(Fault::Unavailable)), Some(cache)) => match cache.find(&query) {
            Some(Found { rows, next, .. }) => Ok(Reply::Rows { rows, next, cached: true }),
            None => Err(Trouble::Fault(Fault::Unavailable)),
        },
        (Err(trouble), _) => Err(trouble),
    }
}

fn rows(rows: Vec<Row>, cached: bool) -> Reply {
    Reply::Rows { rows, next: None, cached }
}

/// Whether the certificate of this id is a server's: only its key is of use to who may have servers' keys only.
async fn of_server<S: Store>(server: &Server<S>, id: &str) -> Answer<()> {
    #[derive(Deserialize)]
    struct Certificate {
        purpose: Purpose,
    }
    let row = server.store.get(Kind::Certificate, id).await?;
    let purpose = row.and_then(|row| serde_json::from_slice::<Certificate>(&row.body).ok()).map(|it| it.purpose);
    match purpose {
        Some(Purpose::Server) => Ok(()),
        _ => Err(Trouble::Fault(Fault::Denied)),
    }
}
