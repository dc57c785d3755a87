//! What `culvert run` prints once everything is up, and what it waits for until then.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::ask::ask;
use crate::configuration::Trouble;
use crate::print::{print, say};
use crate::settings::Settings;

/// How long a start may take before it is said what it waits for.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often the api is asked meanwhile: it tells nobody when the database has come.
const AGAIN: Duration = Duration::from_millis(500);

/// Waits on standard input for the supervisor's word, then until records can be reached, then prints. Says nothing if the
/// supervisor ends first: it has said itself why.
///
/// # Errors
///
/// Nobody reads what is printed.
pub fn announce(state: &Path, listen: &str, headless: bool) -> Result<ExitCode, Trouble> {
    let run = Settings::run_folder(state);
    let begun = Instant::now();
    if !started() || !reached(&run, begun) {
        return Ok(ExitCode::FAILURE);
    }
    let text = if headless {
        "Culvert is up as a headless member of its cluster: manage it from any other member's console.\n".to_string()
    } else {
        welcome(&url(listen), &administrator(&run, state))
    };
    // In one piece, so that the log does not come between.
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the supervisor said that every process is up, rather than ended.
fn started() -> bool {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut word = String::new();
        let _ = std::io::stdin().take(64).read_to_string(&mut word);
        let _ = sender.send(word.trim() == "ready");
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(ready) => ready,
        Err(RecvTimeoutError::Disconnected) => false,
        Err(RecvTimeoutError::Timeout) => {
            say("not up yet: a process is not ready, its lines in the log say why; it keeps trying (Ctrl-C ends it)");
            receiver.recv().unwrap_or(false)
        }
    }
}

/// Waits until records can be reached. Whether they can, rather than that the appliance has ended.
fn reached(run: &Path, begun: Instant) -> bool {
    let (mut told, mut last) = (None, None);
    loop {
        let why = match ask(run, Method::GET, "/health") {
            Ok((StatusCode::OK, _)) => return true,
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {
                "the database can't be reached, the bus's line in the log says why"
            }
            Ok(_) | Err(Trouble::Failed(_)) => "the api does not answer, its lines in the log say why",
            Err(_) => return false,
        };
        // Twice, since one answer may be that of an appliance which is just being ended.
        if begun.elapsed() >= PATIENCE && told != Some(why) && last.replace(why) == Some(why) {
            say(&format!("not up yet: {why}; it keeps trying (Ctrl-C ends it)"));
            told = Some(why);
        }
        std::thread::sleep(AGAIN);
    }
}

/// The lines about who may log in.
fn administrator(run: &Path, state: &Path) -> String {
    let option =
        if state == Path::new(Settings::STATE) { String::new() } else { format!(" --state {}", state.display()) };
    match ask(run, Method::GET, "/v1/cli/default-password") {
        Ok((StatusCode::OK, first)) => format!(
            "  Administrator     {}\n  Password          {}   (one-time: change it at the first login)\n",
            first["username"].as_str().unwrap_or_default(),
            first["password"].as_str().unwrap_or_default()
        ),
        Ok((StatusCode::NOT_FOUND, _)) => {
            format!("  Administrator     as you set it (forgotten: culvert reset-password{option})\n")
        }
        _ => format!("  Administrator     not known yet (ask: culvert default-password{option})\n"),
    }
}

fn welcome(url: &str, administrator: &str) -> String {
    format!(
        "\nCulvert is up.\n\n  Console and API   {url}\n{administrator}\nNext:\n  1. Open {url} (the certificate is \
         self-made: accept it once) and log in.\n  2. Add an organization, a user in it and a server; attach the \
         organization to the server; start the server.\n  3. Download the user's profile and open it with any OpenVPN \
         client: openvpn --config PROFILE.ovpn\n\nCtrl-C stops everything.\n"
    )
}

fn url(listen: &str) -> String {
    let Ok(listen) = listen.parse::<SocketAddr>() else { return format!("https://{listen}") };
    let address = if listen.ip().is_unspecified() { outward().unwrap_or(listen.ip()) } else { listen.ip() };
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    if listen.port() == 443 { format!("https://{host}") } else { format!("https://{host}:{}", listen.port()) }
}

/// This machine's address towards the default route. Connecting a UDP socket sends nothing.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((std::net::Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address).or(Some(std::net::Ipv4Addr::LOCALHOST.into()))
}
