//! How many records there are, and a hash over all of them.

use culvert_wire::bus::Row;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The number of a kind's records and their hash, taken in the order of their ids. The body counts by what it means, not by
/// how it is written; the lease by who held it under which epoch, not by what is left of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    count: u64,
    hash: [u8; 32],
}

impl Tally {
    /// Takes the next record in.
    pub fn add(&mut self, row: &Row) {
        let mut hasher = Sha256::new();
        hasher.update(self.hash);
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(row.id.as_bytes());
        part(&row.revision.to_be_bytes());
        match serde_json::from_slice::<Value>(&row.body) {
            // Sorted and without blanks.
            Ok(value) => part(value.to_string().as_bytes()),
            // A damaged one is taken along as it is.
            Err(_) => part(&row.body),
        }
        if let Some(lease) = &row.lease {
            part(lease.host.to_string().as_bytes());
            part(lease.owner.as_bytes());
            part(&lease.epoch.to_be_bytes());
        }
        self.hash = hasher.finalize().into();
        self.count += 1;
    }

    /// How many there were.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Its bytes, to be written down.
    #[must_use]
    pub fn parts(&self) -> (u64, [u8; 32]) {
        (self.count, self.hash)
    }

    /// What [`Tally::parts`] gave.
    #[must_use]
    pub const fn from_parts(count: u64, hash: [u8; 32]) -> Self {
        Self { count, hash }
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::HostId;
    use culvert_wire::bus::Lease;

    use super::*;

    fn row(id: &str, body: &str) -> Row {
        Row { id: id.into(), revision: 3, body: body.into(), lease: None }
    }

    fn of(rows: &[Row]) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|row| tally.add(row));
        tally
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let first = of(&[row("a", r#"{"x": 1, "a": [true]}"#)]);
        assert_eq!(first, of(&[row("a", r#"{"a":[true],"x":1}"#)]));
        assert_eq!(first.count(), 1);
    }

    #[test]
    fn every_difference_shows() {
        let lease = |epoch, left| Lease { host: HostId::new(), owner: "me".into(), epoch, left };
        let good = row("a", "{}");
        let held = Row { lease: Some(lease(1, 5)), ..good.clone() };
        let all = [
            of(&[]),
            of(std::slice::from_ref(&good)),
            of(&[row("b", "{}")]),
            of(&[row("a", r#"{"x":1}"#)]),
            of(&[Row { revision: 4, ..good.clone() }]),
            of(std::slice::from_ref(&held)),
            of(&[Row { lease: Some(lease(2, 5)), ..good.clone() }]),
            of(&[good.clone(), row("b", "{}")]),
            of(&[row("b", "{}"), good]),
            of(&[row("a", "{")]),
        ];
        for (place, one) in all.iter().enumerate() {
            assert!(all.iter().skip(place + 1).all(|other| one != other), "{place}");
        }
        let later = Row { lease: held.lease.clone().map(|lease| Lease { left: 0, ..lease }), ..held.clone() };
        assert_eq!(of(&[held]), of(&[later]), "a lease runs on");
    }
}
