//! Backups: a file of encrypted pages that knows when, where and by what it was made, and whether it is whole.
//!
//! Inside the sealed stream stand messages as between processes: a head, pages, and at the end the number and hash of each
//! kind's records. Kinds stand by name, so that another release can read them.

use std::io::{ErrorKind, Read, Write};

use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::Row;
use culvert_wire::errand;
use serde::{Deserialize, Serialize};

use super::seal::{Opened, Sealed};
use super::{Page, Source, Summary, Tally, Target, TransferError};

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The release that made it.
    pub version: String,
    /// The format of the records in it.
    pub format: u32,
    /// The host that made it.
    pub host: HostId,
    /// That host's name.
    pub name: String,
    /// When, milliseconds since 1970 by the store's clock.
    pub made: Millis,
    /// About how many records are in it.
    pub records: u64,
}

/// A part of the stream.
#[derive(Debug, Serialize, Deserialize)]
enum Part {
    Head(Head),
    Page { kind: String, rows: Vec<Row> },
    End(Vec<(String, u64, [u8; 32])>),
}

/// A backup that is being written.
pub struct Writer<W: Write> {
    to: Sealed<W>,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn new(to: W, passphrase: &str, head: Head) -> Result<Self, TransferError> {
        let mut writer = Self { to: Sealed::new(to, passphrase).map_err(unwritten)? };
        writer.part(&Part::Head(head))?;
        Ok(writer)
    }

    fn part(&mut self, part: &Part) -> Result<(), TransferError> {
        errand::write_long(&mut self.to, part).map_err(unwritten)
    }

    /// Ends it, and gives back the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written: it is no backup then.
    pub fn finish(mut self, summary: &Summary) -> Result<W, TransferError> {
        let tally = |(kind, tally): (&Kind, &Tally)| {
            let (count, hash) = tally.parts();
            (kind.name().to_owned(), count, hash)
        };
        self.part(&Part::End(summary.0.iter().map(tally).collect()))?;
        self.to.finish().map_err(unwritten)
    }
}

impl<W: Write> Target for Writer<W> {
    async fn put(&mut self, page: Page) -> Result<(), TransferError> {
        self.part(&Part::Page { kind: page.kind.name().into(), rows: page.rows })
    }
}

fn unwritten(error: std::io::Error) -> TransferError {
    TransferError::Target(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full: make room on it".into(),
        _ => error.to_string(),
    })
}

fn unread(error: &std::io::Error) -> TransferError {
    TransferError::Source(match error.kind() {
        ErrorKind::UnexpectedEof => "the file ends in the middle".into(),
        _ => error.to_string(),
    })
}

/// Opens a backup: what it is, and its records. They are read on a thread of its own, and if something is amiss at the
/// very end, the last page is an error: take nothing as restored before that.
///
/// # Errors
///
/// It is no backup, or another passphrase opens it.
pub fn open<R: Read + Send + 'static>(from: R, passphrase: &str) -> Result<(Head, Source), TransferError> {
    let mut from = Opened::new(from, passphrase).map_err(|error| unread(&error))?;
    let Some(Part::Head(head)) = errand::read_long(&mut from).map_err(|error| unread(&error))? else {
        return Err(TransferError::Source("this is no backup of Culvert".into()));
    };
    let (feed, source) = Source::of(head.records, head.format);
    let read = move || {
        let mut summary = Summary::default();
        loop {
            let page = match next(&mut from, &mut summary) {
                Ok(None) => return,
                Ok(Some(page)) => Ok(page),
                Err(error) => Err(error),
            };
            let last = page.is_err();
            if feed.blocking_send(page).is_err() || last {
                return;
            }
        }
    };
    let begun = std::thread::Builder::new().name("archive".into()).spawn(read);
    begun.map_err(|error| unread(&error))?;
    Ok((head, source))
}

/// The next page; nothing behind the last one, if all is as it was written.
fn next(from: &mut impl Read, summary: &mut Summary) -> Result<Option<Page>, TransferError> {
    let bad = |why: &str| TransferError::Source(why.into());
    match errand::read_long(from).map_err(|error| unread(&error))? {
        Some(Part::Page { kind, rows }) => {
            let known = Kind::ALL.iter().find(|known| known.name() == kind);
            let kind = *known.ok_or_else(|| bad("it holds records of a kind that this version does not know"))?;
            let page = Page { kind, rows };
            summary.add(&page);
            Ok(Some(page))
        }
        Some(Part::End(written)) => {
            let read: Vec<_> = written
                .into_iter()
                .filter_map(|(name, count, hash)| {
                    let kind = Kind::ALL.iter().find(|kind| kind.name() == name)?;
                    Some((*kind, Tally::from_parts(count, hash)))
                })
                .collect();
            Summary(read.into_iter().collect()).arrived(summary)?;
            let mut rest = [0; 1];
            match from.read(&mut rest).map_err(|error| unread(&error))? {
                0 => Ok(None),
                _ => Err(bad("something follows its end")),
            }
        }
        Some(Part::Head(_)) => Err(bad("it has two heads")),
        None => Err(bad("the file ends in the middle")),
    }
}
