//! What a process was told on its command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use culvert_model::Role;
use lexopt::prelude::*;

use crate::Error;

/// The options that a role knows beside `--run`, `--state` and `--log`: with a value, and without.
const fn known(role: Role) -> (&'static [&'static str], &'static [&'static str]) {
    match role {
        Role::Proxy => (&["api-port", "public-port"], &[]),
        Role::Api => (&["api-port", "public-port"], &["headless"]),
        Role::Bus => (&["store", "transfer"], &["errand"]),
        Role::Pools | Role::Queue | Role::Tasks | Role::Vpn => (&[], &[]),
    }
}

/// A process's own options; unknown ones were refused.
#[derive(Debug, Clone, Default)]
pub struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    /// The value of `--name VALUE`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether `--name` was given.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of `--name NUMBER`.
    ///
    /// # Errors
    ///
    /// When it is no number from 0 to 65535.
    pub fn number(&self, name: &str) -> Result<Option<u16>, Error> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Error::Configuration(format!("--{name} {text}: this is no number from 0 to 65535; give one"))
            })
        };
        self.get(name).map(parse).transpose()
    }
}

/// The whole command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) run: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) log: Option<String>,
    pub(crate) options: Options,
}

/// Reads a command line, the program's name not included.
pub(crate) fn parse(role: Role, arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, Error> {
    read(role, lexopt::Parser::from_args(arguments))
        .map_err(|error| Error::Configuration(format!("{error}; `culvert run` starts this process with what it needs")))
}

fn read(role: Role, mut parser: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    let (with_value, without) = known(role);
    let (mut run, mut state, mut log, mut values) = (None, None, None, BTreeMap::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("run") => run = Some(PathBuf::from(parser.value()?)),
            Long("state") => state = Some(PathBuf::from(parser.value()?)),
            Long("log") => log = Some(parser.value()?.string()?),
            Long(name) if with_value.contains(&name) => {
                let name = name.to_owned();
                values.insert(name, parser.value()?.string()?);
            }
            Long(name) if without.contains(&name) => {
                values.insert(name.to_owned(), String::new());
            }
            other => return Err(other.unexpected()),
        }
    }
    let run = absolute("run", run)?;
    let state = absolute("state", state)?;
    Ok(Arguments { run, state, log, options: Options { values } })
}

/// A folder that must have been given, from the root: the process does not depend on where it was started.
fn absolute(name: &str, folder: Option<PathBuf>) -> Result<PathBuf, lexopt::Error> {
    let folder = folder.ok_or_else(|| format!("--{name} is missing"))?;
    if folder.is_absolute() {
        Ok(folder)
    } else {
        Err(format!("--{name} {}: this path is not absolute", folder.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(role: Role, text: &str) -> Result<Arguments, Error> {
        parse(role, text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_role_knows_its_own_options_only() {
        let api = line(Role::Api, "--run /r --state /s --headless --api-port 9756").expect("a good line");
        assert!(api.options.flag("headless"));
        assert_eq!(api.options.number("api-port").expect("a number"), Some(9756));
        assert_eq!(api.options.number("public-port").expect("absent"), None);
        for wrong in [
            "--run /r --state /s --store x",
            "--run /r --state /s x",
            "--run /r",
            "--run r --state /s",
            "--run /r --state",
        ] {
            assert!(matches!(line(Role::Api, wrong), Err(Error::Configuration(_))), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_a_number() {
        let api = line(Role::Api, "--run /r --state /s --api-port=65536").expect("a good line");
        assert!(api.options.number("api-port").is_err());
    }
}
