//! The life of certificates as users and administrators see it, with a real OpenVPN client: who is deleted is thrown out
//! and listed as revoked; who gets a new certificate keeps the tunnel, and may use the old profile for a while.

mod ending;
mod hosts;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::console::Console;
use culvert_tests::lines::until;
use culvert_tests::namespace::{Namespace, Town};
use culvert_tests::openvpn::{Client, Pings, ping};
use culvert_tests::story::Story;
use http::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

fn story() -> Result<Story> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let quick = json!({ "user_key": "p-256" });
    story.console.expect(Method::PUT, "/v1/settings", Some(&quick))?;
    Ok(story)
}

/// An organisation, and a server of it that runs.
fn serving(story: &Story) -> Result<(String, String)> {
    let organization = story.organization("acme")?;
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;
    Ok((organization, server))
}

fn refused(namespace: &Namespace, profile: &str) -> Result<()> {
    let mut client = Client::start(namespace, profile, None, &[])?;
    client.log.wait(0, SOON, |line| line.contains("AUTH_FAILED"))?;
    client.ended(Duration::from_secs(10))
}

fn connects(namespace: &Namespace, profile: &str) -> Result<Client> {
    let client = Client::start(namespace, profile, None, &[])?;
    client.connected(SOON)?;
    Ok(client)
}

/// What stands between two tags of a profile.
fn part<'a>(profile: &'a str, tag: &str) -> Result<&'a str> {
    let (_, behind) = profile.split_once(&format!("<{tag}>\n")).with_context(|| format!("no {tag}"))?;
    Ok(behind.split_once(&format!("</{tag}>")).with_context(|| format!("no end of {tag}"))?.0)
}

/// What `openssl verify` says of a profile's certificate by the list that anybody can fetch; nothing if all is well.
fn verdict(list: &[u8], profile: &str) -> Result<Option<String>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ca"), part(profile, "ca")?)?;
    fs::write(path("leaf"), part(profile, "cert")?)?;
    fs::write(path("der"), list)?;
    let openssl = |arguments: &[&str]| Command::new("openssl").args(arguments).current_dir(folder.path()).output();
    let read = openssl(&["crl", "-inform", "DER", "-in", "der", "-out", "list", "-CAfile", "ca"])?;
    let said = String::from_utf8_lossy(&read.stderr).into_owned();
    ensure!(read.status.success() && said.contains("verify OK"), "the list is not the CA's: {said}");
    let verified = openssl(&["verify", "-crl_check", "-CRLfile", "list", "-CAfile", "ca", "leaf"])?;
    Ok((!verified.status.success()).then(|| String::from_utf8_lossy(&verified.stderr).into_owned()))
}

#[test]
fn who_is_deleted_is_thrown_out_and_listed() -> Result<()> {
    let story = story()?;
    let (organization, server) = serving(&story)?;
    let [alice, bob] = ["alice", "bob"].map(|name| story.user(&organization, name, None));
    let (alice, bob) = (alice?, bob?);
    let profile = story.profile(&organization, &alice, &server)?;
    let others = story.profile(&organization, &bob, &server)?;
    let stranger = Console::new(&story.client, Town::SERVER);
    let path = format!("/v1/organizations/{organization}/crl");
    let list = || {
        let answer = stranger.ask(Method::GET, &path, None)?;
        Ok((answer.status == 200).then(|| answer.body.to_vec()))
    };
    let first = until("a first list", SOON, list)?;
    ensure!(verdict(&first, &profile)?.is_none(), "nobody is on it");

    let mut client = connects(&story.client, &profile)?;
    ping(&story.client, "10.40.0.1")?;
    story.console.expect(Method::DELETE, &format!("/user/{organization}/{alice}"), None)?;
    let begun = Instant::now();
    client.ended(Duration::from_secs(1)).context("thrown out within a second")?;
    println!("thrown out {} ms after the answer to the request", begun.elapsed().as_millis());
    refused(&story.client, &profile).context("and does not come back")?;

    let listed = until("a list with the certificate", SOON, || {
        let list = list()?.context("a list")?;
        Ok(verdict(&list, &profile)?.map(|why| (list, why)))
    })?;
    ensure!(listed.1.contains("certificate revoked"), "{}", listed.1);
    ensure!(verdict(&listed.0, &others)?.is_none(), "the others are not on it");
    let mut knowing = stranger;
    let tag = knowing.ask(Method::GET, &path, None)?.headers["etag"].to_str()?.to_owned();
    knowing.set("if-none-match", &tag);
    let unchanged = knowing.ask(Method::GET, &path, None)?;
    ensure!(unchanged.status == 304 && unchanged.body.is_empty(), "{} {}", unchanged.status, unchanged.text());
    connects(&story.client, &others)?.stop()
}

fn certificates(story: &Story, of: &str) -> Result<Vec<Value>> {
    let shown = story.console.get(&format!("/v1/{of}/certificates"))?;
    shown.as_array().cloned().context("a list")
}

fn renew(story: &Story, of: &str, immediate: bool, count: usize) -> Result<()> {
    let body = json!({ "immediate": immediate });
    story.console.expect(Method::POST, &format!("/v1/{of}/renewal"), Some(&body))?;
    until_count(story, of, count)
}

/// Waits until there are so many certificates, the newest first.
fn until_count(story: &Story, of: &str, count: usize) -> Result<()> {
    until("the new certificate", SOON, || Ok((certificates(story, of)?.len() == count).then_some(())))
}

#[test]
fn who_gets_a_new_certificate_may_use_the_old_one_for_a_while() -> Result<()> {
    let story = story()?;
    let (organization, server) = serving(&story)?;
    let alice = story.user(&organization, "alice", None)?;
    let of = format!("organizations/{organization}/users/{alice}");
    let old = story.profile(&organization, &alice, &server)?;
    let mut client = connects(&story.client, &old)?;
    let pings = Pings::start(&story.client, "10.40.0.1")?;
    renew(&story, &of, false, 2)?;
    let new = story.profile(&organization, &alice, &server)?;
    ensure!(part(&new, "cert")? != part(&old, "cert")? && part(&new, "key")? != part(&old, "key")?);
    let pinged = pings.stop()?;
    ensure!(pinged.longest_gap == 0, "the tunnel stays: {pinged:?}");
    client.stop()?;
    for profile in [&new, &old] {
        let mut client = connects(&story.client, profile)?;
        ping(&story.client, "10.40.0.1")?;
        client.stop()?;
    }

    // At once: whoever is connected with an older one is cut off.
    let mut client = connects(&story.client, &old)?;
    renew(&story, &of, true, 3)?;
    client.ended(Duration::from_secs(2)).context("cut off")?;
    for profile in [&old, &new] {
        refused(&story.client, profile)?;
    }
    let newest = story.profile(&organization, &alice, &server)?;
    connects(&story.client, &newest)?.stop()
}

#[test]
fn a_server_takes_its_new_certificate_at_its_next_start_and_drops_nobody_before() -> Result<()> {
    let story = story()?;
    let (organization, server) = serving(&story)?;
    let alice = story.user(&organization, "alice", None)?;
    let profile = story.profile(&organization, &alice, &server)?;
    let mut client = connects(&story.client, &profile)?;
    let pings = Pings::start(&story.client, "10.40.0.1")?;
    renew(&story, &format!("servers/{server}"), false, 2)?;
    let pinged = pings.stop()?;
    ensure!(pinged.longest_gap == 0 && client.connections() == 1, "the tunnel stays: {pinged:?}");
    client.stop()?;
    story.operate(&server, "restart")?;
    connects(&story.client, &profile)?.stop()
}
