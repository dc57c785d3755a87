//! What openvpn's sandbox leaves it, seen with programs that are started in it. Needs root and openvpn.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use culvert_link::launch::Launch;
use culvert_sandbox::{Scope, for_launch, of};

const NOBODY: u32 = 65534;

/// A folder that the program may reach, removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program says when it is started in openvpn's sandbox, or why it was not.
fn start(name: &str, program: &str, arguments: &[&str]) -> Result<String, String> {
    let folder = Folder(std::env::temp_dir().join(format!("sandboxtest-openvpn-{name}-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let scope = Scope { instance: Some(&folder.0), ..Scope::default() };
    let sandbox = for_launch(of("openvpn").expect("it is in the table"), &scope).expect("prepared");
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    let ruleset = sandbox.ruleset.expect("a ruleset");
    let launch = Launch::new(program).arguments(arguments.iter().copied()).descriptor(1, writer.as_fd());
    let launch = launch.user(NOBODY, NOBODY).private_tun().landlock(ruleset.as_fd()).filter(sandbox.filter);
    let process = launch.start().map_err(|error| error.to_string())?;
    drop(writer);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("what it says");
    assert!(process.wait(Instant::now() + Duration::from_secs(5)).expect("waiting"), "it ends");
    process.bury().expect("it is our child");
    Ok(text)
}

#[test]
fn openvpn_runs_in_it() {
    let text = start("runs", "/usr/sbin/openvpn", &["--version"]).expect("it starts");
    assert!(text.starts_with("OpenVPN 2."), "{text}");
}

#[test]
fn nothing_else_is_executed() {
    for program in ["/bin/sh", "/bin/cat", "/usr/sbin/nft"] {
        let error = start("executes", program, &[]).expect_err("it is refused");
        assert_eq!(error, format!("starting {program}: executing it: Permission denied (os error 13)"));
    }
}

#[test]
fn files_of_others_are_not_read() {
    assert!(PathBuf::from("/etc/hostname").exists(), "it is there, and may be read by everybody");
    let text = start("reads", "/usr/sbin/openvpn", &["--config", "/etc/hostname"]).expect("it starts");
    assert!(text.contains("Error opening configuration file"), "{text}");
}
