//! What went wrong, and during what.

use std::fmt;
use std::io;

/// A failed operation: what was being done, and what the kernel said.
#[derive(Debug)]
pub struct Error {
    doing: String,
    source: io::Error,
}

impl Error {
    /// An error for something that failed with `source`.
    pub fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { doing: doing.into(), source: source.into() }
    }

    /// An error that the kernel has no number for.
    pub(crate) fn other(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self { doing: doing.into(), source: io::Error::other(why.into()) }
    }

    /// What the kernel said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The kernel's number for it.
    #[must_use]
    pub fn number(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The text above already says what the source says; a chain would say it twice.
        None
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Adds to an error what was being done.
pub(crate) trait During<T> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::new(doing(), source))
    }
}
