//! Whose pools have to be looked at, as the news tell.

use std::collections::BTreeSet;

use culvert_model::{Id, Kind};
use culvert_records::News;

/// Above so many organisations, looking at all of them is simpler.
const MANY: usize = 1_000;

/// Whose pools have to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owed {
    /// Everybody's, and the console's certificate.
    All,
    /// These organisations'.
    Of(BTreeSet<Id>),
}

impl Default for Owed {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

impl Owed {
    /// Whether there is nothing to do.
    pub fn nothing(&self) -> bool {
        matches!(self, Self::Of(organizations) if organizations.is_empty())
    }

    /// Takes in one piece of news.
    pub fn add(&mut self, news: &News) {
        let News::Changed(change) = news else {
            *self = Self::All;
            return;
        };
        let organization = match change.kind {
            Kind::Certificate => change.scope.as_deref(),
            Kind::Organization if change.revision == 0 => return,
            Kind::Organization => Some(change.record.as_str()),
            // The console's certificate was made: nothing is missing by that.
            Kind::Tls if change.revision != 0 => return,
            _ => None,
        };
        match (organization.and_then(|id| id.parse().ok()), &mut *self) {
            (Some(id), Self::Of(organizations)) if organizations.len() < MANY => drop(organizations.insert(id)),
            _ => *self = Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use culvert_records::Change;

    use super::*;

    fn change(kind: Kind, record: Id, revision: u64, scope: Option<Id>) -> News {
        let scope = scope.map(|id| id.to_string());
        News::Changed(Change { id: Id::new(), kind, record: record.to_string(), revision, scope, at: 0 })
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
        assert_eq!(after(&[taken.clone(), taken.clone()]), Owed::Of([organization].into()));
        assert_eq!(after(&[change(Kind::Organization, organization, 1, None)]), Owed::Of([organization].into()));
        assert!(after(&[change(Kind::Organization, organization, 0, None)]).nothing());
        assert!(after(&[change(Kind::Tls, record, 1, None)]).nothing());
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
