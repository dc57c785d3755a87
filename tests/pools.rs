//! What takes long was made before: users come out of a pool that the queue filled, and without one they are made on
//! demand.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::lines::until;
use culvert_tests::namespace::Town;
use culvert_tests::story::Story;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// How many client certificates an organisation has ready.
fn ready(story: &Story, organization: &str) -> Result<u64> {
    let pools = story.console.get("/v1/pools")?;
    let of = |pool: &&Value| pool["organization"] == organization && pool["pool"] == "client";
    pools.as_array().context("a list")?.iter().find(of).and_then(|pool| pool["ready"].as_u64()).context("its pool")
}

#[test]
fn a_user_comes_from_the_pool_and_the_pool_is_filled_again() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let full = || Ok((ready(&story, &organization)? == 6).then_some(()));
    until("a full pool", Duration::from_secs(60), full)?;
    let begun = Instant::now();
    story.user(&organization, "alice", None)?;
    println!("a user from the pool took {} ms", begun.elapsed().as_millis());
    until("a full pool again", Duration::from_secs(30), full)
}

#[test]
fn with_an_empty_pool_a_user_is_made_on_demand() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    // Nobody has had the time to fill a pool of six RSA-3072 keys.
    let begun = Instant::now();
    for number in 0..8 {
        story.user(&organization, &format!("user{number}"), None)?;
    }
    println!("eight users from an empty pool took {} ms", begun.elapsed().as_millis());
    let users = story.console.get(&format!("/user/{organization}"))?;
    ensure!(
        users.as_array().is_some_and(|users| users.iter().filter(|user| user["type"] == "client").count() == 8),
        "{users}"
    );
    Ok(())
}

#[test]
fn a_queue_that_dies_in_the_middle_loses_nothing() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    for _ in 0..3 {
        let old = story.appliance.signal(&["queue"], Signal::SIGKILL)?;
        story.appliance.replaced(&["queue"], &old, Duration::from_secs(5))?;
        story.user(&organization, "somebody", None)?;
    }
    until("a full pool", Duration::from_secs(90), || Ok((ready(&story, &organization)? == 6).then_some(())))?;
    let jobs = story.console.get("/v1/jobs")?;
    ensure!(jobs == json!([]), "left over: {jobs}");
    Ok(())
}
