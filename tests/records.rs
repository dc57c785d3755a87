//! Records in trouble, as an administrator meets them: a damaged one hides nobody else, is named, and is mended by a command.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::lines::until;
use culvert_tests::namespace::{Town, succeed};
use culvert_tests::story::Story;
use serde_json::Value;

/// How soon the console shows what happened.
const SOON: Duration = Duration::from_secs(10);

/// Changes the running appliance's file as nobody should.
fn damage(story: &Story, sql: &str) -> Result<()> {
    let file = story.appliance.state().join("bus/store.sqlite");
    let program = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let mut command = std::process::Command::new("python3");
    succeed(command.args(["-c", program]).arg(file).arg(sql)).map(drop)
}

fn names(story: &Story, organization: &str) -> Result<Vec<String>> {
    let users = story.console.get(&format!("/user/{organization}"))?;
    let named = users.as_array().into_iter().flatten().filter(|user| user["type"] == "client");
    Ok(named.filter_map(|user| user["name"].as_str().map(String::from)).collect())
}

#[test]
fn a_damaged_record_hides_nobody_and_is_mended() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let alice = story.user(&organization, "alice", None)?;
    let bob = story.user(&organization, "bob", None)?;
    let nothing = story.appliance.culvert(&["store", "damaged"])?;
    ensure!(nothing.contains("none of them damaged"), "{nothing}");
    // One that no store can read, and one that no process can.
    damage(&story, &format!("UPDATE records SET body = 'geheim' WHERE kind = 'users' AND id = '{alice}'"))?;
    ensure!(names(&story, &organization)? == ["bob"], "bob is there: {:?}", names(&story, &organization)?);
    let told = until("the console's log", SOON, || {
        let log = story.console.get("/log")?;
        Ok(log.as_array().into_iter().flatten().find(|it| it.to_string().contains("is damaged")).cloned())
    })?;
    ensure!(told.to_string().contains(&alice) && !told.to_string().contains("geheim"), "{told}");
    let shown: Value = serde_json::from_str(&story.appliance.culvert(&["store", "damaged", "-o", "json"])?)?;
    let found = shown["found"].as_array().context("a list")?;
    ensure!(found.len() == 1 && found[0]["name"] == format!("users/{alice}"), "{shown}");

    let whole = story.appliance.culvert(&["store", "repair", "users", &bob, "--delete"]);
    let refused = whole.err().context("it is whole")?.to_string();
    ensure!(refused.contains("not damaged"), "{refused}");
    let mended = story.appliance.culvert(&["store", "repair", "users", &alice, "--delete"])?;
    ensure!(mended.contains("removed"), "{mended}");
    let nothing = story.appliance.culvert(&["store", "damaged"])?;
    ensure!(nothing.contains("none of them damaged"), "{nothing}");
    ensure!(names(&story, &organization)? == ["bob"], "{:?}", names(&story, &organization)?);

    let dry = story.appliance.culvert(&["store", "migrate", "--dry-run"])?;
    ensure!(dry.contains("users: 1 records, 0 would be changed") && dry.contains("format 1"), "{dry}");
    let done = story.appliance.culvert(&["store", "migrate"])?;
    ensure!(done.contains("0 records were changed; all are of format 1"), "{done}");
    ensure!(names(&story, &organization)? == ["bob"], "{:?}", names(&story, &organization)?);
    Ok(())
}
