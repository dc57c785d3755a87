//! What the supervisor was told on its command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::choice::CHOSEN;
use crate::failure::Failure;

/// The supervisor's settings. All folders are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the appliance's state is.
    pub state: PathBuf,
    /// Where its sockets are.
    pub run: PathBuf,
    /// Where its programs are.
    pub bin: PathBuf,
    /// What the console listens on.
    pub listen: SocketAddr,
    /// What sends browsers on to the console.
    pub redirect: Option<SocketAddr>,
    /// The bus's store: `embedded`, `@FILE`, or `chosen` (see `choice`).
    pub store: String,
    /// What the bus does with the records of its embedded store on the way there.
    pub transfer: Option<String>,
    /// Whether there is no console.
    pub headless: bool,
    /// What is logged.
    pub log: String,
    /// Where to say that everything is up.
    pub ready: Option<RawFd>,
}

impl Settings {
    /// Reads a command line, the program's name not included.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let parsed = parse(lexopt::Parser::from_args(arguments));
        parsed.map_err(|error| Failure::configuration(format!("{error}; `culvert run` starts this program")))
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Settings, lexopt::Error> {
    let (mut state, mut run, mut bin, mut listen, mut store) = (None, None, None, None, None);
    let (mut redirect, mut headless, mut log, mut ready) = (None, false, "info".to_owned(), None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("state") => state = Some(absolute(parser.value()?)?),
            Long("run") => run = Some(absolute(parser.value()?)?),
            Long("bin") => bin = Some(absolute(parser.value()?)?),
            Long("listen") => listen = Some(parser.value()?.parse()?),
            Long("redirect") => redirect = address(&parser.value()?.string()?)?,
            Long("store") => store = Some(checked_store(parser.value()?.string()?)?),
            Long("headless") => headless = true,
            Long("log") => log = parser.value()?.string()?,
            Long("ready-fd") => ready = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    let missing = |name: &str| lexopt::Error::from(format!("--{name} is missing"));
    Ok(Settings {
        state: state.ok_or_else(|| missing("state"))?,
        run: run.ok_or_else(|| missing("run"))?,
        bin: bin.ok_or_else(|| missing("bin"))?,
        listen: listen.ok_or_else(|| missing("listen"))?,
        redirect,
        store: store.ok_or_else(|| missing("store"))?,
        transfer: None,
        headless,
        log,
        ready,
    })
}

fn absolute(path: OsString) -> Result<PathBuf, lexopt::Error> {
    let path = PathBuf::from(path);
    if path.is_absolute() { Ok(path) } else { Err(format!("{}: this path is not absolute", path.display()).into()) }
}

fn address(text: &str) -> Result<Option<SocketAddr>, lexopt::Error> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("--redirect {text}: this is neither ADDRESS:PORT nor off").into())
}

fn checked_store(text: String) -> Result<String, lexopt::Error> {
    // A URI may carry a password, which must not stand in the arguments of another process.
    if text == "embedded" || text == CHOSEN || text.starts_with("@/") {
        Ok(text)
    } else {
        Err("--store is neither embedded nor chosen nor @FILE".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Settings, Failure> {
        Settings::read(line.split_whitespace().map(OsString::from))
    }

    const GOOD: &str = "--state /s --run /r --bin /b --listen 0.0.0.0:443 --store embedded";

    #[test]
    fn a_good_line_is_understood() {
        let settings = read(&format!("{GOOD} --redirect [::]:80 --headless --ready-fd 7")).expect("a good line");
        assert_eq!(settings.redirect, Some("[::]:80".parse().expect("an address")));
        assert!(settings.headless && settings.ready == Some(7) && settings.log == "info");
        assert_eq!(read(&format!("{GOOD} --redirect off")).expect("a good line").redirect, None);
    }

    #[test]
    fn a_bad_line_is_refused() {
        for more in ["--redirect x", "--what", "extra", "--store mongodb://u:p@h", "--state s", "--ready-fd x"] {
            let failure = read(&format!("{GOOD} {more}")).expect_err(more).to_string();
            assert!(!failure.contains("u:p"), "{failure}");
        }
        assert!(read("--state /s --run /r --bin /b --listen 0.0.0.0:443").is_err());
    }
}
