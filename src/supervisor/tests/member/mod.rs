//! What stands in for a process: it says that it lives, and writes down what it was given and told.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use culvert_link::inherited;
use culvert_link::notify::Sender;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The names of all processes.
pub const ALL: [&str; 8] = ["helper", "bus", "api", "proxy", "pools", "queue", "tasks", "vpn"];

/// Does what a process does, until it is told to end.
pub fn run(name: &str) {
    let sockets = inherited::take().expect("its sockets");
    let state = option("--state");
    if state.join(format!("{name}.refuse")).exists() {
        eprintln!("culvert-{name}: refused");
        std::process::exit(2);
    }
    let mut log = File::options().create(true).append(true).open(state.join(name)).expect("its file");
    let mut tell = |what: &str, value: &str| writeln!(log, "{what} {value}").expect("written");
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().expect("blocked");
    let heard = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).expect("signals");
    let sender = Sender::from_environment().expect("a socket").expect("it is set");

    tell("started", &moment());
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    tell("sockets", &names.join(" "));
    tell("network", &std::fs::read_link("/proc/self/ns/net").expect("its namespace").to_string_lossy());
    let status = std::fs::read_to_string("/proc/self/status").expect("itself");
    let line =
        |what: &str| status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default().trim().to_owned();
    tell("capabilities", &line("CapPrm:"));
    tell("bounding", &line("CapBnd:"));
    let _kept = if name == "vpn" { keep(&sender, sockets, &mut tell) } else { Vec::new() };
    tell("pid", &std::process::id().to_string());
    // Before the supervisor hears of it, who else is to wait for it cannot have started.
    tell("ready", &moment());
    sender.send("READY=1", None).expect("sent");

    let mut fed = Instant::now();
    loop {
        let mut asked = [PollFd::new(heard.as_fd(), PollFlags::POLLIN)];
        if poll(&mut asked, PollTimeout::from(500_u16)).expect("waiting") > 0 {
            break;
        }
        if fed.elapsed().as_secs() >= 1 {
            fed = Instant::now();
            let _ = sender.send("WATCHDOG=1", None);
        }
    }
    let signal = heard.read_signal().expect("read").expect("one").ssi_signo;
    let signal = Signal::try_from(signal.cast_signed()).expect("a signal");
    tell(signal.as_str(), &moment());
}

/// Has one end of a connection kept outside, or finds it again and reads what came meanwhile.
fn keep(sender: &Sender, sockets: Vec<(String, OwnedFd)>, tell: &mut impl FnMut(&str, &str)) -> Vec<OwnedFd> {
    let Some((_, found)) = sockets.into_iter().next() else {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        sender.send("FDSTORE=1\nFDNAME=instance-1", Some(near.as_fd())).expect("kept");
        far.write_all(b"hello").expect("written");
        return vec![near.into(), far.into()];
    };
    let mut text = [0; 5];
    let mut stream = UnixStream::from(found);
    if stream.read_exact(&mut text).is_ok() {
        tell("kept", &String::from_utf8_lossy(&text));
    }
    vec![stream.into()]
}

fn option(name: &str) -> PathBuf {
    let mut arguments = std::env::args().skip_while(|one| one != name).skip(1);
    PathBuf::from(arguments.next().expect("the option is there"))
}

fn moment() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros().to_string()
}
