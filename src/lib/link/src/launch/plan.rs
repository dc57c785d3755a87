//! What the child of a launch needs, laid out before the fork so that it allocates nothing.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sys::stat::Mode;

use super::{Launch, duplicated, end, text};
use crate::error::During;
use crate::{Error, inherited};

/// The variable that holds the child's own number, with room for the digits. They are written after the fork.
const OWN_NUMBER: &[u8] = b"LISTEN_PID=\0\0\0\0\0\0\0\0\0\0\0\0";

/// All that the child needs. The pointers point into the other fields and into nothing else.
pub(super) struct Plan {
    pub(super) program: CString,
    /// The folder that the program lies in, and its name there, if it is executed by these.
    pub(super) folder: Option<(RawFd, CString)>,
    pub(super) argv: Vec<*const c_char>,
    pub(super) envp: Vec<*const c_char>,
    /// Where the child writes its number, if it is to know it.
    pub(super) own_number: Option<*mut u8>,
    /// From which number to which: all sources lie above all targets, so that none is overwritten.
    pub(super) descriptors: Vec<(RawFd, RawFd)>,
    /// The first number that the program does not get.
    pub(super) end: RawFd,
    pub(super) report: RawFd,
    /// Both ends of the gate, if the child is to wait at one.
    pub(super) gate: Option<(RawFd, RawFd)>,
    pub(super) parent: libc::pid_t,
    pub(super) user: Option<(u32, u32)>,
    pub(super) low_ports: bool,
    pub(super) no_terminal: bool,
    pub(super) die_with_parent: bool,
    pub(super) private_tun: bool,
    pub(super) cgroup: Option<RawFd>,
    pub(super) network: Option<RawFd>,
    pub(super) landlock: Option<RawFd>,
    pub(super) filter: Vec<libc::sock_filter>,
    #[expect(dead_code, reason = "argv and envp point into it")]
    strings: Vec<CString>,
    #[expect(dead_code, reason = "own_number points into it")]
    number: Vec<u8>,
    /// What keeps the numbers above open.
    held: Vec<OwnedFd>,
}

impl Plan {
    pub(super) fn new(launch: Launch<'_>) -> Result<Self, Error> {
        check(&launch)?;
        let program = text(launch.program.as_os_str().as_bytes())?;
        let mut strings = vec![program.clone()];
        for argument in &launch.arguments {
            strings.push(text(argument.as_str())?);
        }
        let arguments = strings.len();
        for (name, value) in variables(&launch) {
            strings.push(text(format!("{name}={value}"))?);
        }
        let mut number = OWN_NUMBER.to_vec();
        // Neither vector is touched again, and a CString's bytes stay where they are when its vector moves.
        let argv = pointers(strings.get(..arguments).unwrap_or_default(), None);
        let wanted = !launch.listening.is_empty();
        let envp = pointers(strings.get(arguments..).unwrap_or_default(), wanted.then(|| number.as_ptr().cast()));
        let prefix = "LISTEN_PID=".len();
        let own_number = wanted.then(|| number.as_mut_ptr().wrapping_add(prefix));
        let (descriptors, held) = descriptors(&launch)?;
        let end = end(descriptors.iter().map(|(_, target)| *target));
        let mut held = held;
        let folder = folder(&launch, end, &mut held)?;
        let mut above = |one: Option<BorrowedFd<'_>>| one.map(|one| raise(one, end, &mut held)).transpose();
        Ok(Self {
            program,
            folder,
            argv,
            envp,
            own_number,
            descriptors,
            end,
            report: -1,
            gate: None,
            parent: nix::unistd::getpid().as_raw(),
            user: launch.user,
            low_ports: launch.low_ports,
            no_terminal: launch.no_terminal,
            die_with_parent: launch.die_with_parent,
            private_tun: launch.private_tun,
            cgroup: above(launch.cgroup)?,
            network: above(launch.network)?,
            landlock: above(launch.landlock)?,
            filter: launch.filter,
            strings,
            number,
            held,
        })
    }

