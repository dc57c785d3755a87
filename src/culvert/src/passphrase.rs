//! A passphrase: from a file, or from the terminal, where it is not shown.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::configuration::Trouble;

/// It protects every key and password hash of the cluster.
const SHORTEST: usize = 12;

/// What opens a backup.
///
/// # Errors
///
/// It can't be read, is too short for a new backup, or was typed differently the second time.
pub fn ask(file: Option<&Path>, new: bool) -> Result<String, Trouble> {
    let passphrase = match file {
        Some(file) => {
            let failed = |error| Trouble::Failed(format!("{}: the passphrase can't be read: {error}", file.display()));
            let mut text = String::new();
            File::open(file).and_then(|file| file.take(4096).read_to_string(&mut text)).map_err(failed)?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None => {
            let first = typed("Passphrase: ")?;
            if new && typed("Again: ")? != first {
                return Err(Trouble::Failed("the two passphrases differ: nothing was written".into()));
            }
            first
        }
    };
    if new && passphrase.chars().count() < SHORTEST {
        return Err(Trouble::Failed(format!(
            "the passphrase is shorter than {SHORTEST} characters: it protects every key of the appliance, so take a longer one"
        )));
    }
    Ok(passphrase)
}

fn typed(prompt: &str) -> Result<String, Trouble> {
    let failed = |error: &dyn std::fmt::Display| Trouble::Failed(format!("the terminal can't be asked: {error}"));
    let terminal = File::options().read(true).write(true).open("/dev/tty").ok().filter(IsTerminal::is_terminal);
    let Some(mut terminal) = terminal else {
        return Err(Trouble::Failed(
            "there is no terminal to ask for the passphrase: give --passphrase-file FILE".into(),
        ));
    };
    terminal.write_all(prompt.as_bytes()).map_err(|error| failed(&error))?;
    let before = tcgetattr(&terminal).map_err(|error| failed(&error))?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&terminal, SetArg::TCSANOW, &hidden).map_err(|error| failed(&error))?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    tcsetattr(&terminal, SetArg::TCSANOW, &before).map_err(|error| failed(&error))?;
    let _ = terminal.write_all(b"\n");
    read.map_err(|error| failed(&error))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
