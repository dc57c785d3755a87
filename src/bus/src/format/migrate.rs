//! Bringing the database to this release's format: first what is written, then what is there, page by page.
//!
//! One host does it, under the lease of the database's own record, where it also notes how far it is. Whoever is killed in
//! the middle is followed by another host, or by itself. Each record is written on the condition that nobody else has, so
//! every step can be repeated.

use culvert_model::record::{Cluster, Migration};
use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Claim, Guard, Lease, Refusal, Row, Write};

use super::Release;
use super::survey::{Behind, behind, pages};
use crate::cluster::{self, Known, Unusable};
use crate::store::{Owner, Store, Trouble, write_id};

/// How long the lease lasts; it is renewed with each page. Two who are at it at the same time do each other no harm.
const LEASE: Millis = 20_000;

/// Who holds it.
const OWNER: &str = "migration";

/// How often what others write at the same time is tried.
const TRIES: usize = 20;

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All records are of the database's format, but for those that are damaged.
    Done,
    /// Another host is at it.
    Elsewhere,
}

/// Raises the database's format to this release's, unless there are hosts that are to be waited for and do not know it: from
/// now on, all write in it. Whether it is of this format now.
///
/// # Errors
///
/// The record is damaged, or the store does not answer.
pub async fn raise<S: Store>(
    store: &S,
    release: &Release,
    awaited: impl Fn(&Behind) -> bool,
) -> Result<bool, Unusable> {
    for _ in 0..TRIES {
        let Some(known) = cluster::read(store).await? else { return Ok(false) };
        if known.cluster.format >= release.format {
            return Ok(known.cluster.format == release.format);
        }
        let neighbours = known.cluster.format + 1 == release.format;
        if !neighbours || behind(store, release.format).await?.iter().any(&awaited) {
            return Ok(false);
        }
        let migration = kinds(release).next().map(Migration::of);
        let version = release.version.to_owned();
        let raised = Cluster { format: release.format, version, migration, ..known.cluster.clone() };
        if cluster::change(store, &known, &raised).await? {
            tracing::info!(format = release.format, "the database has a new format, in which all hosts write");
        }
    }
    Err(Unusable::Away)
}

/// Brings the records that are there to the database's format, if that is this release's and it was not done yet. Tells how
/// far it is.
///
/// # Errors
///
/// The store does not answer; what is done stays done.
pub async fn migrate<S: Store>(
    store: &S,
    release: &Release,
    here: HostId,
    mut told: impl FnMut(&Migration),
) -> Result<Ended, Unusable> {
    if unfinished(store, release).await?.is_none() {
        return Ok(Ended::Done);
    }
    let Some(claim) = take(store, here).await? else { return Ok(Ended::Elsewhere) };
    while let Some(known) = unfinished(store, release).await? {
        let Some(migration) = known.cluster.migration.clone() else { break };
        let (migration, last) = page(store, release, migration).await?;
        told(&migration);
        if last {
            let Migration { looked, changed, failed, .. } = migration;
            tracing::info!(looked, changed, failed, "all records are of the database's format");
        }
        note(store, release, known, (!last).then_some(migration)).await?;
        match store.renew(Kind::Cluster, Cluster::ID, here, claim.clone(), LEASE).await {
            Ok(_) => {}
            Err(Trouble::Refused { .. }) => return Ok(Ended::Elsewhere),
            Err(trouble) => return Err(trouble.into()),
        }
    }
    // It runs out by itself otherwise.
    let _ = store.release(Kind::Cluster, Cluster::ID, here, claim).await;
    Ok(Ended::Done)
}

/// The record, if there is something left to do for this release.
async fn unfinished<S: Store>(store: &S, release: &Release) -> Result<Option<Known>, Unusable> {
    let known = cluster::read(store).await?;
    Ok(known.filter(|known| known.cluster.format == release.format && known.cluster.migration.is_some()))
}

