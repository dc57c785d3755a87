//! What OpenVPN says of a client in a notice: names and values, partly chosen by the client.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use culvert_model::Id;
use zeroize::Zeroizing;

/// The environment of a notice. Never printed: it may hold a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    entries: BTreeMap<String, Zeroizing<String>>,
}

impl Environment {
    /// Adds an entry; of two with one name, the first counts (OpenVPN sends each name once).
    pub(super) fn insert(&mut self, name: &str, value: &str) {
        self.entries.entry(name.to_owned()).or_insert_with(|| Zeroizing::new(value.to_owned()));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|value| value.as_str())
    }

    /// The SHA-256 of the client's own certificate, which OpenVPN has verified: lower-case hex without colons.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        let digits: String = self.get("tls_digest_sha256_0")?.chars().filter(|sign| *sign != ':').collect();
        let good = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        good.then(|| digits.to_ascii_lowercase())
    }

    /// The serial number of that certificate: lower-case hex without colons and leading zeros, as
    /// `culvert_model::record::Certificate::serial_number` has it.
    #[must_use]
    pub fn serial(&self) -> Option<String> {
        let digits = self.get("tls_serial_hex_0")?.replace(':', "").to_ascii_lowercase();
        let good = digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut digits = good.then_some(digits.as_str())?;
        while let Some(rest) = digits.strip_prefix("00") {
            digits = rest;
        }
        (!digits.is_empty()).then(|| digits.to_owned())
    }

    /// The common name of the client's certificate: the user's id, if a CA of ours made it.
    #[must_use]
    pub fn common_name(&self) -> Option<Id> {
        self.get("X509_0_CN").or_else(|| self.get("common_name"))?.parse().ok()
    }

    /// The password that the client sent.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.get("password").filter(|password| !password.is_empty())
    }

    /// Where the client comes from: `address:port`, IPv6 in brackets.
    #[must_use]
    pub fn real_address(&self) -> Option<String> {
        let first = |names: [&str; 4]| names.into_iter().find_map(|name| self.get(name));
        let address = first(["untrusted_ip", "untrusted_ip6", "trusted_ip", "trusted_ip6"])?;
        let address: IpAddr = address.parse().ok()?;
        let port = first(["untrusted_port", "untrusted_port6", "trusted_port", "trusted_port6"])
            .and_then(|port| port.parse::<u16>().ok())
            .unwrap_or_default();
        Some(std::net::SocketAddr::new(address.to_canonical(), port).to_string())
    }

    /// What the client says it runs on, for people.
    #[must_use]
    pub fn platform(&self) -> Option<String> {
        self.get("IV_PLAT").map(printable)
    }

    /// What the client calls its device, for people.
    #[must_use]
    pub fn device_name(&self) -> Option<String> {
        self.get("UV_NAME").or_else(|| self.get("IV_HWADDR")).map(printable)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} entries)", self.entries.len())
    }
}

/// At most 128 characters, none of which moves a cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|sign| !sign.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(entries: &[(&str, &str)]) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in entries {
            environment.insert(name, value);
        }
        environment
    }

    #[test]
    fn a_fingerprint_is_64_digits() {
        let colons = ["AB"; 32].join(":");
        assert_eq!(environment(&[("tls_digest_sha256_0", &colons)]).fingerprint(), Some("ab".repeat(32)));
        assert_eq!(environment(&[("tls_digest_sha256_0", &colons[3..])]).fingerprint(), None);
        assert_eq!(environment(&[("tls_digest_sha256_0", &"zz".repeat(32))]).fingerprint(), None);
        assert_eq!(environment(&[]).fingerprint(), None);
    }

    #[test]
    fn a_serial_number_is_whole_bytes() {
        let serial = |text| environment(&[("tls_serial_hex_0", text)]).serial();
        assert_eq!(serial("5E:50:0a").as_deref(), Some("5e500a"));
        assert_eq!(serial("00:00:0a:00").as_deref(), Some("0a00"));
        for bad in ["", "00", "5e:5", "5e:zz"] {
            assert_eq!(serial(bad), None, "{bad}");
        }
        assert_eq!(environment(&[]).serial(), None);
    }

    #[test]
    fn addresses_and_names() {
        let six = environment(&[("untrusted_ip6", "2001:db8::1"), ("untrusted_port", "7")]);
        assert_eq!(six.real_address().as_deref(), Some("[2001:db8::1]:7"));
        let mapped = environment(&[("untrusted_ip6", "::ffff:192.0.2.1"), ("untrusted_port", "7")]);
        assert_eq!(mapped.real_address().as_deref(), Some("192.0.2.1:7"));
        assert_eq!(environment(&[("untrusted_ip", "1.2.3.4\u{1b}")]).real_address(), None);
        assert_eq!(environment(&[("IV_PLAT", "li\u{1b}nux")]).platform().as_deref(), Some("linux"));
        assert_eq!(environment(&[("password", "")]).password(), None);
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let text = format!("{:?}", environment(&[("password", "123456")]));
        assert!(!text.contains("123456"));
    }
}
