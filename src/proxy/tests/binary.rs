//! The program itself, with its user and in its sandbox. Needs root and the system users that `culvert run` makes.

mod kit;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use culvert_link::launch::Launch;
use http::Method;
use kit::{JSON, Stand, api, ok, request, tell, terms};
use nix::sys::signal::Signal;
use tokio::net::TcpListener;

#[tokio::test]
#[ignore = "needs root and the system users; `make test` runs it in its own way as part of the whole appliance"]
async fn the_program_serves_from_within_its_sandbox_and_ends_when_asked() {
    let user = nix::unistd::User::from_name("culvert-proxy").expect("the user database").expect("the user exists");
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
