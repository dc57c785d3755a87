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
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::choice::{Choice, Move, Uri};
use crate::cluster;
use crate::format::{Release, prepare, upkeep};
use crate::heartbeat::{Copied, Heart, Standing, Words};
use crate::identity::{Identity, IdentityError};
use crate::server::{Adoption, Server};
use crate::store::embedded::Embedded;
use crate::store::frozen::Frozen;
use crate::store::mongo::Mongo;
use crate::store::{Awaited, Cache, Store, Versioned};
use crate::transfer::export::Export;
use crate::transfer::file;
use crate::transfer::import::Import;
use crate::transfer::journal::{Journal, Phase};
use crate::transfer::told::Told;
use crate::usage;

/// How long to wait before the database is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// For so long the others wait for the database and are told that all is up without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// For so long they wait while it is not plain which machine is this host: longer than its lease lasts.
const DOUBT: Duration = Duration::from_secs(15);

/// How often a machine that is not the host that it says it is says so.
const COMPLAINT: Duration = Duration::from_secs(600);

/// How long saying goodbye to the others may take.
const FAREWELL: Duration = Duration::from_secs(1);

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
        self.serve(&store, self.server(&store, None, &Told::of(Keeper::Embedded)), self.words()?.alone()).await
    }

    /// A member of a cluster.
    async fn member(&self, uri: &Uri) -> Ended {
        let (awaited, cache) = (Arc::new(Awaited::default()), Arc::new(Cache::default()));
        let store = shown(&awaited);
        let server = self.server(&store, Some(cache.clone()), &Told::of(Keeper::Mongo));
        let words = self.words()?;
        tokio::select! {
            served = self.serve(&store, server, words) => served,
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
        let words = self.words()?.alone();
        tokio::select! {
            served = self.serve(&served, server, words) => served,
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
        let words = self.words()?;
        tokio::select! {
            served = self.serve(&served, server, words) => served,
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

    async fn serve<S: Store>(&self, store: &Arc<Versioned<S>>, server: Server<Versioned<S>>, words: Words) -> Ended {
        let mut heart = Heart::new(self.identity.clone(), words);
        let (stop, stopped) = watch::channel(false);
        let (adoptions, mut wishes) = mpsc::channel::<Adoption>(1);
        let restart = server.restart();
        let served = server.while_held(heart.standing()).with_adoptions(adoptions).serve(&self.listener, stopped);
        tracing::info!(host = %heart.host(), "the bus serves");
        let mut start = Start { context: &self.context, said: false };
        tokio::pin!(served);
        loop {
            let (host, standing, measured) = (heart.host(), heart.standing(), heart.standing());
            tokio::select! {
                () = &mut served => return Ok(()),
                copied = heart.run(&**store) => return start.refused(copied, &mut served).await,
                () = start.say_ready(standing) => {}
                unusable = store.follow() => return Err(unusable.into()),
                () = upkeep(store.inner(), Release::THIS, host) => {}
                () = usage::run(&**store, host, measured) => {}
                Some((host, answer)) = wishes.recv() => {
                    let adopted = heart.adopt(&**store, host).await;
                    let done = adopted.is_ok();
                    // Who asked may be gone.
                    let _ = answer.send(adopted);
                    if done {
                        break;
                    }
                }
                () = self.context.stopped() => break,
                () = restart.notified() => {
                    tracing::info!("the bus ends, to be started again");
                    break;
                }
            }
        }
        stop.send_replace(true);
        served.await;
        if self.context.ends() {
            let _ = timeout(FAREWELL, heart.farewell(&**store)).await;
        }
        store.close().await;
        Ok(())
    }

    /// The words of this machine's lease.
    fn words(&self) -> Result<Words, IdentityError> {
        Words::keep(&self.folder).map_err(|error| IdentityError::Io(self.folder.display().to_string(), error))
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
    mongo.enter().await?;
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

/// The start of the bus, as the supervisor sees it.
struct Start<'a> {
    context: &'a Context,
    /// Whether the supervisor was told that the bus is ready.
    said: bool,
}

impl Start<'_> {
    /// Says that the bus is ready once this machine is known to be its host, and soon if there is nobody who could tell.
    /// Never ends; may be dropped and begun again.
    async fn say_ready(&mut self, mut standing: watch::Receiver<Standing>) {
        if !self.said {
            if timeout(PATIENCE, standing.wait_for(|it| *it == Standing::Held)).await.is_err() {
                let plain = |it: &Standing| *it != Standing::Contested;
                let _ = timeout(DOUBT, standing.wait_for(plain)).await;
            }
            self.context.notify.ready();
            self.said = true;
        }
        std::future::pending().await
    }

    /// Another machine is this host. At the start that is an error of whoever started it. Later it is not ended, since it
    /// would be started again and again: it goes on without serving, so that what runs runs on.
    async fn refused(self, copied: Result<(), Copied>, served: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
        let Err(copied) = copied else { return Ok(()) };
        if !self.said {
            return Err(culvert_daemon::Error::Configuration(copied.to_string()).into());
        }
        let complain = async {
            loop {
                tracing::error!("{copied}");
                sleep(COMPLAINT).await;
            }
        };
        tokio::select! {
            () = served => {}
            () = complain => {}
            () = self.context.stopped() => {}
        }
        Ok(())
    }
}
