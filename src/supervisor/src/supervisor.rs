//! The loop: what happened is read, what is due is done.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use culvert_link::launch::Launch;
use culvert_link::notify::{Message, Receiver};
use culvert_link::pidfd::Process;
use culvert_model::Role;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::arguments::Settings;
use crate::choice;
use crate::failure::Failure;
use crate::life::{Due, Life, WATCHDOG};
use crate::lock::Lock;
use crate::place::{self, Accounts, Sockets};
use crate::report::warn;
use crate::roster::{Network, Program, Round};
use crate::start::Ready;
use crate::store::{Store, is_name};

/// How long a process may take to be ready; the helper less, since the proxy waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
const HELPER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a round of ending may take; the helper's more, since it removes what it made.
const FAREWELL: Duration = Duration::from_secs(5);
const HELPER_FAREWELL: Duration = Duration::from_secs(10);

/// The loop comes around at least that often, and when it is that much later than it meant to be, the supervisor itself
/// stood still.
const TURN: Duration = Duration::from_secs(2);
const STANDSTILL: Duration = Duration::from_secs(1);

/// How much of what one process says is read in one turn: more than the kernel lets wait in a socket, so that nothing of a
/// process that has ended is left, and not without end, so that one that talks all the time keeps nobody else waiting.
const TALK: u16 = 1024;

/// The exit code of a process that will not run with what it was told, and of one that can't run on this machine. It has
/// said why, in one line that would drown if it were tried again and again. But where a supervisor was before, tunnels
/// may be up that the end of this one would take down: then what can't run now is tried again.
const MISCONFIGURED: i32 = 2;
const UNABLE: i32 = 1;

/// What the processes are made from.
pub struct Machine {
    /// What the supervisor was told.
    pub settings: Settings,
    /// The users.
    pub accounts: Accounts,
    /// The sockets.
    pub sockets: Sockets,
    /// The network namespace of proxy and api.
    pub console: OwnedFd,
    /// The network namespace of those who need none.
    pub nowhere: OwnedFd,
}

/// A process of the appliance.
struct Member {
    program: Program,
    life: Life,
    process: Option<Process>,
    /// Where it says how it is.
    notify: Receiver,
    store: Store,
}

/// The supervisor.
pub struct Supervisor {
    machine: Machine,
    members: Vec<Member>,
    signals: SignalFd,
    ready: Ready,
    /// When the loop came around last.
    turned: Instant,
    /// Held as long as anything runs.
    lock: Lock,
}

/// What the loop is told by signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    End,
}

impl Supervisor {
    /// A supervisor that has started nothing yet.
    pub fn new(
        machine: Machine,
        lock: Lock,
        signals: SignalFd,
        members: Vec<(Program, Receiver)>,
        ready: Ready,
    ) -> Self {
        let now = Instant::now();
        let patience = |program| if program == Program::Helper { HELPER_PATIENCE } else { PATIENCE };
        let member = |(program, notify)| Member {
            program,
            life: Life::new(now, patience(program)),
            process: None,
            notify,
            store: Store::default(),
        };
        let members = members.into_iter().map(member).collect();
        Self { machine, members, signals, ready, turned: now, lock }
    }

    /// Runs until it is told to end, or until a process refuses what it was told.
    pub fn run(mut self) -> Result<ExitCode, Failure> {
        let result = self.watch();
        let clean = self.end();
        let folder = &self.machine.settings.run;
        if let Err(error) = place::remove(folder, clean) {
            warn(&format!("the run folder {} was not removed: {error}", folder.display()));
        }
        if !clean {
            warn("the helper did not end cleanly: something of the VPN servers may be left; the next start removes it");
        }
        result
    }

    /// Starts, restarts and kills until the end.
    fn watch(&mut self) -> Result<ExitCode, Failure> {
        loop {
            self.do_what_is_due()?;
            let until = self.members.iter().filter(|one| self.may_start(one)).filter_map(|one| one.life.next()).min();
            if self.wait(until)? == Told::End {
                return Ok(ExitCode::SUCCESS);
            }
            if let Some(code) = self.bury()? {
                return Ok(code);
            }
        }
    }

    fn do_what_is_due(&mut self) -> Result<(), Failure> {
        // One moment for the question whether it stood still and for all that follows from it: it may be stopped anywhere.
        let now = Instant::now();
        if now > self.turned + TURN + STANDSTILL {
            self.members.iter_mut().for_each(|one| one.life.forgive(now));
        }
        self.turned = now;
        for place in 0..self.members.len() {
            let Some(member) = self.members.get(place) else { continue };
            let due = member.life.due(now).filter(|_| self.may_start(member));
            let name = member.program.name();
            match due {
                None => {}
                Some(Due::Start) => self.start(place)?,
                Some(Due::Silent) => self.kill(place, &format!("{name} has not been heard of for {WATCHDOG:?}")),
                Some(Due::NotReady) => self.kill(place, &format!("{name} did not become ready in time")),
            }
        }
        Ok(())
    }