    /// Moves the pipe's end above the program's descriptors, too.
    pub(super) fn raise_report(&mut self, pipe: BorrowedFd<'_>) -> Result<(), Error> {
        self.report = raise(pipe, self.end, &mut self.held)?;
        Ok(())
    }
}

fn check(launch: &Launch<'_>) -> Result<(), Error> {
    let wrong = |why: &str| Err(Error::other(format!("starting {}", launch.program.display()), why));
    if !launch.program.is_absolute() {
        return wrong("its path is not absolute");
    }
    if launch.private_tun && launch.user.is_none() {
        return wrong("a private tun device needs a user");
    }
    if launch.user.is_some_and(|(uid, gid)| uid == 0 || gid == 0) {
        return wrong("root is not a user without privileges");
    }
    if !launch.listening.is_empty() && launch.descriptors.iter().any(|(number, _)| *number >= inherited::FIRST) {
        return wrong("named and numbered descriptors collide");
    }
    if launch.listening.iter().any(|(name, _)| name.is_empty() || name.contains(':')) {
        return wrong("a descriptor's name is empty or contains a colon");
    }
    Ok(())
}

/// The program's folder, opened by the one who starts it: the program's user may not be let through all folders above, as
/// where it was built in root's home. Who is confined before exec needs its path instead.
fn folder(launch: &Launch<'_>, end: RawFd, held: &mut Vec<OwnedFd>) -> Result<Option<(RawFd, CString)>, Error> {
    let (Some(folder), Some(name)) = (launch.program.parent(), launch.program.file_name()) else { return Ok(None) };
    if launch.user.is_none() || launch.landlock.is_some() || !launch.filter.is_empty() {
        return Ok(None);
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(folder, flags, Mode::empty()).during(|| format!("opening the folder {}", folder.display()))?;
    Ok(Some((raise(opened.as_fd(), end, held)?, text(name.as_bytes())?)))
}

/// The environment, with the names of the descriptors.
fn variables(launch: &Launch<'_>) -> Vec<(String, String)> {
    let mut all = launch.environment.clone();
    if !launch.listening.is_empty() {
        let names: Vec<&str> = launch.listening.iter().map(|(name, _)| name.as_str()).collect();
        all.push(("LISTEN_FDS".to_owned(), names.len().to_string()));
        all.push(("LISTEN_FDNAMES".to_owned(), names.join(":")));
    }
    all
}

/// A list of pointers to strings that ends with a null pointer.
fn pointers(strings: &[CString], more: Option<*const c_char>) -> Vec<*const c_char> {
    let all = strings.iter().map(|one| one.as_ptr()).chain(more);
    all.chain(std::iter::once(std::ptr::null())).collect()
}

/// From which number to which.
type Moves = Vec<(RawFd, RawFd)>;

/// Where the program's descriptors come from and go to, and what keeps the sources open.
fn descriptors(launch: &Launch<'_>) -> Result<(Moves, Vec<OwnedFd>), Error> {
    let mut wanted: Vec<(RawFd, BorrowedFd<'_>)> = launch.descriptors.clone();
    wanted.extend((inherited::FIRST..).zip(launch.listening.iter().map(|(_, one)| *one)));
    let nothing = File::open("/dev/null").during(|| "opening /dev/null".to_owned())?;
    if !wanted.iter().any(|(number, _)| *number == 0) {
        wanted.push((0, nothing.as_fd()));
    }
    let end = end(wanted.iter().map(|(number, _)| *number));
    let mut held = Vec::with_capacity(wanted.len());
    let mut moves = Vec::with_capacity(wanted.len());
    for (target, source) in wanted {
        moves.push((raise(source, end, &mut held)?, target));
    }
    Ok((moves, held))
}

/// Duplicates a descriptor to a number from `least` on.
fn raise(descriptor: BorrowedFd<'_>, least: RawFd, held: &mut Vec<OwnedFd>) -> Result<RawFd, Error> {
    let number = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(least));
    let number = number.during(|| "duplicating a descriptor for a program".to_owned())?;
    let duplicate = duplicated(number);
    held.push(duplicate);
    Ok(held.last().map_or(-1, AsRawFd::as_raw_fd))
}
