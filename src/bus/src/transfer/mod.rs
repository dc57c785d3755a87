//! Records on their way from one place to another, whole and as they are: into a cluster, out of one, into an archive and
//! back.
//!
//! A [`Source`] gives pages of one moment's records; whoever takes them in puts them where they belong, and afterwards the
//! place is read again: only what is there in the same number and with the same hash has arrived.

pub mod archive;
pub mod drive;
pub mod export;
pub mod file;
pub mod import;
pub mod journal;
mod seal;
mod tally;
pub mod told;

use std::collections::BTreeMap;

use culvert_model::Kind;
#[cfg(doc)]
use culvert_model::record::Cluster;
use culvert_wire::bus::{Fault, Row};
use thiserror::Error;
use tokio::sync::mpsc;

pub use self::tally::Tally;
use crate::store::Trouble;
use crate::store::embedded::Embedded;
use crate::store::mongo::Mongo;

/// Pages that wait for whoever takes them in.
const WAITING: usize = 4;

/// The most records in a page.
pub const PAGE: usize = 500;
/// A page ends behind the record with which its bodies get longer than this, in bytes.
pub const PAGE_BYTES: usize = 2 << 20;

/// Why records did not get there.
#[derive(Debug, Error)]
pub enum TransferError {
    /// They cannot be read.
    #[error("the records cannot be read: {0}")]
    Source(String),
    /// They cannot be written.
    #[error("the records cannot be written: {0}")]
    Target(String),
    /// Something else arrived than was sent.
    #[error(
        "of the {kind}, {found} records arrived where {sent} were sent, or not as they were: nothing is switched over; try \
         again"
    )]
    Differs {
        /// The kind's name.
        kind: &'static str,
        /// How many were sent.
        sent: u64,
        /// How many are there.
        found: u64,
    },
}

impl TransferError {
    /// A place did not take records.
    #[must_use]
    pub fn of_target(trouble: &Trouble) -> Self {
        Self::Target(match trouble {
            Trouble::Fault(Fault::Invalid(why)) => why.clone(),
            Trouble::Fault(Fault::Unavailable | Fault::Unknown) => "the store does not answer".into(),
            other => format!("{other:?}"),
        })
    }
}

/// Records of one kind, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Their kind.
    pub kind: Kind,
    /// The records with their leases.
    pub rows: Vec<Row>,
}

/// Where records come from: those of one moment, kind by kind, read ahead of whoever takes them.
#[derive(Debug)]
pub struct Source {
    pages: mpsc::Receiver<Result<Page, TransferError>>,
    total: u64,
    format: u32,
    /// Kinds that are passed over.
    without: &'static [Kind],
    /// Whether nobody holds a lease any more.
    released: bool,
}

/// Where a source's pages are put in.
pub type Feed = mpsc::Sender<Result<Page, TransferError>>;

impl Source {
    /// A source of about so many records in this format, and where its pages are put in.
    #[must_use]
    pub fn of(total: u64, format: u32) -> (Feed, Self) {
        let (feed, pages) = mpsc::channel(WAITING);
        (feed, Self { pages, total, format, without: &[], released: false })
    }

    /// Passes these kinds over.
    #[must_use]
    pub fn without(self, kinds: &'static [Kind]) -> Self {
        Self { without: kinds, ..self }
    }

    /// Gives every record as if its lease had run out. The epochs stay.
    #[must_use]
    pub fn released(self) -> Self {
        Self { released: true, ..self }
    }

    /// The format that the records have at least (see [`Cluster::format`]).
    #[must_use]
    pub const fn format(&self) -> u32 {
        self.format
    }

    /// About how many records there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    async fn next(&mut self) -> Result<Option<Page>, TransferError> {
        loop {
            let Some(mut page) = self.pages.recv().await.transpose()? else { return Ok(None) };
            if self.released {
                page.rows.iter_mut().filter_map(|row| row.lease.as_mut()).for_each(|lease| lease.left = 0);
            }
            if !self.without.contains(&page.kind) {
                return Ok(Some(page));
            }
        }
    }
}

/// Where records are put, as they are and past all guards.
pub trait Target {
    /// Puts records in, in the place of those of the same ids.
    fn put(&mut self, page: Page) -> impl Future<Output = Result<(), TransferError>>;
}

impl Target for &Mongo {
    async fn put(&mut self, page: Page) -> Result<(), TransferError> {
        Mongo::put(self, page.kind, page.rows).await.map_err(|trouble| TransferError::of_target(&trouble))
    }
}

impl Target for &Embedded {
    async fn put(&mut self, page: Page) -> Result<(), TransferError> {
        Embedded::put(self, page.kind, page.rows).await.map_err(|trouble| TransferError::of_target(&trouble))
    }
}

/// Takes all records of a source to a target. Tells how many have arrived so far, and what was sent.
///
/// # Errors
///
/// They cannot be read or written.
pub async fn copy(
    mut source: Source,
    target: &mut impl Target,
    mut told: impl FnMut(u64, u64),
) -> Result<Summary, TransferError> {
    let (mut summary, mut done) = (Summary::default(), 0);
    told(0, source.total());
    while let Some(page) = source.next().await? {
        summary.add(&page);
        done += page.rows.len() as u64;
        target.put(page).await?;
        told(done, source.total().max(done));
    }
    Ok(summary)
}

/// What a place holds: of each kind the number and the hash of its records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary(BTreeMap<Kind, Tally>);

impl Summary {
    /// Of everything that a source gives.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub async fn of(mut source: Source, mut told: impl FnMut(u64, u64)) -> Result<Self, TransferError> {
        let (mut summary, mut done) = (Self::default(), 0);
        while let Some(page) = source.next().await? {
            summary.add(&page);
            done += page.rows.len() as u64;
            told(done, source.total().max(done));
        }
        Ok(summary)
    }

    /// Takes a page in.
    pub fn add(&mut self, page: &Page) {
        let tally = self.0.entry(page.kind).or_default();
        page.rows.iter().for_each(|row| tally.add(row));
    }

    /// How many records there are in all.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.0.values().map(Tally::count).sum()
    }

    /// Whether all of it arrived.
    ///
    /// # Errors
    ///
    /// Of which kind not.
    pub fn arrived(&self, found: &Self) -> Result<(), TransferError> {
        for kind in Kind::ALL {
            let (sent, found) = (self.0.get(kind), found.0.get(kind));
            let none = Tally::default();
            let (sent, found) = (sent.unwrap_or(&none), found.unwrap_or(&none));
            if sent != found {
                let (sent, found) = (sent.count(), found.count());
                return Err(TransferError::Differs { kind: kind.name(), sent, found });
            }
        }
        Ok(())
    }
}

/// The kinds that are taken along. What the database as a whole is, is each database's own matter.
pub fn carried() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Cluster)
}