    /// Whether nothing that a process waits for is missing.
    fn may_start(&self, member: &Member) -> bool {
        let guarded = || self.members.iter().any(|one| one.program == Program::Helper && one.life.was_ready());
        member.process.is_some() || !member.program.needs_guard() || guarded()
    }

    /// Starts a process. Only the very first time it is an error when that fails.
    fn start(&mut self, place: usize) -> Result<(), Failure> {
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        let now = Instant::now();
        match launch(&self.machine, member) {
            Ok(process) => {
                member.process = Some(process);
                member.life.started(now);
            }
            Err(error) if !member.life.was_ready() => return Err(error.into()),
            Err(error) => {
                let pause = member.life.ended(now);
                warn(&format!("{error}; trying again in {pause:?}"));
            }
        }
        Ok(())
    }

    fn kill(&mut self, place: usize, why: &str) {
        let Some(member) = self.members.get_mut(place) else { return };
        warn(&format!("{why}: killing it"));
        member.life.killed(Instant::now());
        signal(member, Signal::SIGKILL);
    }

    /// Waits until something happens, or until a moment, and reads what happened.
    fn wait(&mut self, until: Option<Instant>) -> Result<Told, Failure> {
        let before = Instant::now();
        // Rounded up, so that the loop does not spin through the rest of a millisecond.
        let left = until.map_or(TURN, |until| until.saturating_duration_since(before).min(TURN));
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let all = std::iter::once(self.signals.as_fd()).chain(self.members.iter().map(|one| one.notify.as_fd()));
        let mut asked: Vec<PollFd<'_>> = all.map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        match poll(&mut asked, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Failure::machine(format!("waiting for the processes: {error}"))),
        }
        self.listen()?;
        self.read_signals()
    }

    /// Reads what the processes say.
    fn listen(&mut self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::machine(format!("listening to the processes: {error}"));
        for member in &mut self.members {
            for _ in 0..TALK {
                let Some(message) = member.notify.receive().map_err(failed)? else { break };
                // What its predecessor said counts no more.
                if member.process.as_ref().is_some_and(|process| process.pid() == message.pid) {
                    hear(member, message);
                }
            }
        }
        if self.ready.is_some() && self.members.iter().all(|one| one.life.ready()) {
            let told = self.ready.take().map(|ready| File::from(ready).write_all(b"ready\n"));
            if let Some(Err(error)) = told {
                warn(&format!("nobody waits any more to hear that everything is up: {error}"));
            }
        }
        Ok(())
    }

    fn read_signals(&mut self) -> Result<Told, Failure> {
        let mut told = Told::Nothing;
        let failed = |error: nix::Error| Failure::machine(format!("reading signals: {error}"));
        while let Some(info) = self.signals.read_signal().map_err(failed)? {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                told = Told::End;
            }
        }
        Ok(told)
    }

    /// Buries every child that has ended, orphans of others included. A code when that is a reason to end.
    fn bury(&mut self) -> Result<Option<ExitCode>, Failure> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(nix::Error::ECHILD) => return Ok(None),
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(Failure::machine(format!("waiting for ended processes: {error}"))),
                Ok(status) => status,
            };
            let ended = status.pid().map(nix::unistd::Pid::as_raw);
            let same = |one: &&mut Member| one.process.as_ref().map(Process::pid) == ended;
            // What it said last must not be lost: descriptors that it wanted to be kept, above all.
            self.listen()?;
            let Some(member) = self.members.iter_mut().find(same) else { continue };
            member.process = None;
            let name = member.program.name();
            if let (WaitStatus::Exited(_, code), false) = (status, member.life.was_ready())
                && (code == MISCONFIGURED || code == UNABLE && !self.lock.leftover)
            {
                return Ok(Some(ExitCode::from(code as u8)));
            }
            let pause = member.life.ended(Instant::now());
            warn(&format!("{name} {}; starting it again{}", how(status), after(pause)));
        }
    }

    /// Ends everything, round by round. Whether the helper ended cleanly, and so left nothing behind.
    fn end(&mut self) -> bool {
        let mut clean = true;
        for round in [Round::First, Round::Second, Round::Third, Round::Last] {
            if round == Round::Second {
                self.revive_helper();
            }
            let patience = if round == Round::Second { HELPER_FAREWELL } else { FAREWELL };
            let leaving = |one: &&mut Member| one.program.ending().0 == round;
            for member in self.members.iter_mut().filter(leaving) {
                signal(member, member.program.ending().1);
                // Who is stopped could not hear it.
                signal(member, Signal::SIGCONT);
            }
            let deadline = Instant::now() + patience;
            for member in self.members.iter_mut().filter(leaving) {
                let made_nothing = !member.life.was_ready() && !self.lock.leftover;
                clean &= farewell(member, deadline) || member.program != Program::Helper || made_nothing;
            }
        }
        clean
    }

    /// Starts the helper if it happens to be away, since it has to remove what it made.
    fn revive_helper(&mut self) {
        let away = |one: &Member| one.program == Program::Helper && one.process.is_none() && one.life.was_ready();
        let Some(place) = self.members.iter().position(away) else { return };
        let deadline = Instant::now() + HELPER_PATIENCE;
        let ready = |all: &[Member]| all.get(place).is_some_and(|one| one.life.ready());
        let mut going = self.start(place);
        while going.is_ok() && !ready(&self.members) && Instant::now() < deadline {
            going = self.wait(Some(deadline)).map(drop);
        }
        if let Err(failure) = going {
            warn(&failure.to_string());
        }
    }
}

