//! The process: the store, the heartbeat and the socket, until it is told to end; and where records are moved between the
//! embedded store and a database, until they are there.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use culvert_daemon::Context;
use culvert_model::{HostId, Id};
use culvert_wire::bus::Keeper;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::choice::{Choice, Move, Uri};
use crate::cluster;
use crate::format::{Release, prepare, upkeep};
use crate::heartbeat::{self, Machine};
use crate::identity::Identity;
use crate::server::Server;
use crate::store::embedded::Embedded;
use crate::store::frozen::Frozen;
use crate::store::mongo::Mongo;
use crate::store::{Awaited, Cache, Store, Versioned};
use crate::transfer::export::Export;
use crate::transfer::file;
use crate::transfer::import::Import;
use crate::transfer::journal::{Journal, Phase};
use crate::transfer::told::Told;

/// How long to wait before the database is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What becomes of the process.
type Ended = Result<(), Box<dyn Error>>;

/// Runs the bus.
///
/// # Errors
///
/// It cannot start, or another machine has this host's id. Each error says what to do.
pub async fn run(mut context: Context) -> Ended {
    if context.options.flag("errand") {
        return crate::errand::run(context).await;
    }
    let folder = context.state.join("bus");
    let identity = Identity::keep(&folder)?;
    let listener = context.sockets.unix_listener("bus")?;
    let bus = Bus { context, listener, identity, folder };
    match (Choice::read(bus.context.options.get("store"))?, Move::read(bus.context.options.get("transfer"))?) {
        (Choice::Embedded, _) => bus.alone().await,
        (Choice::Mongo(uri), transfer) => {
            Mongo::check(uri.reveal()).map_err(|error| culvert_daemon::Error::Configuration(error.to_string()))?;
            match transfer {
                None => bus.member(&uri).await,
                Some(Move::Import) => bus.import(uri).await,
                Some(Move::Join) => bus.join(&uri).await,
                Some(Move::Export) => bus.export(&uri).await,
            }
        }
    }
}

/// What it was started with.
struct Bus {
    context: Context,
    listener: UnixListener,
    identity: Identity,
    /// Its own folder.
    folder: PathBuf,
}

impl Bus {
    /// A single appliance.
    async fn alone(&self) -> Ended {
        match Journal::find(&self.folder)? {
            // A move that was given up.
            Some(journal) if journal.phase() == Phase::Copying => journal.end()?,
            Some(_) => {
                let text = "this appliance's records are being moved between its own store and a cluster, and it is not \
                            settled where they are: run the same `culvert join` or `culvert leave` again";
                return Err(culvert_daemon::Error::Configuration(text.into()).into());
            }
            None => {}
        }
        let file = file::store(&self.folder);
        let store = Embedded::open(&file, self.identity.host)?;
        cluster::ensure(&store).await?;
        prepare(&store, &file, &Release::THIS).await?;
        let store = shown(&Arc::new(store));
        self.serve(&store, self.server(&store, None, &Told::of(Keeper::Embedded))).await
    }

    /// A member of a cluster.
    async fn member(&self, uri: &Uri) -> Ended {
        let (awaited, cache) = (Arc::new(Awaited::default()), Arc::new(Cache::default()));
        let store = shown(&awaited);
        let server = self.server(&store, Some(cache.clone()), &Told::of(Keeper::Mongo));
        tokio::select! {
            served = self.serve(&store, server) => served,
            () = async { awaited.arrive(Arc::new(reach(uri, self.identity.host).await)).await } => Err(driver_ended()),
            () = cache.follow(&*store) => Err(driver_ended()),
        }
    }

    /// A member that leaves the records of its own store behind.
    async fn join(&self, uri: &Uri) -> Ended {
        file::rename(&file::store(&self.folder), &file::aside(&self.folder, Id::new()))?;
        self.member(uri).await
    }

    /// A single appliance whose records are moved into a database; a member once they are there.
    async fn import(&self, uri: Uri) -> Ended {
        let journal =
            self.settle(|journal| file::rename(&file::store(&self.folder), &file::aside(&self.folder, journal.id())))?;
        if !file::store(&self.folder).exists() {
            return self.member(&uri).await;
        }
        let (mut journal, told) = (self.or_begun(journal)?, Told::of(Keeper::Embedded));
        let store = Embedded::open(&file::store(&self.folder), self.identity.host)?;
        cluster::ensure(&store).await?;
        let store = Arc::new(Frozen::new(Arc::new(store), journal.phase() == Phase::Committing));
        let served = shown(&store);
        let server = self.server(&served, None, &told);
        let restart = server.restart();
        let import = Import { folder: self.folder.clone(), uri, host: self.identity.host };
        let moved = async {
            import.run(&mut journal, &store, &told).await;
            restart.notify_one();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = self.serve(&served, server) => served,
            () = moved => Ok(()),
        }
    }

