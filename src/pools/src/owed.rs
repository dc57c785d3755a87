//! Whose pools have to be looked at, as the news tell.

use std::collections::BTreeSet;

use culvert_model::Kind;
use culvert_pool::{Owner, Stock};
use culvert_records::{Change, News};

/// The kinds whose changes can leave something missing.
pub const HEARD: [Kind; 6] =
    [Kind::Certificate, Kind::DhParams, Kind::Job, Kind::Organization, Kind::Settings, Kind::Tls];

/// Above so many owners, looking at all of them is simpler.
const MANY: usize = 1_000;

/// Whose pools have to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owed {
    /// Everybody's, and the console's certificate.
    All,
    /// These owners'.
    Of(BTreeSet<Owner>),
}

impl Default for Owed {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

impl Owed {
    /// Whether there is nothing to do.
    pub fn nothing(&self) -> bool {
        matches!(self, Self::Of(owners) if owners.is_empty())
    }

    /// Takes in one piece of news.
    pub fn add(&mut self, news: &News) {
        let News::Changed(change) = news else {
            *self = Self::All;
            return;
        };
        let Some(owners) = owners(change) else {
            *self = Self::All;
            return;
        };
        if let Self::Of(owed) = self {
            owed.extend(owners);
            if owed.len() > MANY {
                *self = Self::All;
            }
        }
    }
}

/// Who may miss something after a change; nothing if it may be everybody.
fn owners(change: &Change) -> Option<Vec<Owner>> {
    let organization = |id: &str| id.parse().ok().map(Owner::Organization);
    match (change.kind, change.revision) {
        (Kind::Certificate, _) => change.scope.as_deref().and_then(organization).map(|owner| vec![owner]),
        (Kind::DhParams, _) => Some(vec![Owner::Cluster]),
        (Kind::Organization, 0) => Some(Vec::new()),
        // A new one may have its CA out of the cluster's pool.
        (Kind::Organization, _) => organization(&change.record).map(|owner| vec![owner, Owner::Cluster]),
        // A job that is gone leaves its slot to the next one: it was done, cancelled or discarded.
        (Kind::Job, 0) => Some(Stock::owner_by_job(&change.record).into_iter().collect()),
        (Kind::Job, _) => Some(Vec::new()),
        // The console's certificate was made: nothing is missing by that.
        (Kind::Tls, revision) if revision != 0 => Some(Vec::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::Id;

    use super::*;

    fn change(kind: Kind, record: Id, revision: u64, scope: Option<Id>) -> News {
        named(kind, &record.to_string(), revision, scope)
    }

    fn named(kind: Kind, record: &str, revision: u64, scope: Option<Id>) -> News {
        let scope = scope.map(|id| id.to_string());
        News::Changed(Change { id: Id::new(), kind, record: record.into(), revision, scope, at: 0 })
    }

    #[test]
    fn what_each_change_is_a_reason_for() {
        let [record, organization] = [Id::new(), Id::new()];
        let after = |news: &[News]| {
            let mut owed = Owed::default();
            news.iter().for_each(|news| owed.add(news));
            owed
        };
        let taken = change(Kind::Certificate, record, 2, Some(organization));
        let owner = Owner::Organization(organization);
        assert_eq!(after(&[taken.clone(), taken.clone()]), Owed::Of([owner].into()));
        let made = change(Kind::Organization, organization, 1, None);
        assert_eq!(after(&[made]), Owed::Of([owner, Owner::Cluster].into()));
        assert_eq!(after(&[change(Kind::DhParams, record, 0, None)]), Owed::Of([Owner::Cluster].into()));
        let job = format!("certificate/{organization}/client/2");
        assert_eq!(after(&[named(Kind::Job, &job, 0, None)]), Owed::Of([owner].into()));
        assert_eq!(after(&[named(Kind::Job, "dh-params/2048/0", 0, None)]), Owed::Of([Owner::Cluster].into()));
        for nothing in [
            change(Kind::Organization, organization, 0, None),
            change(Kind::Tls, record, 1, None),
            named(Kind::Job, &job, 3, None),
            named(Kind::Job, "console-certificate", 0, None),
        ] {
            assert!(after(&[nothing]).nothing());
        }
        for all in [
            News::Gap,
            change(Kind::Settings, record, 2, None),
            change(Kind::Tls, record, 0, None),
            change(Kind::Certificate, record, 0, None),
        ] {
            assert_eq!(after(&[all, taken.clone()]), Owed::All);
        }
    }

    #[test]
    fn bounded() {
        let mut owed = Owed::default();
        for _ in 0..2 * MANY {
            owed.add(&change(Kind::Certificate, Id::new(), 1, Some(Id::new())));
        }
        assert_eq!(owed, Owed::All);
    }
}
