//! Takes the proxy's place, with its user, its sandbox and its sockets, and tries to reach what the proxy must not
//! (invariant 1). Each attempt is one line on standard error: `intruder: <what>: <reached|blocked>`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use culvert_daemon::Context;
use culvert_model::Role;

/// A service on the host's loopback interface, started by the test.
const VICTIM: ([u8; 4], u16) = ([127, 0, 0, 1], 18555);

fn main() -> ExitCode {
    culvert_daemon::main(Role::Proxy, |mut context| async move {
        let listener = context.sockets.take("https").ok_or("no https socket")?;
        let listener = TcpListener::from(listener);
        let api = context.options.number("api-port")?.ok_or("no api port")?;
        context.notify.ready();
        tokio::task::spawn_blocking({
            let run = context.run.clone();
            move || intrude(&run, &listener, api)
        })
        .await?;
        Context::stopped(&context).await;
        Ok(())
    })
}

fn intrude(run: &Path, listener: &TcpListener, api: u16) {
    let victim = SocketAddr::from(VICTIM);
    let soon = Duration::from_secs(2);
    tell("the api", TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], api)), soon).is_ok());
    tell("a host service by a new socket", TcpStream::connect_timeout(&victim, soon).is_ok());
    tell("a host service by UDP", UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", victim)).is_ok());
    for socket in ["bus.sock", "helper.sock", "cli.sock"] {
        tell(socket, answers(&run.join(socket)));
    }
    for file in ["/dev/net/tun", "/etc/shadow", "/etc/passwd", "/var/lib/culvert"] {
        tell(file, std::fs::File::open(file).is_ok());
    }
    tell("another program", Command::new("/bin/true").status().is_ok());
    // The test connects once, so that there is an accepted socket of the host's namespace.
    let accepted = listener.accept();
    tell("an accepted socket", accepted.is_ok());
    if let Ok((accepted, _)) = accepted {
        tell("a host service by the accepted socket", turned(&accepted, victim));
    }
    tell("a host service by the listening socket", turned(listener, victim));
    eprintln!("intruder: done");
}

/// Whether a socket can be taken off its connection or port and connected to somebody else.
fn turned(socket: &impl AsFd, to: SocketAddr) -> bool {
    let undone = rustix::net::connect_unspec(socket).is_ok();
    let _ = rustix::net::sockopt::set_socket_timeout(
        socket,
        rustix::net::sockopt::Timeout::Send,
        Some(Duration::from_secs(3)),
    );
    undone && rustix::net::connect(socket, &to).is_ok()
}

/// Whether somebody behind a unix socket listens to us: takes what we send and does not hang up.
fn answers(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(&[0, 0, 0, 2, 0, 7]);
    // Nothing within a second would be somebody who waits for more.
    !matches!(stream.read(&mut [0]), Ok(0) | Err(_)) || stream.write_all(&[0]).is_ok()
}

fn tell(what: &str, reached: bool) {
    eprintln!("intruder: {what}: {}", if reached { "reached" } else { "blocked" });
}
