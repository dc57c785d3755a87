//! What `culvert run` prints once everything is up.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;

use http::Method;

use crate::appliance::answer;
use crate::configuration::Trouble;

/// Waits on standard input for the supervisor's word, then prints. Says nothing if the supervisor ends first: it has
/// said itself why.
///
/// # Errors
///
/// The api does not answer although everything is up.
pub fn announce(run: &Path, listen: &str, headless: bool) -> Result<ExitCode, Trouble> {
    let mut word = String::new();
    let _ = std::io::stdin().take(64).read_to_string(&mut word);
    if word.trim() != "ready" {
        return Ok(ExitCode::FAILURE);
    }
    if headless {
        println!("Culvert is up as a headless member of its cluster: manage it from any other member's console.");
        return Ok(ExitCode::SUCCESS);
    }
    let url = url(listen);
    println!("\nCulvert is up.\n\n  Console and API   {url}");
    match answer(run, Method::GET, "/v1/cli/default-password") {
        Ok(first) => println!(
            "  Administrator     {}\n  Password          {}   (one-time: change it at the first login)",
            first["username"].as_str().unwrap_or_default(),
            first["password"].as_str().unwrap_or_default()
        ),
        Err(_) => println!("  Administrator     as you set it (forgotten: culvert reset-password)"),
    }
    println!(
        "\nNext:\n  1. Open {url} (the certificate is self-made: accept it once) and log in.\n  2. Add an organization, a \
         user in it and a server; attach the organization to the server; start the server.\n  3. Download the user's \
         profile and open it with any OpenVPN client: openvpn --config PROFILE.ovpn\n\nCtrl-C stops everything."
    );
    Ok(ExitCode::SUCCESS)
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
