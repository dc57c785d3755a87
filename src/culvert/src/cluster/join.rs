//! `culvert join`.

use std::path::Path;
use std::process::ExitCode;

use culvert_model::record::ClusterState;
use culvert_wire::errand::{Content, Errand, Report};
use serde_json::json;

use super::choice::{self, Way};
use super::running::{Appliance, Standing};
use super::watch::{End, watch};
use crate::arguments::{Joining, Output};
use crate::configuration::Trouble;
use crate::print::{print, say};
use crate::{errand, machine, store};

/// Makes this appliance a member of the cluster at a URI.
///
/// # Errors
///
/// It can't be one: says why, and what to do. All is as it was then, unless the text says otherwise.
pub fn join(given: &Joining, output: Output) -> Result<ExitCode, Trouble> {
    machine::demand_root()?;
    let appliance = Appliance::of(given.database.place.absolute());
    let standing = appliance.standing()?;
    if standing.is_some() {
        appliance.demand_choice()?;
    }
    if standing.as_ref().is_some_and(|standing| standing.member && standing.transfer.is_none()) {
        return Err(Trouble::Failed(
            "this appliance is a member of a cluster already; to change it: culvert leave".into(),
        ));
    }
    // A move that was begun goes on as it was begun.
    if !choice::moved(&appliance.state) {
        let uri = store::uri(&given.database.uri)?;
        let way = decide(&appliance, &uri, given.without_records, standing.as_ref())?;
        begin(&appliance.state, &uri, way)?;
    }
    if standing.is_none() {
        let text =
            "Culvert is not running: at its next start (culvert run) it joins the cluster before anything else.\n";
        return done(output, "next start", text);
    }
    appliance.restart_bus()?;
    match watch(&appliance, true)? {
        End::Done => done(output, "joined", "This appliance is a member of the cluster now.\n"),
        End::Slow(why) => Err(Trouble::Failed(format!(
            "not joined yet: {why}; Culvert goes on trying by itself, and serves on with its own records until then; to give \
             it up: culvert leave"
        ))),
        End::Refused(why) => {
            choice::clear(&appliance.state).map_err(|error| machine::unmade(&appliance.state, &error))?;
            appliance.restart_bus()?;
            Err(Trouble::Failed(format!("not joined, and nothing was changed: {why}")))
        }
    }
}

fn done(output: Output, word: &str, text: &str) -> Result<ExitCode, Trouble> {
    match output {
        Output::Json => print(&format!("{}\n", json!({ "result": word })))?,
        Output::Text => print(text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at the database, and says what becomes of the records of both sides.
fn decide(appliance: &Appliance, uri: &str, without: bool, standing: Option<&Standing>) -> Result<Way, Trouble> {
    let mut content = None;
    let survey = Errand::Survey { uri: uri.into() };
    errand::send(&appliance.state, &survey, None, |report| {
        if let Report::Content(found) = report {
            content = Some(found);
        }
    })?;
    let content = content.ok_or_else(|| Trouble::Failed("the bus did not say what the database holds".into()))?;
    let own = standing.and_then(|standing| standing.holds);
    let here = appliance.host();
    let has_store = appliance.state.join("bus/store.sqlite").exists();
    match choose(&content, has_store, own, here.as_deref(), without)? {
        Way::Import => {
            if let Some([organizations, users, servers]) = own {
                say(&format!(
                    "the database is empty: the records of this appliance move there ({organizations} organizations, \
                     {users} users, {servers} servers); changes are refused meanwhile, tunnels stay up"
                ));
            }
            Ok(Way::Import)
        }
        way => {
            let names: Vec<&str> = content.hosts.iter().map(|host| host.name.as_str()).collect();
            say(&format!("the database holds a cluster of {} hosts ({})", names.len(), names.join(", ")));
            Ok(way)
        }
    }
}

/// Which way it is to go.
fn choose(
    content: &Content,
    has_store: bool,
    own: Option<[u64; 3]>,
    here: Option<&str>,
    without: bool,
) -> Result<Way, Trouble> {
    let empty = content.hosts.is_empty() && content.organizations + content.users + content.servers == 0;
    let by = content.by.as_deref();
    let who = by.unwrap_or("another host");
    match content.state {
        None if empty => Ok(Way::Import),
        // A move of this host's that was given up.
        Some(ClusterState::Importing) if here.is_some() && here == by => Ok(Way::Import),
        Some(ClusterState::Importing) => Err(Trouble::Failed(format!(
            "the host {who} is moving its records into this database: wait until `culvert join` ends there; if it was broken \
             off, run it there again"
        ))),
        Some(ClusterState::Leaving | ClusterState::Left) => Err(Trouble::Failed(format!(
            "the host {who} took this database's records along when it left: name another database, or remove this one"
        ))),
        Some(ClusterState::Ready) | None => {
            let nothing = !has_store || own.is_some_and(|counts| counts.iter().all(|count| *count == 0));
            if nothing || without {
                return Ok(Way::Join);
            }
            let mine = own.map_or_else(String::new, |[organizations, users, servers]| {
                format!(" ({organizations} organizations, {users} users, {servers} servers)")
            });
            Err(Trouble::Failed(format!(
                "the database holds a cluster of {} hosts, {} organizations, {} users and {} servers already, and records of \
                 two can't be made one: this appliance's own{mine} would stay behind in a file in its state folder, its \
                 servers would stop, and its administrators be those of the cluster; if that is meant, repeat with \
                 --without-records; to keep them, name an empty database",
                content.hosts.len(),
                content.organizations,
                content.users,
                content.servers
            )))
        }
    }
}

/// From here on the bus does it, whatever becomes of this command.
fn begin(state: &Path, uri: &str, way: Way) -> Result<(), Trouble> {
    let (bus, owner) = machine::state(state)?;
    let failed = |error| machine::unmade(state, &error);
    machine::keep(&bus, uri, &owner).map_err(failed)?;
    choice::put(state, way).map_err(failed)
}

#[cfg(test)]
mod tests {
    use culvert_wire::errand::Member;

    use super::*;

    fn content(state: Option<ClusterState>, hosts: usize) -> Content {
        let host = || Member { id: "h".into(), name: "gate".into(), online: true };
        Content {
            state,
            by: Some("b".into()),
            hosts: (0..hosts).map(|_| host()).collect(),
            organizations: hosts as u64,
            users: 0,
            servers: 0,
        }
    }

    #[test]
    fn records_move_into_an_empty_database_only() {
        let mine = Some([1, 2, 3]);
        let way = |content: &Content, own, here, without| choose(content, true, own, here, without).ok();
        assert_eq!(way(&content(None, 0), mine, None, false), Some(Way::Import));
        let ready = content(Some(ClusterState::Ready), 2);
        assert_eq!(way(&ready, mine, None, false), None);
        assert_eq!(way(&ready, None, None, false), None, "nobody knows what it holds");
        assert_eq!(way(&ready, mine, None, true), Some(Way::Join));
        assert_eq!(way(&ready, Some([0; 3]), None, false), Some(Way::Join), "there is nothing to lose");
        assert_eq!(choose(&ready, false, None, None, false).ok(), Some(Way::Join));
        assert_eq!(way(&content(None, 1), mine, None, false), None, "of a release that had no such record");
        let importing = content(Some(ClusterState::Importing), 1);
        assert_eq!(way(&importing, mine, Some("b"), false), Some(Way::Import));
        assert_eq!(way(&importing, mine, Some("c"), true), None);
        assert_eq!(way(&content(Some(ClusterState::Left), 1), mine, Some("b"), true), None);
    }
}
