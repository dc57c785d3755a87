//! Why a sandbox could not be entered.

use std::fmt;

/// Why a sandbox could not be entered; the process must not go on.
#[derive(Debug)]
pub struct Error {
    what: String,
}

impl Error {
    pub(crate) fn new(doing: &str, why: impl fmt::Display) -> Self {
        Self { what: format!("{doing}: {why}") }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Error {}
