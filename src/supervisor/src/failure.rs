//! Why the supervisor did not start, or ended.

use std::fmt;
use std::process::ExitCode;

/// Why the supervisor did not start, or ended: what happened and what to do, and whether starting it again could help.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// What it was told makes no sense.
    pub fn configuration(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }

    /// The machine refused something.
    pub fn machine(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// 2 for the configuration, else 1.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<culvert_link::Error> for Failure {
    fn from(error: culvert_link::Error) -> Self {
        Self::machine(error.to_string())
    }
}

impl From<culvert_sandbox::Error> for Failure {
    fn from(error: culvert_sandbox::Error) -> Self {
        Self::machine(error.to_string())
    }
}
