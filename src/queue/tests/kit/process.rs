//! A queue in a process of its own, which can be killed and stopped. Its leases are short.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Log, Task};
use culvert_model::{HostId, Role};
use culvert_records::{Bus, Failure, Query};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::{Done, Duty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use super::{SHORT, Stage};

/// Names the bus's socket to the process.
const BUS: &str = "CULVERT_TEST_QUEUE_BUS";

/// Names a database to a process that has a bus of its own, and which host it is.
const STORE: &str = "CULVERT_TEST_QUEUE_STORE";
const HOST: &str = "CULVERT_TEST_QUEUE_HOST";

/// Names the bus of tasks that are run besides.
const TASKS: &str = "CULVERT_TEST_TASKS_BUS";

/// The name of a task that is run besides.
pub const SLOTS: &str = "slots";

/// Its every run leaves notes in the log, when it begins and when it ends: `slot <due> <epoch> <host> <older>`, the
/// last being how many notes of older holders of the slot it had read by then.
static TABLE: [Duty; 1] = [Duty {
    name: SLOTS,
    what: "Notes that it ran.",
    period: 1_000,
    hears: &[],
    timeout: SHORT.length,
    work: |desk| Box::pin(note_slot(desk)),
}];

/// How long a run takes, milliseconds: long enough to be met by what goes wrong.
const RUN: Range<u64> = 500..2_000;

async fn note_slot(desk: &Desk<'_>) -> Result<Done, Failure> {
    let due = desk.bus.get::<Task>(SLOTS).await?.map_or(0, |task| task.record.due);
    note(desk, due).await?;
    // The clock's milliseconds are chance.
    sleep(Duration::from_millis(RUN.start + desk.now % (RUN.end - RUN.start))).await;
    note(desk, due).await?;
    Ok(Done::of("it is noted"))
}

async fn note(desk: &Desk<'_>, due: u64) -> Result<(), Failure> {
    let epoch = desk.fence.as_ref().expect("it is reserved").claim().await?.epoch;
    let notes = desk.all::<Log>(Query::all()).await?;
    let notes = notes.iter().filter_map(|log| Note::of(&log.record));
    let older = notes.filter(|note| note.due == due && note.epoch < epoch).count();
    desk.write(vec![desk.note(format!("slot {due} {epoch} {} {older}", desk.host))]).await.map(drop)
}

/// What a run of the task noted.
pub struct Note {
    pub due: u64,
    pub epoch: u64,
    pub host: String,
    pub older: usize,
}

impl Note {
    /// What this entry says, if it is a note.
    pub fn of(log: &Log) -> Option<Self> {
        let words: Vec<_> = log.message.split(' ').collect();
        let ["slot", due, epoch, host, older] = words[..] else { return None };
        Some(Self { due: due.parse().ok()?, epoch: epoch.parse().ok()?, host: host.into(), older: older.parse().ok()? })
    }
}

/// A library that shifts a program's clock, of the package faketime.
const CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// The process, killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a queue at this bus.
    pub fn start(bus: &Path) -> Self {
        Self::start_with(bus, &[])
    }

    /// The same, and tasks at another.
    pub fn start_with_tasks(bus: &Path, tasks: &Path) -> Self {
        Self::start_with(bus, &[(TASKS, tasks.to_str().expect("a path in UTF-8"))])
    }

    /// The same, with more in its environment.
    fn start_with(bus: &Path, environment: &[(&str, &str)]) -> Self {
        let log = bus.with_extension(format!("{}.log", culvert_model::Id::new()));
        let child = Command::new(std::env::current_exe().expect("this program has a name"))
            .args(["kit::process::queue_in_a_process_of_its_own", "--exact", "--nocapture"])
            .env(BUS, bus)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a new file"))
            .spawn()
            .expect("it runs");
        Self { child, log }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it is our child");
    }

    /// The most memory that it had, bytes.
    pub fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A queue and a bus in a process whose clock is so far off. The path names where it logs.
pub fn shifted(path: &Path, uri: &str, host: HostId, shift: &str) -> Process {
    assert!(fs::exists(CLOCK).expect("it can be looked for"), "{CLOCK} is not there: install the package faketime");
    let host = host.to_string();
    let clock = [("LD_PRELOAD", CLOCK), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    Process::start_with(path, &[clock.as_slice(), &[(STORE, uri), (HOST, &host)]].concat())
}

/// As kill -9, and buried.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- a queue's log\n{}", self.log());
        }
    }
}

/// The process itself.
#[tokio::test]
async fn queue_in_a_process_of_its_own() {
    let Some(bus) = std::env::var_os(BUS).map(PathBuf::from) else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    if let Some(tasks) = std::env::var_os(TASKS).map(PathBuf::from) {
        tokio::spawn(async move { culvert_tasks::attend_to(&Bus::new(tasks), &TABLE).await });
    }
    let Ok(uri) = std::env::var(STORE) else {
        return culvert_queue::attend_on(Bus::new(bus), SHORT, std::future::pending()).await;
    };
    let host = std::env::var(HOST).expect("it comes with the database").parse().expect("a host's id");
    let stage = Stage::over(Mongo::connect(&uri, host).await.expect("the store opens"), host);
    culvert_queue::attend_on(stage.bus(Role::Queue), SHORT, std::future::pending()).await;
}