    /// A member that leaves its cluster; a single appliance once it is out.
    async fn export(&self, uri: &Uri) -> Ended {
        let (mine, incoming) = (file::store(&self.folder), file::incoming(&self.folder));
        let journal = self.settle(|journal| {
            if incoming.exists() && mine.exists() {
                // Of a time before this host was a member.
                file::rename(&mine, &file::aside(&self.folder, journal.id()))?;
            }
            if incoming.exists() { file::rename(&incoming, &mine) } else { Ok(()) }
        })?;
        if journal.is_none() && mine.exists() {
            return self.alone().await;
        }
        let (mut journal, told) = (self.or_begun(journal)?, Told::of(Keeper::Mongo));
        let (awaited, cache) = (Arc::new(Awaited::default()), Arc::new(Cache::default()));
        let store = Arc::new(Frozen::new(awaited.clone(), journal.phase() == Phase::Committing));
        let served = shown(&store);
        let server = self.server(&served, Some(cache.clone()), &told);
        let restart = server.restart();
        let export = Export { folder: self.folder.clone(), host: self.identity.host };
        let moved = async {
            let mongo = Arc::new(reach_whatever(uri, self.identity.host, &told).await);
            let arrived = awaited.arrive(mongo.clone());
            let left = async {
                export.run(&mut journal, &store, &mongo, &told).await;
                restart.notify_one();
                std::future::pending::<()>().await;
            };
            tokio::join!(arrived, left);
        };
        tokio::select! {
            served = self.serve(&served, server) => served,
            () = moved => Err(driver_ended()),
            () = cache.follow(&*served) => Err(driver_ended()),
        }
    }

    /// Ends a move that is done but for this; what is left is one that is not done.
    fn settle(&self, finish: impl FnOnce(&Journal) -> std::io::Result<()>) -> std::io::Result<Option<Journal>> {
        match Journal::find(&self.folder)? {
            Some(journal) if journal.phase() == Phase::Done => {
                finish(&journal)?;
                journal.end().map(|()| None)
            }
            journal => Ok(journal),
        }
    }

    fn or_begun(&self, journal: Option<Journal>) -> std::io::Result<Journal> {
        journal.map_or_else(|| Journal::begin(&self.folder), Ok)
    }

    fn server<S: Store>(&self, store: &Arc<S>, cache: Option<Arc<Cache>>, told: &Told) -> Server<S> {
        let users = self.context.users.clone();
        let roles = Box::new(move |uid| users.role(uid));
        Server::new(store.clone(), cache, self.identity.host, roles).telling(told.clone())
    }

    async fn serve<S: Store>(&self, store: &Arc<Versioned<S>>, server: Server<Versioned<S>>) -> Ended {
        let (stop, stopped) = watch::channel(false);
        tracing::info!(host = %self.identity.host, "the bus serves");
        self.context.notify.ready();
        let heartbeat = heartbeat::run(&**store, Machine::here(self.identity.clone()));
        let restart = server.restart();
        let served = server.serve(&self.listener, stopped);
        tokio::pin!(served);
        tokio::select! {
            () = &mut served => return Ok(()),
            copied = heartbeat => return Ok(copied?),
            unusable = store.follow() => return Err(unusable.into()),
            () = upkeep(store.inner(), Release::THIS, self.identity.host) => {}
            () = self.context.stopped() => {}
            () = restart.notified() => tracing::info!("the bus ends, to be started again"),
        }
        stop.send_replace(true);
        served.await;
        Ok(())
    }
}

/// A store in the shape that this release knows.
fn shown<S: Store>(store: &Arc<S>) -> Arc<Versioned<S>> {
    Arc::new(Versioned::new(store.clone(), Release::THIS))
}

fn driver_ended() -> Box<dyn Error> {
    "the database's driver ended".into()
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

/// The database, also if nobody may serve from it any more.
async fn reach_whatever(uri: &Uri, host: HostId, told: &Told) -> Mongo {
    loop {
        match Mongo::connect(uri.reveal(), host).await {
            Ok(mongo) => return mongo,
            Err(error) => told.waiting(&error.to_string()),
        }
        sleep(AGAIN).await;
    }
}
