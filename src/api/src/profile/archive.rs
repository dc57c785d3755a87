//! Profiles as a tar archive.

use super::Named;

/// The archive.
pub fn archive(profiles: &[Named], now: u64) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for profile in profiles {
        let mut header = tar::Header::new_ustar();
        header.set_size(profile.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        // A long name is written by an entry of its own, so this fails for no name.
        archive
            .append_data(&mut header, &profile.name, profile.text.as_bytes())
            .expect("memory takes all bytes, and names have no slashes");
    }
    archive.into_inner().expect("memory takes all bytes")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let long = format!("{}.ovpn", "x".repeat(300));
        let profiles = [
            Named { name: "o_u_s.ovpn".into(), text: "client\n".into() },
            Named { name: long, text: "dev tun\n".into() },
        ];
        let bytes = archive(&profiles, 1_700_000_000);
        let mut read = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in read.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            found.push(Named { name, text });
        }
        assert_eq!(found, profiles);
    }
}
