//! The shapes of the records through the releases, so that hosts of two neighbouring releases share one database.
//!
//! A record says in its field `v` of which version it is; without one it is of the first. Processes neither see nor need
//! that: [`crate::store::Versioned`] brings what is read up to this release's shape, and what is written down to the shape of
//! the database's format, which is that of the oldest release in the cluster. Whatever is read tells its version itself, so
//! a bus that has not heard yet of a new format does no harm.

mod migrate;
mod prepare;
mod steps;
mod survey;
mod upkeep;

use culvert_model::{FORMAT, Kind};
use serde_json::{Map, Value};

pub use self::migrate::{Ended, migrate, raise};
pub use self::prepare::prepare;
pub use self::steps::STEPS;
pub use self::survey::{Behind, Survey, Tally, behind, pages, survey};
pub use self::upkeep::upkeep;
use crate::damaged;

/// The field that tells a record's version.
pub const VERSION: &str = "v";

/// A record's fields.
pub type Fields = Map<String, Value>;

/// One change to the shape of a kind. Both functions are pure and keep what they do not know.
///
/// Fields that are in an index, tell the scope, or are added to ([`culvert_wire::bus::Write::Add`]) stay as they are: a step
/// may only add some. A field that the older shape has no place for may stay in it; older releases ignore it, but drop it
/// when they write the record.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The kind.
    pub kind: Kind,
    /// The format that it came with.
    pub format: u32,
    /// From the shape before.
    pub up: fn(Fields) -> Fields,
    /// Back to the shape before.
    pub down: fn(Fields) -> Fields,
}

/// What a release knows of the shapes.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// Its format.
    pub format: u32,
    /// Its version, for people.
    pub version: &'static str,
    /// All steps there ever were, up to its format, each kind's in order.
    pub steps: &'static [Step],
    /// What is wrong with a body of its shape.
    pub check: fn(Kind, &[u8]) -> Option<String>,
}

impl Release {
    /// This one.
    pub const THIS: Self =
        Self { format: FORMAT, version: env!("CARGO_PKG_VERSION"), steps: STEPS, check: damaged::fault };

    fn steps(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &'static Step> {
        self.steps.iter().filter(move |step| step.kind == kind)
    }

    /// Whether the kind ever changed its shape. All others cost nothing.
    #[must_use]
    pub fn changed(&self, kind: Kind) -> bool {
        self.steps(kind).next().is_some()
    }

    /// The kind's version in a format.
    #[must_use]
    pub fn version_in(&self, kind: Kind, format: u32) -> u32 {
        1 + self.steps(kind).filter(|step| step.format <= format).count() as u32
    }

    /// A stored body in this release's shape; nothing if it is already.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without any of its values.
    pub fn raise(&self, kind: Kind, body: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if !self.changed(kind) {
            return Ok(None);
        }
        let (mut fields, version) = self.open(kind, body)?;
        for step in self.steps(kind).skip(version as usize - 1) {
            fields = (step.up)(fields);
        }
        Ok(Some(bytes(&fields)))
    }

    /// A body of this release's shape as it is stored in a database of this format; nothing if as it is.
    ///
    /// # Errors
    ///
    /// It is no JSON object.
    pub fn lower(&self, kind: Kind, body: &[u8], format: u32) -> Result<Option<Vec<u8>>, String> {
        if !self.changed(kind) {
            return Ok(None);
        }
        let mut fields = object(body)?;
        fields.remove(VERSION);
        for step in self.steps(kind).rev().filter(|step| step.format > format) {
            fields = (step.down)(fields);
        }
        let version = self.version_in(kind, format);
        if version > 1 {
            fields.insert(VERSION.into(), version.into());
        }
        Ok(Some(bytes(&fields)))
    }

    /// A stored body in the shape of this release's format, if it is of an older one.
    ///
    /// # Errors
    ///
    /// As [`Release::raise`].
    pub fn renew(&self, kind: Kind, body: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if !self.changed(kind) || self.open(kind, body)?.1 == self.version_in(kind, self.format) {
            return Ok(None);
        }
        let Some(raised) = self.raise(kind, body)? else { return Ok(None) };
        if let Some(why) = (self.check)(kind, &raised) {
            return Err(why);
        }
        self.lower(kind, &raised, self.format)
    }

    fn open(&self, kind: Kind, body: &[u8]) -> Result<(Fields, u32), String> {
        let mut fields = object(body)?;
        let version = match fields.remove(VERSION) {
            None => 1,
            Some(version) => version.as_u64().filter(|version| *version > 0).ok_or("its version is no number")?,
        };
        if version > u64::from(self.version_in(kind, self.format)) {
            return Err("a newer version of Culvert wrote it".into());
        }
        Ok((fields, version as u32))
    }
}

fn object(body: &[u8]) -> Result<Fields, String> {
    serde_json::from_slice(body).map_err(|_| "it is no JSON object".into())
}

fn bytes(fields: &Fields) -> Vec<u8> {
    serde_json::to_vec(fields).expect("an object has a form in JSON")
}

#[cfg(test)]
mod tests;
