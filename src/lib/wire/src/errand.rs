//! Between `culvert` and a `culvert-bus` that it starts for one errand, in the bus's sandbox and under its user: whatever
//! touches the database or reads a stranger's file happens there, never in the caller, who is root.
//!
//! The errand comes in the descriptor `errand`, the reports go to the descriptor `report`: each a length of four bytes,
//! big-endian, and a message. A descriptor `archive` is the file that is written or read.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

use culvert_model::record::ClusterState;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bus::FRAME;
use crate::{decode, encode};

/// The longest message in bytes.
const MESSAGE: u32 = 1 << 20;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Look, step by step, whether the database at this URI can be used.
    Check {
        /// It may hold a password.
        uri: String,
    },
    /// Tell what the database at this URI holds, by [`Report::Content`].
    Survey {
        /// It may hold a password.
        uri: String,
    },
    /// Write all records into the archive.
    Backup {
        /// Where they are.
        from: Place,
        /// What opens the archive.
        passphrase: String,
    },
    /// Read an archive to its end.
    Verify {
        /// What opens it.
        passphrase: String,
    },
    /// Bring the records to the format of this release, each kind told of by [`Report::Step`].
    Migrate {
        /// Where they are.
        place: Place,
        /// Only tell what would be done.
        dry: bool,
    },
    /// Tell of each damaged record by [`Report::Step`].
    Damaged {
        /// Where they are.
        place: Place,
    },
    /// Put a record in the place of a damaged one, or remove it.
    Repair {
        /// Where it is.
        place: Place,
        /// The name of its kind.
        kind: String,
        /// Its id.
        id: String,
        /// JSON; nothing to remove it. It may be a secret.
        body: Option<String>,
    },
    /// Put the archive's records where they belong. Culvert must not run.
    Restore {
        /// Where that is.
        to: Place,
        /// What opens the archive.
        passphrase: String,
        /// Whether this machine is to be a host of its own in any case.
        fresh: bool,
    },
}

/// Where records are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In the bus's own file.
    Embedded,
    /// In the MongoDB at this URI, which may hold a password.
    Mongo(String),
}

/// Errands hold passwords.
impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check { .. } => "check",
            Self::Survey { .. } => "survey",
            Self::Backup { .. } => "backup",
            Self::Verify { .. } => "verify",
            Self::Restore { .. } => "restore",
            Self::Migrate { .. } => "migrate",
            Self::Damaged { .. } => "damaged",
            Self::Repair { .. } => "repair",
        })
    }
}

/// What came of it so far. The last one is [`Report::Done`] or [`Report::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// One of several steps.
    Step {
        /// Its name.
        name: String,
        /// Whether it went well.
        good: bool,
        /// What was found, or what went wrong and what to do, in one line.
        text: String,
    },
    /// How far something is that takes long.
    Progress {
        /// What.
        what: String,
        /// So much of it is done.
        done: u64,
        /// So much there is.
        total: u64,
    },
    /// What a database holds.
    Content(Content),
    /// What the archive is.
    Archive {
        /// The name of the host that made it.
        host: String,
        /// When, milliseconds since 1970.
        made: u64,
        /// The release that made it.
        version: String,
    },
    /// It is done. The text is for people.
    Done(String),
    /// It failed. The text says what to do.
    Failed(String),
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Whether it may be used; nothing if it holds no cluster.
    pub state: Option<ClusterState>,
    /// The id of the host that moves or moved its records.
    pub by: Option<String>,
    /// The hosts of the cluster.
    pub hosts: Vec<Member>,
    /// How many organisations there are.
    pub organizations: u64,
    /// How many users.
    pub users: u64,
    /// How many servers.
    pub servers: u64,
}

/// A host of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub online: bool,
}

/// Writes a message.
///
/// # Errors
///
/// Nobody reads it, or it is too long.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    write_within(to, message, MESSAGE)
}

/// Writes a message that may be as long as a frame between processes.
///
/// # Errors
///
/// As [`write`].
pub fn write_long<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    write_within(to, message, FRAME as u32)
}

fn write_within<T: Serialize>(to: &mut impl Write, message: &T, most: u32) -> io::Result<()> {
    let bytes = encode(message).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= most);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the message is too long"))?;
    to.write_all(&[&length.to_be_bytes()[..], &bytes].concat())?;
    to.flush()
}

/// Reads a message; nothing at the end.
///
/// # Errors
///
/// It is malformed or cut.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    read_within(from, MESSAGE)
}

/// Reads a message that [`write_long`] wrote.
///
/// # Errors
///
/// As [`read`].
pub fn read_long<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    read_within(from, FRAME as u32)
}

fn read_within<T: DeserializeOwned>(from: &mut impl Read, most: u32) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length > most {
        return Err(io::Error::new(ErrorKind::InvalidData, "the message is too long"));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    decode(&bytes).map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other() {
        let mut stream = Vec::new();
        let step = Report::Step { name: "resolve".into(), good: true, text: "3 addresses".into() };
        for report in [&step, &Report::Done(String::new())] {
            write(&mut stream, report).expect("there is room");
        }
        let mut rest = stream.as_slice();
        assert_eq!(read(&mut rest).expect("whole"), Some(step));
        assert_eq!(read(&mut rest).expect("whole"), Some(Report::Done(String::new())));
        assert_eq!(read::<Report>(&mut rest).expect("the end"), None);
        assert!(read::<Report>(&mut &stream[..6]).is_err());
        assert!(read::<Report>(&mut &[0xff; 8][..]).is_err());
    }

    #[test]
    fn passwords_are_not_printed() {
        let errand = Errand::Check { uri: "mongodb://u:secret@h/".into() };
        assert!(!format!("{errand:?}").contains("secret"));
    }
}
