//! What the helper writes down of each instance, so that a later helper can adopt it or remove it. No keys.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use culvert_link::pidfd::Identity;
use culvert_model::{Id, Slot};
use culvert_wire::helper::{Route, Start};
use ipnet::Ipv4Net;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// An instance, from before anything of it was made until all of it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The server.
    pub server: Id,
    /// The epoch under which it was started.
    pub epoch: u64,
    /// What its rules are made of.
    pub tunnel: Tunnel,
    /// OpenVPN, once there is a process that may become it.
    pub process: Option<Process>,
}

/// What an instance's rules are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// The instance.
    pub slot: Slot,
    /// Its clients' network.
    pub network: Ipv4Net,
    /// What its clients reach.
    pub routes: Vec<Route>,
    /// Whether they reach nothing else.
    pub restrict_routes: bool,
    /// The clients that may send.
    pub clients: BTreeSet<Ipv4Addr>,
}

/// A process, such that no other one is taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in ticks since the machine did.
    pub start: u64,
    /// The boot of the machine in which it runs.
    pub boot: String,
    /// The inode of its pidfd: from Linux 6.9 on, no other process of this boot has it.
    pub inode: u64,
    /// Its own control group, where there is one.
    pub cgroup: Option<PathBuf>,
}

impl Process {
    /// What the process is known by, as a record has it.
    pub fn of(identity: Identity, cgroup: Option<PathBuf>) -> Self {
        let Identity { pid, start, boot, inode } = identity;
        Self { pid, start, boot, inode, cgroup }
    }

    /// What the process is known by.
    pub fn identity(&self) -> Identity {
        Identity { pid: self.pid, start: self.start, boot: self.boot.clone(), inode: self.inode }
    }
}

impl Tunnel {
    /// Of an instance that nobody is let in at yet.
    pub fn of(start: &Start) -> Self {
        Self {
            slot: start.slot,
            network: start.network,
            routes: start.routes.clone(),
            restrict_routes: start.restrict_routes,
            clients: BTreeSet::new(),
        }
    }

    /// The routes that a tunnel can carry, and whether each is translated.
    pub fn networks(&self) -> impl Iterator<Item = (Ipv4Net, bool)> {
        self.routes.iter().filter_map(|route| Some((bounds::version_4(route.network)?, route.nat)))
    }
}

/// The form of a record in its file: an upgraded helper must be able to read what the one before it wrote, so a form
/// that was once released stays as a variant.
#[derive(Serialize, Deserialize)]
enum Stored {
    First(Record),
}

/// The folder of the records, root's alone. Each file is replaced as a whole.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, made if it is not there.
    ///
    /// # Errors
    ///
    /// When it can't be made, or what is there is another's: what stands in a record is believed.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = fs::symlink_metadata(&path)?;
        if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0 {
            return Ok(Self(path));
        }
        let text = format!("{} is not a folder that only root can change: remove it", path.display());
        Err(io::Error::new(ErrorKind::PermissionDenied, text))
    }

    /// Where something else of an instance stands beside its record.
    pub fn beside(&self, slot: Slot, what: &str) -> PathBuf {
        self.0.join(format!("{slot}.{what}"))
    }

    /// Writes a record.
    ///
    /// # Errors
    ///
    /// When it can't be written; what was there before stands.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&Stored::First(record.clone())).map_err(io::Error::other)?;
        self.write(&record.tunnel.slot.to_string(), &bytes)
    }

    /// The record of an instance. `None` if there is none that this helper can read.
    pub fn load(&self, slot: Slot) -> Option<Record> {
        let bytes = fs::read(self.0.join(slot.to_string())).ok()?;
        match postcard::take_from_bytes(&bytes) {
            Ok((Stored::First(record), [])) if record.tunnel.slot == slot => Some(record),
            _ => None,
        }
    }

    /// Removes a record, if it is there.
    ///
    /// # Errors
    ///
    /// When it can't be removed.
    pub fn remove(&self, slot: Slot) -> io::Result<()> {
        absent(fs::remove_file(self.0.join(slot.to_string())))
    }

    /// The bytes of a file of another name.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join(name)).ok()
    }

    /// Writes a file as a whole or not at all.
    ///
    /// # Errors
    ///
    /// When it can't be written; what was there before stands.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let draft = self.0.join(format!("{name}.new"));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        fs::rename(&draft, self.0.join(name))
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    ///
    /// When it can't be removed.
    pub fn destroy(&self) -> io::Result<()> {
        absent(fs::remove_dir_all(&self.0))
    }
}

/// Removing what is not there is no error.
///
/// # Errors
///
/// All others.
pub fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::example;

    fn folder(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("culvert-record-{}-{name}", std::process::id()));
        Folder::open(path).expect("a folder")
    }

    fn record() -> Record {
        let start = example::start();
        let process = Process {
            pid: 7,
            start: 8,
            boot: "9".to_owned(),
            inode: 10,
            cgroup: Some("/sys/fs/cgroup/culvert/3".into()),
        };
        Record { server: start.server, epoch: 7, tunnel: Tunnel::of(&start), process: Some(process) }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = folder("round");
        folder.save(&record()).expect("saved");
        assert_eq!(folder.load(record().tunnel.slot), Some(record()));
        folder.remove(record().tunnel.slot).expect("removed");
        folder.remove(record().tunnel.slot).expect("removed twice");
        assert_eq!(folder.load(record().tunnel.slot), None);
        folder.destroy().expect("destroyed");
    }

    #[test]
    fn what_is_no_record_is_none() {
        let folder = folder("broken");
        let slot = record().tunnel.slot;
        folder.save(&record()).expect("saved");
        let bytes = folder.read("3").expect("bytes");
        for broken in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[9, 9, 9], &[]] {
            folder.write("3", broken).expect("written");
            assert_eq!(folder.load(slot), None);
        }
        folder.write("4", &bytes).expect("written");
        assert_eq!(folder.load(Slot::try_from(4).expect("a slot")), None, "another slot's record");
        folder.destroy().expect("destroyed");
    }

    #[test]
    fn anothers_folder_is_not_taken() {
        let path = |name: &str| std::env::temp_dir().join(format!("culvert-record-{}-{name}", std::process::id()));
        let (open, link, file) = (path("open"), path("link"), path("file"));
        fs::create_dir(&open).expect("a folder");
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("open to all");
        std::os::unix::fs::symlink(std::env::temp_dir(), &link).expect("a link");
        fs::write(&file, "").expect("a file");
        for bad in [&open, &link, &file] {
            assert!(Folder::open(bad.clone()).is_err(), "{}", bad.display());
        }
        fs::remove_dir(&open)
            .and_then(|()| fs::remove_file(&link))
            .and_then(|()| fs::remove_file(&file))
            .expect("gone");
    }

    #[test]
    fn no_key_is_in_a_record() {
        let start = Start { key: b"a key to be found".to_vec(), ..example::start() };
        let record = Record { tunnel: Tunnel::of(&start), ..record() };
        let bytes = postcard::to_stdvec(&record).expect("bytes");
        assert!(!bytes.windows(start.key.len()).any(|window| window == start.key));
    }
}
