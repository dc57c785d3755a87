//! What `vpn` does at the management socket: lets every client in, always at the same address.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// Serves until openvpn ends.
pub fn serve(mut stream: UnixStream) {
    let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
    stream.write_all(b"hold off\nhold release\n").expect("written");
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let asked = ["CONNECT", "REAUTH"].iter().find_map(|kind| line.strip_prefix(&format!(">CLIENT:{kind},")));
            if let Some((client, key)) = asked.and_then(|numbers| numbers.split_once(',')) {
                let push = "ifconfig-push 10.8.0.2 255.255.255.0\npush \"route 10.98.0.0 255.255.255.0\"\n\
                            push \"route 10.96.0.0 255.255.255.0\"\npush \"ping 10\"\npush \"topology subnet\"\npush \"route-gateway 10.8.0.1\"";
                if write!(stream, "client-auth {client} {key}\n{push}\nEND\n").is_err() {
                    return;
                }
            }
        }
    });
}
