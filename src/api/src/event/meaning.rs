//! What a change of a record means to a console.

use culvert_model::{Id, Kind};
use culvert_pool::Stock;
use culvert_records::Change;

use super::Event;

/// Kinds whose changes are heard.
pub const HEARD: &[Kind] = &[
    Kind::Host,
    Kind::Admin,
    Kind::Settings,
    Kind::Organization,
    Kind::User,
    Kind::Certificate,
    Kind::DhParams,
    Kind::Server,
    Kind::Instance,
    Kind::Connection,
    Kind::Output,
    Kind::Job,
    Kind::Task,
    Kind::Log,
    Kind::Tls,
];

/// Everything that a console lists. Without a resource, each means all of its kind.
const LISTS: &[&str] = &[
    "administrators_updated",
    "organizations_updated",
    "users_updated",
    "servers_updated",
    "server_routes_updated",
    "server_organizations_updated",
    "server_hosts_updated",
    "server_output_updated",
    "hosts_updated",
    "settings_updated",
    "log_updated",
    "jobs_updated",
    "tasks_updated",
    "pools_updated",
];

/// What happened: the event's type, and to what.
type Told = (&'static str, Option<String>);

/// The events of a change.
pub fn events(change: &Change) -> Vec<Event> {
    let timestamp = (change.at / 1000) as i64;
    let event = |(kind, resource)| Event { id: change.id, kind, resource, timestamp };
    told(change).into_iter().map(event).collect()
}

/// What of the changes that come in bursts is told once for many: nothing for those that are told at once.
pub fn gathered(change: &Change) -> Option<String> {
    match change.kind {
        Kind::Output => Some(change.record.clone()),
        Kind::Job if Stock::searched_by(&change.record) => Some("searches".into()),
        Kind::Job | Kind::Task | Kind::Certificate | Kind::DhParams => Some(change.kind.name().into()),
        _ => None,
    }
}

/// What is told when changes may have been missed: everything may be different.
pub fn everything(id: Id, timestamp: i64) -> Vec<Event> {
    LISTS.iter().map(|kind| Event { id, kind, resource: None, timestamp }).collect()
}

fn told(change: &Change) -> Vec<Told> {
    let scope = || change.scope.clone();
    let record = || Some(change.record.clone());
    match change.kind {
        Kind::Host => vec![("hosts_updated", None), ("server_hosts_updated", None)],
        Kind::Admin => vec![("administrators_updated", None)],
        Kind::Settings => vec![("settings_updated", None)],
        Kind::Organization => vec![("organizations_updated", None)],
        Kind::User => vec![("organizations_updated", None), ("users_updated", scope()), ("servers_updated", None)],
        Kind::Server => vec![
            ("servers_updated", None),
            ("server_routes_updated", record()),
            ("server_organizations_updated", record()),
            ("server_hosts_updated", record()),
            ("users_updated", None),
        ],
        Kind::Instance => vec![("servers_updated", None), ("server_hosts_updated", scope())],
        Kind::Connection => vec![("servers_updated", None), ("users_updated", None)],
        Kind::Output => vec![("server_output_updated", scope())],
        Kind::Log => vec![("log_updated", None)],
        Kind::Job if Stock::searched_by(&change.record) => {
            vec![("jobs_updated", None), ("pools_updated", None), ("servers_updated", None)]
        }
        Kind::Job => vec![("jobs_updated", None), ("pools_updated", None)],
        Kind::Task => vec![("tasks_updated", None)],
        Kind::Certificate | Kind::DhParams => vec![("pools_updated", None)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server says of its search is read from the job.
    #[test]
    fn a_search_concerns_whoever_waits_for_it() {
        let change = |record: &str| {
            let id = Id::new();
            Change { id, kind: Kind::Job, record: record.into(), revision: 2, scope: None, at: 0 }
        };
        let (search, other) = (change("dh-params/2048/0"), change("authority/0"));
        let tells = |change: &Change| events(change).iter().any(|event| event.kind == "servers_updated");
        assert!(tells(&search) && !tells(&other));
        assert_ne!(gathered(&search), gathered(&other), "neither stands for the other");
    }

    #[test]
    fn a_user_concerns_its_organisation() {
        let id = Id::new();
        let change = Change {
            id,
            kind: Kind::User,
            record: "u".into(),
            revision: 1,
            scope: Some("o".into()),
            at: 1_700_000_000_123,
        };
        let users = Event { id, kind: "users_updated", resource: Some("o".into()), timestamp: 1_700_000_000 };
        assert!(events(&change).contains(&users));
    }
}
