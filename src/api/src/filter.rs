//! What the contract lets through of a text (`semantics.md` section f).

/// Signs that a name may have besides letters and digits.
const SIGNS: &str = "-=_@.:/!#$&*+?^|~";

/// A name without what names may not have.
pub fn name(text: &str) -> String {
    text.chars().filter(|sign| sign.is_alphanumeric() || SIGNS.contains(*sign)).collect()
}

/// A name, or nothing if nothing is left of it.
pub fn name_or_none(text: Option<&str>) -> Option<String> {
    text.map(name).filter(|name| !name.is_empty())
}

/// Text without white space around it, or nothing if nothing is left.
pub fn trimmed(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(Into::into)
}

/// Names, each once, in the order of the alphabet.
pub fn set(names: &[String]) -> Vec<String> {
    let names: std::collections::BTreeSet<_> =
        names.iter().map(|text| name(text)).filter(|name| !name.is_empty()).collect();
    names.into_iter().collect()
}

/// A host's name or address, with or without a port; nothing if it is none. A scheme in front is left away.
pub fn domain(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).to_lowercase();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
    if let Ok(address) = bare.parse::<std::net::Ipv6Addr>() {
        return Some(address.to_string());
    }
    let (host, port) = text.rsplit_once(':').map_or((text.as_str(), None), |(host, port)| (host, Some(port)));
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(label),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (fits && port_fits).then_some(text)
}

fn label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A name that can stand in a file's name and in a header.
pub fn file(text: &str) -> String {
    let folded =
        text.chars().map(|sign| if sign.is_ascii_alphanumeric() || "-_.@+=".contains(sign) { sign } else { '_' });
    folded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(name("Zoë \"O'Neil\", 100% <x>"), "ZoëONeil100x");
        assert_eq!(name("a.b@c-d_e"), "a.b@c-d_e");
        assert_eq!(set(&["b".into(), "a".into(), "b ".into(), " ".into()]), ["a", "b"]);
    }

    #[test]
    fn domains() {
        for (text, clean) in [
            (" https://VPN.Example.org:444 ", Some("vpn.example.org:444")),
            ("203.0.113.9", Some("203.0.113.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
            ("-x.org", None),
            ("a..b", None),
            ("x y", None),
            ("x:0", None),
            ("", None),
        ] {
            assert_eq!(domain(text).as_deref(), clean, "{text}");
        }
    }
}
