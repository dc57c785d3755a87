//! What is built into the two programs that run as root: the committed lists are the whole of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

fn tree(package: &str) -> Result<BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    // Name and version; our own crates stand with their folder, which is no fact about them.
    Ok(lines.lines().map(|line| line.split(" (").next().unwrap_or(line).to_string()).collect())
}

fn compare(process: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../src/{process}/dependencies.txt"));
    let committed: BTreeSet<String> = std::fs::read_to_string(path)?.lines().map(String::from).collect();
    let actual = tree(&format!("culvert-{process}"))?;
    let (new, gone) = (&actual - &committed, &committed - &actual);
    ensure!(new.is_empty() && gone.is_empty(), "{process} gained {new:?} and lost {gone:?}");
    Ok(())
}

#[test]
fn of_the_helper() -> Result<()> {
    compare("helper")
}

#[test]
fn of_the_supervisor() -> Result<()> {
    compare("supervisor")
}

#[test]
fn one_tls_provider_in_the_whole_tree() -> Result<()> {
    for package in ["culvert-bus", "culvert-proxy"] {
        ensure!(!tree(package)?.iter().any(|line| line.starts_with("aws-lc")), "{package} has a second TLS provider");
    }
    Ok(())
}