async fn take<S: Store>(store: &S, here: HostId) -> Result<Option<Claim>, Unusable> {
    let owner = Owner { host: here, name: OWNER.into() };
    match store.claim(Kind::Cluster, Cluster::ID, None, owner, LEASE).await {
        Ok(row) => Ok(row.lease.map(claim_of)),
        // Of this host before its bus restarted.
        Err(Trouble::Refused { why: Refusal::NotHeld { lease: Some(lease) }, .. })
            if lease.host == here && lease.owner == OWNER =>
        {
            Ok(Some(claim_of(lease)))
        }
        Err(Trouble::Refused { .. }) => Ok(None),
        Err(trouble) => Err(trouble.into()),
    }
}

fn claim_of(lease: Lease) -> Claim {
    Claim { owner: lease.owner, epoch: lease.epoch }
}

/// The kinds whose records may be of an older version.
fn kinds(release: &Release) -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| release.changed(*kind))
}

/// Migrates the next page. How far it is now, and whether that was all.
async fn page<S: Store>(store: &S, release: &Release, mut migration: Migration) -> Result<(Migration, bool), Unusable> {
    let Some(kind) = kinds(release).find(|kind| kind.name() == migration.kind) else { return Ok((migration, true)) };
    let found = store.find(pages(kind, migration.after.clone())).await?;
    migration.looked += (found.rows.len() + found.damaged.len()) as u64;
    migration.failed += found.damaged.len() as u64;
    let mut older = Vec::new();
    for row in found.rows {
        match release.renew(kind, &row.body) {
            Ok(None) => {}
            Ok(Some(body)) => older.push(Older { row, body }),
            Err(_) => migration.failed += 1,
        }
    }
    rewrite(store, release, kind, older, &mut migration).await?;
    if let Some(next) = found.next {
        migration.after = next.id;
        return Ok((migration, false));
    }
    match kinds(release).find(|next| *next > kind) {
        None => Ok((migration, true)),
        Some(next) => {
            let Migration { looked, changed, failed, .. } = migration;
            Ok((Migration { looked, changed, failed, ..Migration::of(next) }, false))
        }
    }
}

/// A record of an older version, and its body in the newer shape.
struct Older {
    row: Row,
    body: Vec<u8>,
}

/// Writes a page's records in their new shape. One that somebody writes in the meantime is looked at again.
async fn rewrite<S: Store>(
    store: &S,
    release: &Release,
    kind: Kind,
    mut older: Vec<Older>,
    migration: &mut Migration,
) -> Result<(), Unusable> {
    for _ in 0..TRIES * (older.len() + 1) {
        if older.is_empty() {
            return Ok(());
        }
        let update = |Older { row, body }: &Older| {
            let guard = Guard { revision: Some(row.revision), claim: None };
            Write::Update { kind, id: row.id.clone(), guard, body: body.clone() }
        };
        let write = match store.write(write_id(), older.iter().map(update).collect()).await {
            Ok(_) => {
                migration.changed += older.len() as u64;
                return Ok(());
            }
            Err(Trouble::Refused { write, why: Refusal::Stale { .. } | Refusal::Missing }) => usize::from(write),
            Err(Trouble::Refused { write, .. }) => {
                migration.failed += 1;
                older.remove(usize::from(write).min(older.len() - 1));
                continue;
            }
            Err(trouble) => return Err(trouble.into()),
        };
        let Older { row, .. } = older.remove(write.min(older.len() - 1));
        if let Some(row) = store.get(kind, &row.id).await? {
            match release.renew(kind, &row.body) {
                Ok(None) => {}
                Ok(Some(body)) => older.push(Older { row, body }),
                Err(_) => migration.failed += 1,
            }
        }
    }
    Err(Unusable::Away)
}

/// Notes how far it is; nothing is left if that is nothing.
async fn note<S: Store>(
    store: &S,
    release: &Release,
    mut known: Known,
    migration: Option<Migration>,
) -> Result<(), Unusable> {
    for _ in 0..TRIES {
        let noted = Cluster { migration: migration.clone(), ..known.cluster.clone() };
        if cluster::change(store, &known, &noted).await? {
            return Ok(());
        }
        // Somebody else is farther, or wrote something else into it.
        match unfinished(store, release).await? {
            Some(now) if now.cluster.migration == known.cluster.migration => known = now,
            _ => return Ok(()),
        }
    }
    Err(Unusable::Away)
}
