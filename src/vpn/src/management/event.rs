//! What OpenVPN says.

use std::net::Ipv4Addr;

use super::Environment;

/// One thing that OpenVPN said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A notice about a client, with its environment.
    Client {
        /// What happened.
        notice: Notice,
        /// The client's number.
        client: u64,
        /// The number of its key; 0 where there is none.
        key: u64,
        /// What OpenVPN says of it.
        environment: Environment,
        /// Whether something of the notice is missing or was cut: nothing may be allowed on its strength.
        damaged: bool,
    },
    /// A client's address in the tunnel is known to OpenVPN.
    Address {
        /// The client's number.
        client: u64,
        /// The address.
        address: Ipv4Addr,
    },
    /// OpenVPN greets a controller.
    Info,
    /// OpenVPN waits for a controller.
    Hold,
    /// OpenVPN went into another state, by itself or as an answer to `state`.
    State {
        /// The state.
        state: State,
        /// Whether it is an answer.
        answer: bool,
    },
    /// A client of the list that `status 3` asks for.
    Row(Row),
    /// A command succeeded.
    Success(String),
    /// A command failed.
    Error(String),
    /// The end of an answer of several lines.
    End,
    /// OpenVPN ends, and says why.
    Fatal(String),
    /// Anything else.
    Other,
}

/// What happened to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It wants in.
    Connect,
    /// It has a new session key and must be asked again.
    Reauth,
    /// Its tunnel works.
    Established,
    /// It is gone.
    Disconnect,
    /// It answers a challenge; none is ever put.
    Response,
}

/// What OpenVPN is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Connected,
    /// It ends.
    Exiting,
    /// It starts.
    Other,
}

impl State {
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "CONNECTED" => Self::Connected,
            "EXITING" => Self::Exiting,
            _ => Self::Other,
        }
    }
}

/// A client in the list of `status 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub client: u64,
    /// The common name of its certificate.
    pub common_name: String,
    /// Where it comes from.
    pub real_address: String,
    /// Its address in the tunnel; nothing while nobody has let it in.
    pub address: Option<Ipv4Addr>,
    /// Since when it is connected, seconds since 1970 by this machine's clock.
    pub since: i64,
}

/// What can be sent to OpenVPN with `signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End.
    Term,
}
