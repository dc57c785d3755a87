//! What the helper is started with.

use std::path::{Path, PathBuf};

use crate::rules::Guard;

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The folder of sockets and of what lasts until the next boot.
    pub run: PathBuf,
    /// Whose connections are watched, if there is a proxy.
    pub guard: Option<Guard>,
}

impl Arguments {
    /// Reads arguments, the program's name first.
    ///
    /// # Errors
    ///
    /// What is missing or wrong, for people.
    pub fn read<I>(arguments: I) -> Result<Self, String>
    where
        I: IntoIterator<Item: Into<std::ffi::OsString>>,
    {
        use lexopt::prelude::*;
        let (mut run, mut uid, mut ports) = (None, None, Vec::new());
        let mut parser = lexopt::Parser::from_iter(arguments);
        let text = |error: lexopt::Error| format!("{error}; the supervisor starts this program, see `culvert run`");
        while let Some(argument) = parser.next().map_err(text)? {
            match argument {
                Long("run") => run = Some(folder(parser.value().map_err(text)?.into())?),
                // Every process gets it; there is nothing of the helper's in it.
                Long("state") => drop(parser.value().map_err(text)?),
                Long("guard-uid") => uid = Some(parser.value().and_then(|value| value.parse()).map_err(text)?),
                Long("guard-port") => ports.push(parser.value().and_then(|value| value.parse()).map_err(text)?),
                other => return Err(text(other.unexpected())),
            }
        }
        match (run, uid) {
            (None, _) => Err("--run is missing".to_owned()),
            (_, None) if !ports.is_empty() => Err("--guard-port needs --guard-uid".to_owned()),
            (Some(run), uid) => Ok(Self { run, guard: uid.map(|uid| Guard { uid, ports }) }),
        }
    }
}

/// The run folder's path ends up in OpenVPN's configuration, so it has no character that means something there.
fn folder(path: PathBuf) -> Result<PathBuf, String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(byte);
    if path.is_absolute() && path.as_os_str().as_encoded_bytes().iter().all(plain) && path != Path::new("/") {
        return Ok(path);
    }
    Err(format!("--run {}: expected an absolute path of letters, digits, '-', '_' and '.'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Arguments, String> {
        Arguments::read(text.split_whitespace())
    }

    #[test]
    fn as_the_supervisor_passes_them() {
        let text =
            "helper --run /run/culvert --state /var/lib/culvert --guard-uid 998 --guard-port 443 --guard-port 80";
        let guard = Some(Guard { uid: 998, ports: vec![443, 80] });
        assert_eq!(read(text), Ok(Arguments { run: "/run/culvert".into(), guard }));
        assert_eq!(read("helper --run /run/culvert"), Ok(Arguments { run: "/run/culvert".into(), guard: None }));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in ["", "--run run", "--run /", "--run /a\"b", "--run /a --guard-port 80", "--run /a --frob"] {
            assert!(read(&format!("helper {bad}")).is_err(), "{bad}");
        }
        assert!(read("helper --run /a --guard-uid 1 --guard-port 65536").is_err());
    }
}
