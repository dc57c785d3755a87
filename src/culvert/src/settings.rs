//! The settings of `culvert run`: each value checked, all faults told at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The settings, all good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder to keep state in, absolute.
    pub state: PathBuf,
    /// Where the console and the API listen.
    pub listen: SocketAddr,
    /// Where plain HTTP is sent on to HTTPS.
    pub redirect: Option<SocketAddr>,
    /// Where records are kept.
    pub store: Store,
    /// Whether there is no console and no API.
    pub headless: bool,
    /// What to log.
    pub log: String,
}

/// Where records are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Store {
    /// Where `culvert join` and `culvert leave` put them: at first in a file in the state folder.
    Chosen,
    /// In a file in the state folder.
    Embedded,
    /// In the MongoDB at this URI, which may hold a password.
    Uri(String),
    /// In the MongoDB whose URI stands in this file, with the URI.
    File(PathBuf, String),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Chosen => "chosen",
            Self::Embedded => "embedded",
            Self::Uri(_) => "a MongoDB URI",
            Self::File(..) => "a MongoDB URI in a file",
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state: Self::STATE.into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 443)),
            redirect: Some(SocketAddr::from(([0, 0, 0, 0], 80))),
            store: Store::Chosen,
            headless: false,
            log: "info".into(),
        }
    }
}

impl Settings {
    /// The usual state folder.
    pub const STATE: &'static str = "/var/lib/culvert";

    /// The names of all settings, as in the configuration file.
    pub const NAMES: [&'static str; 6] = ["state", "listen", "redirect", "store", "headless", "log"];

    /// Takes a textual setting.
    ///
    /// # Errors
    ///
    /// What is expected instead. Nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "state" => self.state = folder(value)?,
            "listen" => self.listen = address(value)?,
            "redirect" => self.redirect = if value == "off" { None } else { Some(address(value)?) },
            "store" => self.store = store(value)?,
            "log" => self.log = level(value)?,
            _ => return Err(format!("unknown setting; there are {}", Self::NAMES.join(", "))),
        }
        Ok(())
    }

    /// What is wrong with the settings together.
    #[must_use]
    pub fn clash(&self) -> Option<String> {
        let same = self.redirect.is_some_and(|redirect| redirect.port() == self.listen.port());
        (same && !self.headless).then(|| {
            format!("listen and redirect both name port {}: choose another, or redirect \"off\"", self.listen.port())
        })
    }

    /// The run folder that belongs to a state folder (docs/decisions/0001-shape.md).
    #[must_use]
    pub fn run_folder(state: &Path) -> PathBuf {
        if state == Path::new(Self::STATE) {
            return "/run/culvert".into();
        }
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = state.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
        format!("/run/culvert-{hash:016x}").into()
    }
}

/// An absolute path without dots, so that one folder has one name.
fn folder(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("expected a folder".into());
    }
    let path = std::path::absolute(value).map_err(|error| error.to_string())?;
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err("expected a folder without \"..\"".into());
    }
    Ok(path)
}

fn address(value: &str) -> Result<SocketAddr, String> {
    match value.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(format!("expected an address and a port as in 0.0.0.0:443 or [::]:443, not \"{value}\"")),
    }
}

fn store(value: &str) -> Result<Store, String> {
    if value == "embedded" {
        return Ok(Store::Embedded);
    }
    if let Some(file) = value.strip_prefix('@') {
        let file = folder(file)?;
        let unread = |error| format!("{}: can't be read: {error}; it is to hold the database's URI", file.display());
        let uri = std::fs::read_to_string(&file).map_err(unread)?.trim().to_string();
        return match fault(&uri) {
            None => Ok(Store::File(file, uri)),
            Some(fault) => Err(format!("{} {fault}", file.display())),
        };
    }
    match fault(value) {
        None => Ok(Store::Uri(value.into())),
        // What was given is not repeated: it may hold a password.
        Some(fault) if value.starts_with("mongodb") => Err(format!("this URI {fault}")),
        Some(_) => {
            Err("expected \"embedded\", a URI that begins with mongodb://, or @FILE with the URI in that file".into())
        }
    }
}

/// What is wrong with a database's URI, as far as it is seen without asking anybody. The bus looks closer.
fn fault(uri: &str) -> Option<&'static str> {
    let rest = uri.strip_prefix("mongodb://").or_else(|| uri.strip_prefix("mongodb+srv://"));
    let Some(rest) = rest else { return Some("does not begin with mongodb:// or mongodb+srv://") };
    let hosts = rest.split(['/', '?']).next().unwrap_or_default();
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    let nameless = |host: &str| host.is_empty() || host.starts_with(':');
    hosts
        .split(',')
        .any(nameless)
        .then_some("names no host: write mongodb://USER:PASSWORD@HOST:PORT/DATABASE?replicaSet=NAME")
}

fn level(value: &str) -> Result<String, String> {
    match value {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(value.into()),
        _ => Err(format!("expected error, warn, info, debug or trace, not \"{value}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_values_change_nothing() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("listen", "443"),
            ("listen", "0.0.0.0:0"),
            ("redirect", "on"),
            ("store", "mysql://x"),
            ("store", "mongodb://"),
            ("store", "mongodb:///culvert"),
            ("store", "mongodb://u:p@/culvert"),
            ("store", "mongodb://a,,b/culvert"),
            ("store", "@/no/such/file"),
            ("log", "loud"),
            ("state", ""),
            ("state", "/var/../etc"),
            ("colour", "red"),
        ] {
            assert!(settings.set(name, value).is_err(), "{name} {value}");
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn a_store_that_is_none_is_not_repeated() {
        let told = Settings::default().set("store", "mongo://user:secret@db").expect_err("no such scheme");
        assert!(!told.contains("secret"));
        let told = Settings::default().set("store", "mongodb://user:secret@/db").expect_err("no host");
        assert!(!told.contains("secret"));
    }

    #[test]
    fn a_store_in_a_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("uri");
        std::fs::write(&file, "mongodb://u:p@[::1]:27017,b/culvert?replicaSet=rs0\n").expect("written");
        let value = format!("@{}", file.display());
        let mut settings = Settings::default();
        settings.set("store", &value).expect("a good file");
        assert!(matches!(&settings.store, Store::File(_, uri) if uri.ends_with("rs0")));
        std::fs::write(&file, "secret").expect("written");
        let told = settings.set("store", &value).expect_err("no URI");
        assert!(told.contains("uri does not begin") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn run_folders() {
        assert_eq!(Settings::run_folder(Path::new("/var/lib/culvert")), Path::new("/run/culvert"));
        // FNV-1a 64 of "a" is af63dc4c8601ec8c (draft-eastlake-fnv, test vectors).
        assert_eq!(Settings::run_folder(Path::new("a")), Path::new("/run/culvert-af63dc4c8601ec8c"));
    }

    #[test]
    fn two_listeners_on_one_port() {
        let mut settings = Settings::default();
        settings.set("redirect", "0.0.0.0:443").expect("an address");
        assert!(settings.clash().is_some());
    }
}
