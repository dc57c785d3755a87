//! What each running process may do, as the kernel has it, against the table in `docs/processes.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::namespace::Town;
use culvert_tests::story::Story;
use serde_json::json;

/// The rows of a checked table in the document.
fn table(number: usize) -> Result<Vec<Vec<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/processes.md");
    let text = fs::read_to_string(path)?;
    let table =
        text.split("<!-- checked by tests/privileges.rs -->").nth(number).context("the mark before the table")?;
    let rows = table.trim_start().lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    Ok(rows.map(cells).collect())
}

/// The columns of the first table, by process.
fn documented() -> Result<BTreeMap<String, Vec<String>>> {
    Ok(table(1)?.into_iter().map(|cells| (cells[0].clone(), cells[1..].to_vec())).collect())
}

/// The capabilities of capability.h that the document names, in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

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
fn root_keeps_what_the_document_names_and_no_more() -> Result<()> {
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table(2)? {
        let names = row[1].split(", ").map(str::to_string);
        documented.entry(row[0].clone()).or_default().extend(names);
    }
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let helper = story.appliance.process("helper").context("the helper runs")?;
    for (name, pid) in [("helper", helper), ("supervisor", story.appliance.supervisor())] {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            let line = status.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
            let bits = u64::from_str_radix(line.with_context(|| format!("no {set}"))?.trim(), 16)?;
            let has = |number: usize| bits & 1 << number != 0;
            let kept: BTreeSet<String> = (0..64)
                .filter(|number| has(*number))
                .map(|number| CAPABILITIES.get(number).map_or(format!("{number}"), |name| name.to_string()))
                .collect();
            ensure!(Some(&kept) == documented.get(name), "{name} {set}: {kept:?}, documented: {documented:?}");
        }
    }
    Ok(())
}

#[test]
fn nobody_leaves_a_core_dump_and_no_descriptor_is_leaked() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;
    let mut running = story.appliance.processes();
    running.push(("supervisor".into(), story.appliance.supervisor()));
    running.extend(story.appliance.openvpns()?.into_iter().map(|pid| ("openvpn".to_string(), pid)));
    for (name, pid) in running {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("a limit")?;
        let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
        ensure!(values == ["1", "1"], "{name}: {core}");
        // Who is not dumpable has a folder of root's in /proc; openvpn is the only one that executes another program.
        let owner = fs::metadata(format!("/proc/{pid}/environ"))?.uid();
        ensure!(name == "openvpn" || owner == 0, "{name} can be traced");
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            let target = fs::read_link(entry.path())?.to_string_lossy().into_owned();
            let number: u32 = entry.file_name().to_string_lossy().parse()?;
            ensure!(expected(&name, number, &target), "{name}: {number} is {target}");
        }
    }
    Ok(())
}

/// Whether a process may have this open.
fn expected(name: &str, number: u32, target: &str) -> bool {
    let own = match name {
        "supervisor" => ["supervisor.lock", "net:["].iter().any(|one| target.contains(one)),
        "helper" => target.starts_with("/run/culvert.network-"),
        "bus" => ["/bus/", "anon_inode:inotify"].iter().any(|one| target.contains(one)),
        // Its pipe, its configuration, its device.
        "openvpn" => target.contains("/helper/0.log") || target.contains("memfd:openvpn") || target == "/dev/net/tun",
        "vpn" => target.contains("/helper/0.log"),
        _ => false,
    };
    let plain = ["socket:[", "anon_inode:"].iter().any(|one| target.starts_with(one));
    own || plain || number <= 2 || target == "/dev/null"
}
