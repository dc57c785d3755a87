//! What a migration would do, and what it waits for. Nothing is changed by looking.

use culvert_model::{HostId, Kind};
use culvert_wire::bus::{BATCH, Find, Row};
use serde::Deserialize;

use super::Release;
use crate::store::{Answer, Damage, Found, Store};

/// The most records that cannot be migrated that are named of each kind.
const NAMED: usize = 20;

/// A host whose release does not know this one's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The version on it.
    pub version: String,
    /// Whether it is there.
    pub online: bool,
}

impl std::fmt::Display for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, version, .. } = self;
        write!(f, "{name} ({version}{})", if self.online { "" } else { ", offline" })
    }
}

/// What is known of the records of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The kind.
    pub kind: Kind,
    /// How many there are.
    pub records: u64,
    /// How many of them are of an older version.
    pub older: u64,
    /// Those that cannot be brought up, the first of them by name.
    pub failing: u64,
    /// Why not.
    pub named: Vec<Damage>,
}

/// What a migration would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The kinds of which there are records.
    pub kinds: Vec<Tally>,
    /// The hosts that keep the format back.
    pub behind: Vec<Behind>,
}

/// Looks at all records.
///
/// # Errors
///
/// As the store's.
pub async fn survey<S: Store>(store: &S, release: &Release) -> Answer<Survey> {
    let mut survey = Survey { kinds: Vec::new(), behind: behind(store, release.format).await? };
    for kind in Kind::ALL.iter().copied() {
        let mut tally = Tally { kind, records: 0, older: 0, failing: 0, named: Vec::new() };
        let mut find = pages(kind, String::new());
        loop {
            let Found { rows, next, damaged } = store.find(find.clone()).await?;
            tally.records += (rows.len() + damaged.len()) as u64;
            damaged.into_iter().for_each(|damage| tally.fail(damage));
            rows.into_iter().for_each(|row| tally.add(release, row));
            find.after = next;
            if find.after.is_none() {
                break;
            }
        }
        if tally.records > 0 {
            survey.kinds.push(tally);
        }
    }
    Ok(survey)
}

impl Tally {
    fn add(&mut self, release: &Release, row: Row) {
        match release.renew(self.kind, &row.body) {
            Ok(None) => {}
            Ok(Some(_)) => self.older += 1,
            Err(why) => self.fail(Damage { kind: self.kind, id: row.id, why }),
        }
    }

    fn fail(&mut self, damage: Damage) {
        self.failing += 1;
        if self.named.len() < NAMED {
            self.named.push(damage);
        }
    }
}

/// All hosts, there or not, whose release does not know a format.
///
/// # Errors
///
/// As the store's.
pub async fn behind<S: Store>(store: &S, format: u32) -> Answer<Vec<Behind>> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Host {
        name: String,
        version: String,
        format: u32,
    }
    let (mut behind, mut find) = (Vec::new(), pages(Kind::Host, String::new()));
    loop {
        let found = store.find(find.clone()).await?;
        for row in found.rows {
            let host: Host = serde_json::from_slice(&row.body).unwrap_or_default();
            if host.format < format {
                let online = row.lease.is_some_and(|lease| lease.left > 0);
                let name = if host.name.is_empty() { row.id.clone() } else { host.name };
                behind.push(Behind { id: row.id, name, version: host.version, online });
            }
        }
        // Nobody knows what these know.
        behind.extend(found.damaged.into_iter().map(|damage| Behind {
            name: damage.id.clone(),
            id: damage.id,
            version: "its record is damaged".into(),
            online: false,
        }));
        find.after = found.next;
        if find.after.is_none() {
            return Ok(behind);
        }
    }
}

impl Behind {
    /// Whether it is this host.
    #[must_use]
    pub fn is(&self, host: HostId) -> bool {
        self.id == host.to_string()
    }
}

/// A page of the records of a kind, in the order of their ids, behind this one.
#[must_use]
pub fn pages(kind: Kind, after: String) -> Find {
    let after = (!after.is_empty()).then_some(culvert_wire::bus::Position { keys: Vec::new(), id: after });
    Find { after, limit: BATCH as u16, ..Find::all(kind) }
}
