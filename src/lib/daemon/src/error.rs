//! Why a process did not start.

use std::process::ExitCode;

/// Why a process did not start, or ended. Each text says what happened and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the process was told makes no sense: starting it again will not help. Exit code 2.
    #[error("{0}")]
    Configuration(String),
    /// Something that was handed to the process is missing or of the wrong kind. Exit code 1.
    #[error("{0}")]
    Start(String),
    /// A system call failed. Exit code 1.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn system(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::System { doing: doing.into(), source: source.into() }
    }

    /// What the process exits with: 2 tells the supervisor not to start it again.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) => ExitCode::from(2),
            Self::Start(_) | Self::System { .. } => ExitCode::FAILURE,
        }
    }
}

impl From<culvert_link::Error> for Error {
    fn from(error: culvert_link::Error) -> Self {
        Self::Start(error.to_string())
    }
}
