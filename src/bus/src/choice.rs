//! Which store: the embedded one, or the database whose URI stands in a file.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use culvert_daemon::Error;

/// A database's URI. It may have a password in it, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

impl Uri {
    /// The text, for the driver alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uri(..)")
    }
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The embedded one.
    Embedded,
    /// The database at this URI.
    Mongo(Uri),
}

impl Choice {
    /// Reads the option `--store`: `embedded`, which is also the default, or `@FILE`.
    ///
    /// # Errors
    ///
    /// It is something else, or the file cannot be used; says what to do.
    pub fn read(option: Option<&str>) -> Result<Self, Error> {
        match option.unwrap_or("embedded") {
            "embedded" => Ok(Self::Embedded),
            // The value is not repeated: it may be a URI with a password.
            other => match other.strip_prefix('@') {
                Some(file) => read_uri(Path::new(file)).map(Self::Mongo).map_err(Error::Configuration),
                None => Err(Error::Configuration(
                    "--store: neither `embedded` nor `@` with the name of a file that holds a MongoDB URI".into(),
                )),
            },
        }
    }
}

/// What is to be moved between the embedded store and the database, before this host serves as usual. Once that is done
/// there is nothing left to do, however often it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// The records of the embedded store go into the database.
    Import,
    /// They are left behind.
    Join,
    /// This host leaves the database, with the records if it is the only one.
    Export,
}

impl Move {
    /// Reads the option `--transfer`.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn read(option: Option<&str>) -> Result<Option<Self>, Error> {
        Ok(Some(match option {
            None => return Ok(None),
            Some("import") => Self::Import,
            Some("join") => Self::Join,
            Some("export") => Self::Export,
            Some(_) => {
                return Err(Error::Configuration("--transfer: this is neither import nor join nor export".into()));
            }
        }))
    }
}

fn read_uri(file: &Path) -> Result<Uri, String> {
    let name = file.display();
    let failed = |error| format!("the file {name} with the database's URI cannot be read: {error}");
    let text = fs::read_to_string(file).map_err(failed)?;
    let mode = fs::metadata(file).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "the file {name} holds the database's URI and may be read by others: run `chmod 600 {name}`"
        ));
    }
    let text = text.trim();
    if !text.starts_with("mongodb://") && !text.starts_with("mongodb+srv://") {
        return Err(format!("the file {name} does not hold a URI that begins with mongodb:// or mongodb+srv://"));
    }
    Ok(Uri(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_never_shown() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("uri");
        let option = format!("@{}", file.display());
        let read = || Choice::read(Some(&option)).map_err(|error| error.to_string());
        assert!(read().expect_err("it is not there").contains("cannot be read"));
        fs::write(&file, "mongodb://me:secret@db/x\n").expect("it can be written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert!(read().expect_err("others may read it").contains("chmod 600"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        let Ok(Choice::Mongo(uri)) = read() else { panic!("it is good") };
        assert_eq!(uri.reveal(), "mongodb://me:secret@db/x");
        assert!(!format!("{uri:?}").contains("secret"));
        fs::write(&file, "secret").expect("it can be written");
        assert!(!read().expect_err("that is no URI").contains("secret"));
        let error = Choice::read(Some("mongodb://me:secret@db/x")).expect_err("not on the command line");
        assert!(!error.to_string().contains("secret"));
        assert_eq!(Choice::read(None).ok(), Some(Choice::Embedded));
    }
}
