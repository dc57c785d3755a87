//! Hosts in processes of their own, and what their tasks note.

use std::env;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Log, Task};
use culvert_model::{HostId, Role};
use culvert_records::{Bus, Failure, Query};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::Duty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::stage::serve;
use crate::{CRASHING, TASKS, paused};

/// Names the database to a host's process.
const URI: &str = "CULVERT_TASKS_URI";
/// Names the host to it.
const HOST: &str = "CULVERT_TASKS_HOST";
/// Names the table of its tasks.
const TABLE: &str = "CULVERT_TASKS_TABLE";

/// What the process of a host does.
pub async fn host() {
    let (Ok(uri), Ok(host), Ok(table)) = (env::var(URI), env::var(HOST), env::var(TABLE)) else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let (_folder, _stop, bus) = join(&uri, host.parse().expect("a host's id")).await;
    let duties: &[Duty] = match table.as_str() {
        "crashing" => &CRASHING,
        "paused" => &paused::TASKS,
        _ => &TASKS,
    };
    culvert_tasks::attend_to(&bus, duties).await;
}

/// What the tasks of a host have, over a store of its own.
pub async fn join(uri: &str, host: HostId) -> (TempDir, watch::Sender<bool>, Bus) {
    let store = Arc::new(Mongo::connect(uri, host).await.expect("the store opens"));
    let (folder, stop) = (tempfile::tempdir().expect("a temporary folder"), watch::Sender::new(false));
    let bus = Bus::new(serve(folder.path(), store, host, Role::Tasks, stop.subscribe()));
    (folder, stop, bus)
}

/// A host in a process of its own, killed when dropped.
pub struct Host {
    pub id: HostId,
    process: Child,
    folder: TempDir,
}

impl Host {
    /// With the tasks of this table.
    pub fn start(uri: &str, table: &str) -> Self {
        let (id, folder) = (HostId::new(), tempfile::tempdir().expect("a temporary folder"));
        let process = Command::new(env::current_exe().expect("this program has a name"))
            .args(["--ignored", "--exact", "host", "--nocapture"])
            .envs([(URI, uri), (HOST, &id.to_string()), (TABLE, table)])
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).expect("a new file"))
            .spawn()
            .expect("it can be started again");
        Self { id, process, folder }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("it is our child");
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("it is our child").is_some()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("---- the log of host {}\n{}", self.id, self.log());
        }
    }
}

/// `<task> <due> <epoch> <host> <now> <what>`
pub async fn note(desk: &Desk<'_>, task: &str, what: &str) -> Result<(), Failure> {
    let epoch = desk.fence.as_ref().expect("it is reserved").claim().await?.epoch;
    let due = desk.bus.get::<Task>(task).await?.map_or(0, |task| task.record.due);
    let (host, now) = desk.bus.here().await?;
    desk.write(vec![desk.note(format!("{task} {due} {epoch} {host} {now} {what}"))]).await.map(drop)
}

/// What a run noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub task: String,
    pub due: u64,
    pub epoch: u64,
    pub host: HostId,
    pub at: u64,
    pub ends: bool,
}

impl Note {
    fn of(log: &str) -> Option<Self> {
        let [task, due, epoch, host, at, what] = log.split(' ').collect::<Vec<_>>()[..] else { return None };
        let (due, epoch, at) = (due.parse().ok()?, epoch.parse().ok()?, at.parse().ok()?);
        Some(Self { task: task.into(), due, epoch, host: host.parse().ok()?, at, ends: what == "ends" })
    }
}

pub async fn logs(bus: &Bus) -> Vec<String> {
    let logs = bus.list::<Log>(Query::all()).await.expect("the bus answers");
    logs.into_iter().map(|log| log.record.message).collect()
}

pub async fn notes(bus: &Bus, task: &str) -> Vec<Note> {
    let mut notes: Vec<_> = logs(bus).await.iter().filter_map(|log| Note::of(log)).collect();
    notes.retain(|note| note.task == task);
    notes.sort_by_key(|note| (note.due, note.epoch, note.ends));
    notes
}
