//! The process: the store, the heartbeat and the socket, until it is told to end.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use culvert_daemon::Context;
use culvert_model::HostId;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::choice::{Choice, Uri};
use crate::cluster;
use crate::heartbeat::{self, Machine};
use crate::identity::Identity;
use crate::server::Server;
use crate::store::embedded::Embedded;
use crate::store::mongo::Mongo;
use crate::store::{Awaited, Cache, Store};

/// How long to wait before the database is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the bus.
///
/// # Errors
///
/// It cannot start, or another machine has this host's id. Each error says what to do.
pub async fn run(mut context: Context) -> Result<(), Box<dyn Error>> {
    if context.options.flag("errand") {
        return crate::errand::run(context).await;
    }
    let folder = context.state.join("bus");
    let identity = Identity::keep(&folder)?;
    let listener = context.sockets.unix_listener("bus")?;
    match Choice::read(context.options.get("store"))? {
        Choice::Embedded => {
            let store = Embedded::open(&folder.join("store.sqlite"), identity.host)?;
            cluster::ensure(&store).await?;
            serve(&context, &listener, identity, Arc::new(store), None).await
        }
        Choice::Mongo(uri) => {
            Mongo::check(uri.reveal()).map_err(|error| culvert_daemon::Error::Configuration(error.to_string()))?;
            let (store, cache) = (Arc::new(Awaited::default()), Arc::new(Cache::default()));
            let host = identity.host;
            tokio::select! {
                served = serve(&context, &listener, identity, store.clone(), Some(cache.clone())) => served,
                () = async { store.arrive(reach(&uri, host).await).await } => Err("the database's driver ended".into()),
                () = cache.follow(&*store) => Err("the database's driver ended".into()),
            }
        }
    }
}

/// Connects to the database, however long it takes; says once why it takes long.
async fn reach(uri: &Uri, host: HostId) -> Mongo {
    let mut said = None;
    loop {
        let text = match connect(uri, host).await {
            Ok(mongo) => {
                tracing::info!("the database is reached");
                return mongo;
            }
            Err(error) => error.to_string(),
        };
        if said.as_ref() != Some(&text) {
            tracing::error!("{text}");
            said = Some(text);
        }
        sleep(AGAIN).await;
    }
}

/// The database, if this release may serve from it.
async fn connect(uri: &Uri, host: HostId) -> Result<Mongo, Box<dyn Error + Send + Sync>> {
    let mongo = Mongo::connect(uri.reveal(), host).await?;
    cluster::ensure(&mongo).await?;
    Ok(mongo)
}

async fn serve<S: Store>(
    context: &Context,
    listener: &UnixListener,
    identity: Identity,
    store: Arc<S>,
    cache: Option<Arc<Cache>>,
) -> Result<(), Box<dyn Error>> {
    let users = context.users.clone();
    let roles = Box::new(move |uid| users.role(uid));
    let server = Server::new(store.clone(), cache, identity.host, roles);
    let (stop, stopped) = watch::channel(false);
    tracing::info!(host = %identity.host, "the bus serves");
    context.notify.ready();
    let heartbeat = heartbeat::run(&*store, Machine::here(identity));
    let served = server.serve(listener, stopped);
    tokio::pin!(served);
    tokio::select! {
        () = &mut served => Ok(()),
        copied = heartbeat => Ok(copied?),
        () = context.stopped() => {
            stop.send_replace(true);
            served.await;
            Ok(())
        }
    }
}
