//! The api: who may do what, and doing it. All state is records of the bus, so that any api of a cluster can answer any
//! request.
//!
//! [`exchange`] takes a request apart, [`routes`] says who answers it, [`caller`] who asks. Each noun of the contract has
//! its module. [`event`] tells consoles of changes, [`command`] answers `culvert`, health checks and metrics on the local
//! socket, [`terms`] gives the proxy its certificate and limits.

pub mod administrator;
mod adopt;
pub mod answer;
pub mod api;
pub mod calendar;
pub mod caller;
pub mod certificate;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod counters;
pub mod crl;
pub mod event;
pub mod exchange;
pub mod filter;
pub mod first;
pub mod host;
pub mod limiter;
mod metrics;
pub mod organization;
pub mod overview;
pub mod page;
pub mod password;
pub mod process;
pub mod profile;
pub mod random;
pub mod recall;
pub mod renewal;
pub mod routes;
pub mod server;
pub mod session;
pub mod settings;
pub mod signature;
mod store;
pub mod take;
pub mod terms;
pub mod user;
pub mod work;

/// What search engines are told.
fn robots() -> &'static str {
    "User-agent: *\nDisallow: /\n"
}
