//! The processes: what each runs as, where, and with what.

use culvert_model::Role;
use nix::sys::signal::Signal;

use crate::arguments::Settings;

/// The TCP port of the api, inside a network namespace that only it and the proxy share.
pub const API_PORT: u16 = 9756;

/// One of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The one that stays root.
    Helper,
    /// One with a user of its own.
    Of(Role),
}

/// A network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The machine's own.
    Host,
    /// Proxy and api share it; it has a loopback interface.
    Console,
    /// Without any interface.
    Nowhere,
}

/// When a process is told to end, at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Round {
    /// First: it must not start anything new.
    First,
    /// Then: removes what was made for the first.
    Second,
    /// Then all others but the bus: they give back what they hold.
    Third,
    /// Then the bus, which tells the other hosts that this one is gone.
    Last,
}

impl Program {
    /// All that run, in the order in which they are started.
    pub fn all(settings: &Settings) -> Vec<Self> {
        let with_console = |role: &Role| !settings.headless || *role != Role::Proxy;
        let order = [Role::Bus, Role::Api, Role::Proxy, Role::Pools, Role::Queue, Role::Tasks, Role::Vpn];
        std::iter::once(Self::Helper).chain(order.into_iter().filter(with_console).map(Self::Of)).collect()
    }

    /// Its name, as in `src/<name>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Helper => "helper",
            Self::Of(role) => role.name(),
        }
    }

    /// Where it runs.
    pub fn network(self, settings: &Settings) -> Network {
        match self {
            Self::Helper => Network::Host,
            Self::Of(Role::Api | Role::Proxy) => Network::Console,
            Self::Of(Role::Bus) if settings.store != "embedded" => Network::Host,
            Self::Of(_) => Network::Nowhere,
        }
    }

    /// The names of the sockets that it gets.
    pub fn sockets(self) -> &'static [&'static str] {
        match self {
            Self::Helper => &["helper"],
            Self::Of(Role::Bus) => &["bus"],
            Self::Of(Role::Api) => &["cli", "proxy"],
            Self::Of(Role::Proxy) => &["https", "redirect"],
            Self::Of(_) => &[],
        }
    }

    /// Whether descriptors are kept for it.
    pub fn stores(self) -> bool {
        self == Self::Of(Role::Vpn)
    }

    /// Whether it waits until the helper has been ready: the guard that keeps the proxy in is the helper's.
    pub fn needs_guard(self) -> bool {
        self == Self::Of(Role::Proxy)
    }

    /// Its arguments.
    pub fn arguments(self, settings: &Settings, proxy: u32) -> Vec<String> {
        let mut all = Arguments::default();
        all.with("--run", settings.run.to_string_lossy());
        all.with("--state", settings.state.to_string_lossy());
        let ports = || std::iter::once(settings.listen).chain(settings.redirect).map(|address| address.port());
        match self {
            Self::Helper if settings.headless => {}
            Self::Helper => {
                all.with("--guard-uid", proxy.to_string());
                ports().for_each(|port| all.with("--guard-port", port.to_string()));
            }
            Self::Of(role) => {
                all.with("--log", &*settings.log);
                match role {
                    Role::Bus => {
                        all.with("--store", &*settings.store);
                        settings.transfer.iter().for_each(|word| all.with("--transfer", word));
                    }
                    Role::Api if settings.headless => all.0.push("--headless".to_owned()),
                    Role::Api | Role::Proxy => {
                        all.with("--api-port", API_PORT.to_string());
                        all.with("--public-port", settings.listen.port().to_string());
                    }
                    _ => {}
                }
            }
        }
        all.0
    }

    /// When it is told to end, and how.
    pub fn ending(self) -> (Round, Signal) {
        match self {
            Self::Of(Role::Vpn) => (Round::First, Signal::SIGTERM),
            // To the helper SIGTERM means to leave everything as it is, SIGINT to remove it.
            Self::Helper => (Round::Second, Signal::SIGINT),
            // To the bus SIGTERM means that it is started again, SIGINT that the host is gone.
            Self::Of(Role::Bus) => (Round::Last, Signal::SIGINT),
            Self::Of(_) => (Round::Third, Signal::SIGTERM),
        }
    }
}

/// Arguments with their values.
#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn with(&mut self, name: &str, value: impl Into<String>) {
        self.0.extend([name.to_owned(), value.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        let line = format!("--state /s --run /r --bin /b --listen 0.0.0.0:443 --store embedded {more}");
        Settings::read(line.split_whitespace().map(Into::into)).expect("a good line")
    }

    #[test]
    fn a_headless_member_has_no_proxy_and_no_guard() {
        let headless = settings("--headless --redirect 0.0.0.0:80");
        assert!(!Program::all(&headless).contains(&Program::Of(Role::Proxy)));
        assert!(!Program::Helper.arguments(&headless, 900).contains(&"--guard-uid".to_owned()));
        assert!(Program::Of(Role::Api).arguments(&headless, 900).contains(&"--headless".to_owned()));
    }

    #[test]
    fn the_guard_knows_both_ports() {
        let line = Program::Helper.arguments(&settings("--redirect 0.0.0.0:80"), 900).join(" ");
        assert_eq!(line, "--run /r --state /s --guard-uid 900 --guard-port 443 --guard-port 80");
    }

    #[test]
    fn the_bus_reaches_a_network_only_with_a_database_there() {
        assert_eq!(Program::Of(Role::Bus).network(&settings("")), Network::Nowhere);
        assert_eq!(Program::Of(Role::Bus).network(&settings("--store @/f")), Network::Host);
    }

    #[test]
    fn vpn_ends_before_the_helper_the_helper_before_the_rest_and_the_bus_last() {
        let round = |program: Program| program.ending().0;
        let (vpn, queue, bus) = (Program::Of(Role::Vpn), Program::Of(Role::Queue), Program::Of(Role::Bus));
        assert!(round(vpn) < round(Program::Helper) && round(Program::Helper) < round(queue));
        let others = Program::all(&settings("")).into_iter().filter(|program| *program != bus);
        assert!(others.into_iter().all(|program| round(program) < round(bus)));
    }
}
