//! Where records are kept, where `culvert join` and `culvert leave` decide that: a file of root's in the state folder, read
//! each time that the bus is started. Without it the store is embedded, and the bus reaches no network.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::arguments::Settings;

/// What `--store` says for that.
pub const CHOSEN: &str = "chosen";

const FILE: &str = "cluster";

/// The words that the file may hold: what the bus does with the records of its embedded store on the way.
const WORDS: [&str; 3] = ["import", "join", "export"];

/// The settings with the store of this moment.
pub fn resolve(settings: &Settings) -> Result<Settings> {
    let mut now = settings.clone();
    if settings.store == CHOSEN {
        now.transfer = read(settings)?;
        now.store = match now.transfer {
            None => "embedded".into(),
            Some(_) => format!("@{}", settings.state.join("bus/uri").display()),
        };
    }
    Ok(now)
}

fn read(settings: &Settings) -> Result<Option<String>> {
    let path = settings.state.join(FILE);
    let wrong =
        |why: &str| Error::other(format!("{}: {why}: run `culvert join` or `culvert leave` again", path.display()));
    let mut file = match File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != 0 {
        return Err(wrong("this is no file of root's"));
    }
    let mut word = String::new();
    (&mut file).take(64).read_to_string(&mut word)?;
    let word = word.trim();
    if WORDS.contains(&word) { Ok(Some(word.into())) } else { Err(wrong("it holds an unknown word")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn settings(state: &std::path::Path, store: &str) -> Settings {
        let line = format!("--state {} --run /r --bin /b --listen 0.0.0.0:443 --store {store}", state.display());
        Settings::read(line.split_whitespace().map(Into::into)).expect("a good line")
    }

    #[test]
    fn a_file_of_roots_decides() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (file, chosen) = (folder.path().join(FILE), settings(folder.path(), CHOSEN));
        let resolved = || resolve(&chosen).map(|now| (now.store, now.transfer));
        assert_eq!(resolved().expect("there is none"), ("embedded".into(), None));
        std::fs::write(&file, "import\n").expect("it can be written");
        let uri = format!("@{}", folder.path().join("bus/uri").display());
        assert_eq!(resolved().expect("it is good"), (uri, Some("import".into())));
        assert_eq!(resolve(&settings(folder.path(), "embedded")).expect("it is not asked").store, "embedded");
        std::fs::write(&file, "whatever").expect("it can be written");
        assert!(resolved().is_err());
        std::os::unix::fs::chown(&file, Some(1234), None).expect("the tests are root");
        std::fs::write(&file, "import").expect("it can be written");
        assert!(resolved().is_err(), "not of root's");
        std::fs::rename(&file, folder.path().join("other")).expect("it can be moved");
        symlink(folder.path().join("other"), &file).expect("it can be linked");
        assert!(resolved().is_err(), "not a link");
    }
}
