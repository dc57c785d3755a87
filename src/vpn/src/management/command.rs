//! Commands to OpenVPN. Each is one block of bytes that is written at once: half a block would swallow what follows.

use std::fmt::Write as _;

use super::event::Signal;

/// A command, or a pair that belongs together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ends whatever a controller before us left half written. Answered by an error if there was nothing.
    Finish,
    /// Sets the level of the notices' environments to a number that the answer repeats, and back to all of it: from
    /// that answer on, answers are to our own commands. Two answers.
    Mark(u32),
    /// Start without waiting for a controller, now and after a restart. Two answers.
    Release,
    /// Tell of changes of state, and the present one. An answer, then one that ends with [`super::Event::End`].
    Watch,
    /// List the clients.
    Status,
    /// Let a client in.
    Allow {
        /// The client.
        client: u64,
        /// The number of its key.
        key: u64,
        /// OpenVPN's options for it, one in each line.
        options: Vec<String>,
    },
    /// Let a client in again: its options stay.
    Renew {
        /// The client.
        client: u64,
        /// The number of its new key.
        key: u64,
    },
    /// Do not let a client in, and tell it why.
    Deny {
        /// The client.
        client: u64,
        /// The number of its key.
        key: u64,
        /// For the log, and for the client.
        reason: &'static str,
    },
    /// End a client's connection.
    Kill {
        /// The client.
        client: u64,
        /// Whether it is not to come again by itself.
        halt: bool,
    },
    /// Signal OpenVPN.
    Signal(Signal),
}

/// What an answer is the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// To nothing that matters.
    Plain,
    /// The list of clients, in several lines unless it is an error.
    Status,
    /// The present state, likewise.
    State,
}

impl Command {
    /// What is written.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        let written = match self {
            Self::Finish => write!(text, "\nEND\n"),
            Self::Mark(number) => write!(text, "env-filter {number}\nenv-filter 0\n"),
            Self::Release => write!(text, "hold off\nhold release\n"),
            Self::Watch => write!(text, "state on\nstate\n"),
            Self::Status => writeln!(text, "status 3"),
            Self::Allow { client, key, options } => {
                let options: String = options.iter().map(|option| line(option) + "\n").collect();
                write!(text, "client-auth {client} {key}\n{options}END\n")
            }
            Self::Renew { client, key } => writeln!(text, "client-auth-nt {client} {key}"),
            Self::Deny { client, key, reason } => {
                writeln!(text, "client-deny {client} {key} \"{reason}\" \"{reason}\"")
            }
            Self::Kill { client, halt } => {
                writeln!(text, "client-kill {client}{}", if *halt { " HALT" } else { "" })
            }
            Self::Signal(Signal::Term) => writeln!(text, "signal SIGTERM"),
        };
        written.expect("writing to a string does not fail");
        text.into_bytes()
    }

    /// The answers that will come.
    #[must_use]
    pub fn answers(&self) -> &'static [Label] {
        match self {
            Self::Finish
            | Self::Allow { .. }
            | Self::Renew { .. }
            | Self::Deny { .. }
            | Self::Kill { .. }
            | Self::Signal(_) => &[Label::Plain],
            Self::Mark(_) | Self::Release => &[Label::Plain, Label::Plain],
            Self::Watch => &[Label::Plain, Label::State],
            Self::Status => &[Label::Status],
        }
    }
}

/// An option is one line, whatever is in it.
fn line(option: &str) -> String {
    option.chars().filter(|sign| !sign.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_with_its_end() {
        let options = vec!["ifconfig-push 10.0.0.2 255.0.0.0".into(), "push \"x\nEND\n\"".into()];
        let bytes = Command::Allow { client: 3, key: 4, options }.bytes();
        assert_eq!(
            String::from_utf8(bytes).expect("text"),
            "client-auth 3 4\nifconfig-push 10.0.0.2 255.0.0.0\npush \"xEND\"\nEND\n"
        );
    }
}
