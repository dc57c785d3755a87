//! What each running process may do, as the kernel has it, against the table in `docs/processes.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::namespace::Town;
use culvert_tests::story::Story;
use serde_json::json;

/// The columns of the table in the document, by process.
fn documented() -> Result<BTreeMap<String, Vec<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/processes.md");
    let text = fs::read_to_string(path)?;
    let (_, table) = text.split_once("<!-- checked by tests/privileges.rs -->").context("the mark before the table")?;
    let rows = table.trim_start().lines().skip(2).take_while(|line| line.starts_with('|'));
    Ok(rows
        .map(|row| {
            let cells: Vec<String> =
                row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
            (cells[0].clone(), cells[1..].to_vec())
        })
        .collect())
}

/// The same columns as the kernel has them: user, capabilities, no_new_privs, seccomp, network.
fn actual(pid: u32, host: &str) -> Result<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.map(str::to_string).with_context(|| format!("no {name} in the status of {pid}"))
    };
    let uids: Vec<u32> = field("Uid")?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(uids.iter().all(|uid| *uid == uids[0]), "{pid}: user ids {uids:?}");
    let user = nix::unistd::User::from_uid(uids[0].into())?.map_or(format!("{}", uids[0]), |user| user.name);
    ensure!(user == "root" || field("Groups")?.trim().is_empty(), "{pid} is in other groups");
    let sets: Vec<String> =
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].into_iter().map(field).collect::<Result<_>>()?;
    let capabilities = if sets.iter().all(|set| set.trim_start_matches('0').is_empty()) { "none" } else { "bounded" };
    let network = match fs::read_link(format!("/proc/{pid}/ns/net"))?.to_string_lossy().into_owned() {
        namespace if namespace == host => "host".to_string(),
        _ => "private".to_string(),
    };
    Ok(vec![user, capabilities.into(), field("NoNewPrivs")?, field("Seccomp")?, network])
}

#[test]
fn every_process_has_the_rights_of_the_table_and_no_others() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;

    let supervisor = story.appliance.supervisor();
    let host = fs::read_link(format!("/proc/{supervisor}/ns/net"))?.to_string_lossy().into_owned();
    let mut running = story.appliance.processes();
    running.push(("supervisor".into(), supervisor));
    running.extend(story.appliance.openvpns()?.into_iter().map(|pid| ("openvpn".to_string(), pid)));

    let documented = documented()?;
    let mut seen = BTreeMap::new();
    for (name, pid) in running {
        let mut actual = actual(pid, &host)?;
        if name == "openvpn" {
            let uid: u32 = actual[0].parse().context("openvpn's user has no name")?;
            ensure!((1_900_000_000..1_900_000_100).contains(&uid), "openvpn runs as {uid}");
            actual[0] = "1900000000 + slot".into();
        }
        seen.insert(name, actual);
    }
    ensure!(seen == documented, "running: {seen:#?}\nin docs/processes.md: {documented:#?}");
    Ok(())
}

#[test]
fn root_keeps_only_what_it_uses() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let bounding = |pid: u32| -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).context("a bounding set")?;
        Ok(u64::from_str_radix(set.trim(), 16)?)
    };
    // CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_PTRACE, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_MAC_ADMIN, CAP_BPF (capability.h).
    let never = [16, 17, 19, 22, 25, 33, 39].iter().fold(0_u64, |set, bit| set | 1 << bit);
    let helper = story.appliance.process("helper").context("the helper runs")?;
    for pid in [helper, story.appliance.supervisor()] {
        ensure!(bounding(pid)? & never == 0, "{pid}: {:x}", bounding(pid)?);
    }
    Ok(())
}