/// Waits until a process has ended, and kills it at the deadline. Whether it ended by itself and said that all is well.
fn farewell(member: &mut Member, deadline: Instant) -> bool {
    let Some(process) = member.process.take() else { return false };
    let name = member.program.name();
    if !process.wait(deadline).unwrap_or(false) {
        warn(&format!("{name} did not end in time: killing it"));
        if process.signal(Signal::SIGKILL).is_ok() {
            // A killed process ends as soon as the kernel lets it; longer than this is a fault of the machine.
            let _ = process.wait(Instant::now() + FAREWELL);
        }
    }
    matches!(process.bury(), Some(WaitStatus::Exited(_, 0)))
}

/// Takes in what a process says.
fn hear(member: &mut Member, message: Message) {
    let now = Instant::now();
    let is = |name: &str| message.value(name) == Some("1");
    if is("WATCHDOG") || is("READY") {
        member.life.alive(now);
    }
    if is("READY") {
        member.life.is_ready();
    }
    let Some(name) = message.value("FDNAME").filter(|name| is_name(name) && member.program.stores()) else { return };
    if is("FDSTOREREMOVE") {
        member.store.remove(name);
    }
    if is("FDSTORE") {
        let name = name.to_owned();
        let descriptor = message.descriptors.into_iter().next();
        if descriptor.is_some_and(|descriptor| !member.store.keep(&name, descriptor)) {
            warn(&format!("there is no room to keep {name} for {}", member.program.name()));
        }
    }
}

/// Sends a process a signal.
fn signal(member: &Member, signal: Signal) {
    if let Some(process) = &member.process
        && process.alive()
        && let Err(error) = process.signal(signal)
    {
        warn(&error.to_string());
    }
}

/// Starts a process with what it may have.
fn launch(machine: &Machine, member: &Member) -> Result<Process, culvert_link::Error> {
    let program = member.program;
    let resolved = match program {
        Program::Of(Role::Bus) => choice::resolve(&machine.settings),
        _ => Ok(machine.settings.clone()),
    };
    let settings = &resolved.map_err(|error| culvert_link::Error::new("finding out where records are kept", error))?;
    let proxy = machine.accounts.of(Role::Proxy).uid;
    // Standard error is for writing alone, unlike a terminal that stands behind standard output: nobody reads what is
    // typed there.
    let errors = std::io::stderr();
    let mut launch = Launch::new(settings.bin.join(format!("culvert-{}", program.name())))
        .arguments(program.arguments(settings, proxy))
        .variable("NOTIFY_SOCKET", place::notify_socket(&settings.run, program).to_string_lossy())
        .variable("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
        .descriptor(1, errors.as_fd())
        .no_terminal()
        .die_with_parent();
    if let Ok(stream) = std::env::var("JOURNAL_STREAM") {
        launch = launch.variable("JOURNAL_STREAM", stream);
    }
    if let Program::Of(role) = program {
        let account = machine.accounts.of(role);
        launch = launch.user(account.uid, account.gid);
    }
    let network: Option<BorrowedFd<'_>> = match program.network(settings) {
        Network::Host => None,
        Network::Console => Some(machine.console.as_fd()),
        Network::Nowhere => Some(machine.nowhere.as_fd()),
    };
    if let Some(network) = network {
        launch = launch.network(network);
    }
    for name in program.sockets() {
        if let Some(socket) = machine.sockets.get(name) {
            launch = launch.listening(*name, socket);
        }
    }
    for (name, descriptor) in member.store.all() {
        launch = launch.listening(name, descriptor);
    }
    launch.start()
}

fn how(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("ended with code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("was ended by {signal}"),
        _ => "ended".to_owned(),
    }
}

fn after(pause: Duration) -> String {
    if pause.is_zero() { String::new() } else { format!(" in {pause:?}") }
}
