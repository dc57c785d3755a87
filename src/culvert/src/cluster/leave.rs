//! `culvert leave`.

use std::process::ExitCode;

use culvert_wire::errand::{Content, Errand, Member, Report};
use serde_json::json;

use super::choice::{self, Way};
use super::running::{Appliance, Standing};
use super::watch::{End, watch};
use crate::arguments::{Leaving, Output};
use crate::configuration::Trouble;
use crate::print::{print, say};
use crate::{errand, machine};

/// Makes this host a single appliance again.
///
/// # Errors
///
/// It can't be one: says why, and what to do.
pub fn leave(given: &Leaving, output: Output) -> Result<ExitCode, Trouble> {
    machine::demand_root()?;
    let appliance = Appliance::of(given.place.absolute());
    let Some(standing) = appliance.standing()? else {
        return Err(Trouble::NotRunning("Culvert is not running: start it (culvert run), then repeat this".into()));
    };
    appliance.demand_choice()?;
    if !choice::moved(&appliance.state) {
        return Err(Trouble::Failed("this appliance is no member of a cluster".into()));
    }
    if !standing.member && standing.transfer.is_some() {
        return give_up(&appliance, &standing, output);
    }
    if given.without_database {
        return finish(&appliance, output, "This host starts anew, without the records of the cluster.\n");
    }
    if standing.member && standing.transfer.is_none() {
        begin(&appliance, given.yes)?;
        appliance.restart_bus()?;
    }
    match watch(&appliance, false)? {
        End::Done => finish(&appliance, output, "This host has left the cluster and is a single appliance now.\n"),
        End::Slow(why) => Err(Trouble::Failed(format!(
            "not out yet: {why}; Culvert goes on trying by itself; if the database is gone for good, start anew without its \
             records: culvert leave --without-database"
        ))),
        End::Refused(why) => Err(Trouble::Failed(format!("not out: {why}"))),
    }
}

/// Says what becomes of the records, and decides.
fn begin(appliance: &Appliance, yes: bool) -> Result<(), Trouble> {
    let failed = |error| machine::unmade(&appliance.state, &error);
    let uri = std::fs::read_to_string(appliance.state.join("bus/uri")).map_err(failed)?;
    let content = survey(appliance, uri)?;
    let here = appliance.host();
    let name = |host: &Member| if host.online { host.name.clone() } else { format!("{}, offline", host.name) };
    let others: Vec<String> = content.hosts.iter().filter(|host| Some(&host.id) != here.as_ref()).map(name).collect();
    if others.is_empty() {
        say("this is the cluster's only host: its records come along; changes are refused meanwhile, tunnels stay up");
    } else if yes {
        let servers = appliance.detach()?;
        let servers =
            if servers.is_empty() { "no server".into() } else { format!("the servers {}", servers.join(", ")) };
        say(&format!(
            "other hosts go on with the cluster's records ({}); this one runs {servers} no more",
            others.join(", ")
        ));
    } else {
        return Err(Trouble::Failed(format!(
            "the cluster has other hosts ({}): the records stay with them, and this host leaves empty, with new \
             administrators and no servers; if that is meant, repeat with --yes; if those hosts are gone for good, delete \
             them in the console first, and the records come along",
            others.join("; ")
        )));
    }
    choice::put(&appliance.state, Way::Export).map_err(failed)
}

fn survey(appliance: &Appliance, uri: String) -> Result<Content, Trouble> {
    let mut content = None;
    errand::send(&appliance.state, &Errand::Survey { uri }, None, |report| {
        if let Report::Content(found) = report {
            content = Some(found);
        }
    })?;
    content.ok_or_else(|| Trouble::Failed("the bus did not say what the database holds".into()))
}

/// A move into a database is given up.
fn give_up(appliance: &Appliance, standing: &Standing, output: Output) -> Result<ExitCode, Trouble> {
    if standing.binding {
        return Err(Trouble::Failed(
            "the records may be in the database already: this is settled as soon as it answers; wait for that".into(),
        ));
    }
    finish(appliance, output, "The move was given up: this appliance goes on with its own records.\n")
}

fn finish(appliance: &Appliance, output: Output, text: &str) -> Result<ExitCode, Trouble> {
    choice::clear(&appliance.state).map_err(|error| machine::unmade(&appliance.state, &error))?;
    appliance.restart_bus()?;
    // It may hold a password, and nobody needs it any more.
    let _ = std::fs::remove_file(appliance.state.join("bus/uri"));
    match output {
        Output::Json => print(&format!("{}\n", json!({ "result": "left" })))?,
        Output::Text => print(text)?,
    }
    Ok(ExitCode::SUCCESS)
}
