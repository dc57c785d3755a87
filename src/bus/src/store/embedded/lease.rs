//! Leases, inside the writer's transaction.

use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Claim, Lease, Refusal, Row};
use rusqlite::{OptionalExtension, params};

use super::ledger::Ledger;
use super::trouble::Stop;
use crate::store::Owner;

/// Whether this host holds the record's lease under this claim.
pub fn holds(row: &Row, host: HostId, claim: &Claim) -> bool {
    row.lease.as_ref().is_some_and(|lease| {
        lease.left > 0 && lease.host == host && lease.owner == claim.owner && lease.epoch == claim.epoch
    })
}

/// The row, if nobody holds its lease.
pub fn unheld(row: Row) -> Result<Row, Stop> {
    match row.lease {
        Some(lease) if lease.left > 0 => Err(Stop::refused(Refusal::NotHeld { lease: Some(lease) })),
        lease => Ok(Row { lease, ..row }),
    }
}

impl Ledger<'_> {
    /// Takes a lease that nobody holds.
    pub fn claim(
        &self,
        kind: Kind,
        id: &str,
        revision: Option<u64>,
        owner: &Owner,
        length: Millis,
    ) -> Result<Row, Stop> {
        let row = self.there(kind, id)?;
        if revision.is_some_and(|revision| revision != row.revision) {
            return Err(Stop::refused(Refusal::Stale { revision: row.revision }));
        }
        let row = unheld(row)?;
        let last = row.lease.as_ref().map(|lease| Ok(lease.epoch)).unwrap_or_else(|| self.greatest_epoch())?;
        let epoch = last + 1;
        let lease = Lease { host: owner.host, owner: owner.name.clone(), epoch, left: length };
        self.keep(kind, row, lease)
    }

    /// Makes a held lease last longer.
    pub fn renew(&self, kind: Kind, id: &str, host: HostId, claim: &Claim, length: Millis) -> Result<Row, Stop> {
        let (row, lease) = self.held(kind, id, host, claim)?;
        self.keep(kind, row, Lease { left: length, ..lease })
    }

    /// Makes a held lease last longer under another word.
    pub fn pass(
        &self,
        kind: Kind,
        id: &str,
        host: HostId,
        claim: &Claim,
        word: &str,
        length: Millis,
    ) -> Result<Row, Stop> {
        let passed = Claim { owner: word.into(), epoch: claim.epoch };
        let held =
            self.held(kind, id, host, claim).or_else(|stop| self.held(kind, id, host, &passed).map_err(|_| stop));
        let (row, lease) = held?;
        self.keep(kind, row, Lease { left: length, owner: word.into(), ..lease })
    }

    /// Gives a held lease up. Its epoch stays.
    pub fn release(&self, kind: Kind, id: &str, host: HostId, claim: &Claim) -> Result<(), Stop> {
        let (row, lease) = self.held(kind, id, host, claim)?;
        self.keep(kind, row, Lease { left: 0, ..lease }).map(drop)
    }

    /// The greatest epoch of a record that is gone: a new one of its id does not begin below it.
    fn greatest_epoch(&self) -> Result<u64, Stop> {
        let mut asked =
            self.connection.prepare_cached("SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'epoch'")?;
        let epoch: Option<i64> = asked.query_row([], |row| row.get(0)).optional()?;
        Ok(epoch.unwrap_or_default().max(0) as u64)
    }

    /// A record that had a lease goes.
    pub fn remember_epoch(&self, lease: &Lease) -> Result<(), Stop> {
        if lease.epoch > self.greatest_epoch()? {
            let mut keep = self.connection.prepare_cached("INSERT OR REPLACE INTO facts VALUES ('epoch', ?)")?;
            keep.execute([lease.epoch.to_string()])?;
        }
        Ok(())
    }

    fn held(&self, kind: Kind, id: &str, host: HostId, claim: &Claim) -> Result<(Row, Lease), Stop> {
        let mut row = self.there(kind, id)?;
        let mine = holds(&row, host, claim);
        match row.lease.take() {
            Some(lease) if mine => Ok((row, lease)),
            lease => Err(Stop::refused(Refusal::NotHeld { lease })),
        }
    }

    /// Writes a lease down.
    pub fn keep(&self, kind: Kind, mut row: Row, lease: Lease) -> Result<Row, Stop> {
        let expires = self.now.saturating_add_unsigned(lease.left);
        self.connection.prepare_cached("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?)")?.execute(params![
            kind.name(),
            row.id,
            lease.host.to_string(),
            lease.owner,
            lease.epoch as i64,
            expires
        ])?;
        row.lease = Some(lease);
        Ok(row)
    }
}
