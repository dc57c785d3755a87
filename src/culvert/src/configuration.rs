//! The configuration file and the command line, put together. All faults are told at once, with file and line.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::arguments::{Given, Output};
use crate::print::print;
use crate::settings::Settings;

/// The configuration file that is read if none is named.
const FILE: &str = "/etc/culvert/culvert.toml";

/// Something that did not work, in one line or a few, for people.
#[derive(Debug)]
pub enum Trouble {
    /// It failed.
    Failed(String),
    /// The configuration is at fault.
    Configuration(Vec<String>),
    /// There is no appliance to talk to.
    NotRunning(String),
}

impl Trouble {
    /// The exit code that says the same.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Configuration(_) => 2,
            Self::NotRunning(_) => 3,
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) | Self::NotRunning(what) => f.write_str(what),
            Self::Configuration(faults) => f.write_str(&faults.join("\nculvert: ")),
        }
    }
}

/// The settings.
///
/// # Errors
///
/// All that is wrong with them.
pub fn settings(given: &Given) -> Result<Settings, Trouble> {
    let mut settings = Settings::default();
    let mut faults = Vec::new();
    match &given.config {
        Some(file) => read(file, &mut settings, &mut faults),
        None if Path::new(FILE).exists() => read(Path::new(FILE), &mut settings, &mut faults),
        None => {}
    }
    let flags = [
        ("state", &given.state),
        ("listen", &given.listen),
        ("redirect", &given.redirect),
        ("store", &given.store),
        ("log", &given.log),
    ];
    for (name, value) in flags {
        let fault = value.as_ref().and_then(|value| settings.set(name, value).err());
        faults.extend(fault.map(|fault| format!("--{name}: {fault}")));
    }
    settings.headless |= given.headless;
    faults.extend(settings.clash());
    if faults.is_empty() { Ok(settings) } else { Err(Trouble::Configuration(faults)) }
}

fn read(file: &Path, settings: &mut Settings, faults: &mut Vec<String>) {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return faults.push(format!("{}: can't be read: {error}", file.display())),
    };
    let mut fault = |offset: usize, what: String| {
        let line = text[..offset.min(text.len())].matches('\n').count() + 1;
        faults.push(format!("{}:{line}: {what}", file.display()));
    };
    let (table, malformed) = DeTable::parse_recoverable(&text);
    for error in &malformed {
        fault(error.span().map_or(0, |span| span.start), error.message().to_string());
    }
    for (name, value) in table.get_ref() {
        if let Err(what) = take(settings, name.get_ref(), value) {
            fault(name.span().start, format!("{}: {what}", name.get_ref()));
        }
    }
}

fn take(settings: &mut Settings, name: &str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
    if !Settings::NAMES.contains(&name) {
        return Err(format!("unknown setting; there are {}", Settings::NAMES.join(", ")));
    }
    match (name, value.get_ref()) {
        ("headless", DeValue::Boolean(headless)) => settings.headless = *headless,
        ("headless", other) => return Err(format!("expected true or false, not a {}", other.type_str())),
        (_, DeValue::String(text)) => return settings.set(name, text),
        (_, other) => return Err(format!("expected text in quotes, not a {}", other.type_str())),
    }
    Ok(())
}

/// `culvert check`.
///
/// # Errors
///
/// All that is wrong with the configuration.
pub fn check(given: &Given, output: Output) -> Result<ExitCode, Trouble> {
    let faults = match settings(given) {
        Ok(_) => Vec::new(),
        Err(Trouble::Configuration(faults)) => faults,
        Err(other) => return Err(other),
    };
    match output {
        Output::Json => print(&format!("{}\n", serde_json::json!({ "good": faults.is_empty(), "faults": faults })))?,
        Output::Text if faults.is_empty() => print("The configuration is good.\n")?,
        Output::Text => return Err(Trouble::Configuration(faults)),
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_with_their_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("culvert.toml");
        std::fs::write(&file, "listen = \"0.0.0.0:99999\"\n\ncolour = \"red\"\nheadless = \"yes\"\nlog = = 3\n")
            .expect("written");
        let given = Given { config: Some(file.clone()), redirect: Some("on".into()), ..Given::default() };
        let Err(Trouble::Configuration(faults)) = settings(&given) else { panic!("five faults") };
        let at = |line: u32| format!("{}:{line}: ", file.display());
        for start in [at(1) + "listen", at(3) + "colour", at(4) + "headless", at(5), "--redirect".into()] {
            assert!(faults.iter().any(|fault| fault.starts_with(&start)), "{start} in {faults:#?}");
        }
    }

    #[test]
    fn the_command_line_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("culvert.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:8443\"\nredirect = \"off\"\nheadless = true\n").expect("written");
        let given = Given { config: Some(file), listen: Some("127.0.0.1:9443".into()), ..Given::default() };
        let settings = settings(&given).expect("a good configuration");
        assert_eq!(settings.listen.port(), 9443);
        assert_eq!((settings.redirect, settings.headless), (None, true));
    }
}
