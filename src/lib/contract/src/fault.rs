//! What is wrong with a body or a query.

use std::fmt;

/// A value that does not fit its type. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands, for example `port_forwarding[2].port`; `body` for the whole.
    pub field: String,
    /// What was expected there.
    pub expected: &'static str,
}

impl Fault {
    /// The whole body is wrong.
    #[must_use]
    pub fn whole(expected: &'static str) -> Self {
        Self { field: String::new(), expected }
    }

    /// The same fault, seen from the object that has the value under this name.
    #[must_use]
    pub(crate) fn under(mut self, name: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{name}{dot}{}", self.field);
        self
    }

    /// The same fault, seen from the array that has the value at this index.
    #[must_use]
    pub(crate) fn at(self, index: usize) -> Self {
        self.under(&format!("[{index}]"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "body" } else { &self.field };
        write!(f, "{field}: expected {}", self.expected)
    }
}

impl std::error::Error for Fault {}
