//! A server's certificate that ends soon is renewed by itself, and the server goes on with the new one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use culvert_tests::openvpn::{Client, Pings};
use http::Method;
use serde_json::json;
use tempfile::TempDir;

use super::{SOON, certificates, serving, story, until_count};

/// A program by which a client notes which certificate the server shows.
struct Note {
    folder: TempDir,
}

impl Note {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("note");
        let serial = folder.path().join("serial");
        fs::write(&program, format!("#!/bin/sh\nprintf %s \"$tls_serial_hex_0\" > {}\n", serial.display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    fn connects(&self, namespace: &culvert_tests::namespace::Namespace, profile: &str) -> Result<Client> {
        let program = self.folder.path().join("note").display().to_string();
        let client = Client::start(namespace, profile, None, &["--script-security", "2", "--tls-verify", &program])?;
        client.connected(SOON)?;
        Ok(client)
    }

    /// The serial number that the server showed last, as the API writes it.
    fn serial(&self) -> Result<String> {
        let serial = fs::read_to_string(self.folder.path().join("serial")).context("the server showed none")?;
        Ok(serial.replace(':', "").trim_start_matches('0').to_owned())
    }
}

#[test]
fn a_servers_certificate_is_renewed_by_itself_near_its_end() -> Result<()> {
    const DAY: u64 = 24 * 3600 * 1000;
    let story = story()?;
    let set = |leaf: u32, expiry: u32| {
        let body = json!({ "leaf_days": leaf, "expiry_days": expiry });
        story.console.expect(Method::PUT, "/v1/settings", Some(&body))
    };
    set(30, 5)?;
    let (organization, server) = serving(&story)?;
    let alice = story.user(&organization, "alice", None)?;
    let profile = story.profile(&organization, &alice, &server)?;
    let of = format!("servers/{server}");
    let serial = |place: usize| {
        let all = certificates(&story, &of)?;
        all.get(place).and_then(|one| one["serial"].as_str()).map(String::from).context("a serial number")
    };
    let old = serial(0)?;
    let note = Note::new()?;
    let mut client = note.connects(&story.client, &profile)?;
    ensure!(note.serial()? == old, "{} is shown, not {old}", note.serial()?);

    // 30 days before the end are soon from now on.
    set(365, 60)?;
    let pings = Pings::start(&story.client, "10.40.0.1")?;
    story.console.expect(Method::PUT, "/v1/tasks/run", Some(&json!({ "id": "certificates" })))?;
    until_count(&story, &of, 2)?;
    let all = certificates(&story, &of)?;
    let ends = |place: usize| all[place]["expires"].as_u64().context("an end");
    ensure!(ends(0)? > ends(1)? + 300 * DAY && all[1]["serial"] == old.as_str() && all[0]["replaced"].is_null());
    let pinged = pings.stop()?;
    ensure!(pinged.longest_gap == 0 && client.connections() == 1, "the tunnel stays: {pinged:?}");
    client.stop()?;
    // It runs on with the old one, which is good until then.
    note.connects(&story.client, &profile)?.stop()?;
    ensure!(note.serial()? == old);

    // Clients that are there come back by themselves.
    let client = note.connects(&story.client, &profile)?;
    story.operate(&server, "restart")?;
    culvert_tests::lines::until("the client back", SOON * 2, || Ok((client.connections() == 2).then_some(())))?;
    ensure!(note.serial()? == serial(0)? && note.serial()? != old, "{} is shown", note.serial()?);
    Ok(())
}
