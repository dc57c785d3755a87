//! The program itself, with its user and in its sandbox. Needs root, as all suites do, and makes the system users.

mod kit;

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use culvert_link::launch::Launch;
use culvert_model::Role;
use http::Method;
use kit::{JSON, Stand, api, ok, request, tell, terms};
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::net::TcpListener;

/// Makes the users of all roles as `culvert run` does: every process asks for all of them.
fn users() {
    for role in Role::ALL {
        let there = || User::from_name(role.user()).expect("the user database").is_some();
        let arguments = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"];
        if !there() {
            let made = Command::new("/usr/sbin/useradd").args(arguments).arg(role.user()).status().expect("useradd");
            // Another suite may have made it meanwhile.
            assert!(made.success() || there(), "the user {} can't be made: are the tests run as root?", role.user());
        }
    }
}

#[tokio::test]
async fn the_program_serves_from_within_its_sandbox_and_ends_when_asked() {
    users();
    let user = User::from_name(Role::Proxy.user()).expect("the user database").expect("the user exists");
    let folder = tempfile::tempdir().expect("a folder");
    nix::unistd::chown(folder.path(), Some(user.uid), Some(user.gid)).expect("root may");
    let (terms, certificate) = terms(1000, 1000);
    tell(&folder.path().join("proxy.sock"), &terms);
    nix::unistd::chown(&folder.path().join("proxy.sock"), Some(user.uid), Some(user.gid)).expect("root may");
    let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a port") };
    let (https, plain, inner) = (bind().await, bind().await, bind().await);
    let port = inner.local_addr().expect("bound").port();
    let run = folder.path().to_str().expect("UTF-8").to_owned();
    let program = Launch::new(env!("CARGO_BIN_EXE_culvert-proxy"))
        .arguments(["--run", &run, "--state", &run, "--api-port", &port.to_string(), "--public-port", "8443"])
        .listening("https", https.as_fd())
        .listening("redirect", plain.as_fd())
        .user(user.uid.as_raw(), user.gid.as_raw())
        .start()
        .expect("it starts");
    let at = |listener: &TcpListener| listener.local_addr().expect("bound");
    let stand = Stand::before(at(&https), at(&plain), at(&inner), folder, certificate);
    tokio::spawn(api(inner, stand.asked.clone(), Arc::new(|_| ok("{}"))));

    assert_eq!(stand.get("/").await.status, 200);
    assert_eq!(stand.get("/state").await.status, 200);
    assert_eq!(stand.send(request(Method::POST, "/organization", &[JSON], "{}")).await.status, 200);
    assert_eq!(stand.send2(request(Method::GET, "https://localhost/state", &[], "")).await.status, 200);
    assert_eq!(stand.send_plain(request(Method::GET, "/x", &[], "")).await.status, 301);
    program.signal(Signal::SIGTERM).expect("it lives");
    let ended = std::time::Instant::now() + Duration::from_secs(3);
    assert!(program.wait(ended).expect("a child"), "it does not end");
    let status = program.bury().expect("it ended");
    assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
}
