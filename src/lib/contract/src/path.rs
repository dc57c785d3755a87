//! The typed parameters of paths. Each is so narrow that no two routes can claim one path, and has one spelling only, so
//! that what goes inward is the text that the client signed.

use std::fmt::{self, Display};
use std::str::FromStr;

use culvert_model::record::Period;
use culvert_model::{HostId, Id};
use ipnet::IpNet;

/// One parameter of a path: its text form is unique.
pub trait Parameter: FromStr + Display + Send + 'static {
    /// Texts of the shortest and the longest form, for tests that look for ambiguous patterns.
    const EXAMPLES: &'static [&'static str];
}

/// The parameters of a path, in their order.
pub trait Path: Sized + Send + 'static {
    /// How many there are.
    const COUNT: usize;
    /// Example texts of each.
    const EXAMPLES: &'static [&'static [&'static str]];

    /// The parameters that these texts are; nothing if one is not of its type.
    fn parse(texts: &[&str]) -> Option<Self>;

    /// The path by its pattern with these parameters filled in.
    fn fill(&self, pattern: &str) -> String;
}

fn fill(mut pattern: &str, parameters: &[&dyn Display]) -> String {
    use fmt::Write;
    let mut path = String::with_capacity(pattern.len() + 32);
    for parameter in parameters {
        let (before, rest) = pattern.split_once('{').expect("a pattern has a place for each parameter");
        let (_, after) = rest.split_once('}').expect("a place in a pattern is closed");
        path.push_str(before);
        write!(path, "{parameter}").expect("a string takes all text");
        pattern = after;
    }
    path.push_str(pattern);
    path
}

macro_rules! tuple {
    ($count:literal $($parameter:ident $place:tt)*) => {
        impl<$($parameter: Parameter),*> Path for ($($parameter,)*) {
            const COUNT: usize = $count;
            const EXAMPLES: &'static [&'static [&'static str]] = &[$($parameter::EXAMPLES),*];

            fn parse(texts: &[&str]) -> Option<Self> {
                let [$($place),*] = texts else { return None };
                Some(($($place.parse::<$parameter>().ok()?,)*))
            }

            fn fill(&self, pattern: &str) -> String {
                let ($($place,)*) = self;
                fill(pattern, &[$($place),*])
            }
        }
    };
}
tuple!(0);
tuple!(1 A a);
tuple!(2 A a B b);
tuple!(3 A a B b C c);

impl Parameter for Id {
    const EXAMPLES: &'static [&'static str] = &["5f0000000000000000000001", "000000000000000000000000"];
}

impl Parameter for HostId {
    const EXAMPLES: &'static [&'static str] = &["5f00000000000000000000000000000a", "00000000000000000000000000000000"];
}

/// The parameter is not of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMatch;

/// An unguessable code: letters and digits of ASCII, `MIN` to `MAX` of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Code<const MIN: usize, const MAX: usize>(String);

/// The code of a key link.
pub type LongCode = Code<32, 32>;
/// The code of a link that somebody types or scans.
pub type ShortCode = Code<8, 16>;

impl<const MIN: usize, const MAX: usize> Code<MIN, MAX> {
    /// The code. It is a secret: whoever has it has what it stands for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> FromStr for Code<MIN, MAX> {
    type Err = NoMatch;

    fn from_str(text: &str) -> Result<Self, NoMatch> {
        let fits = (MIN..=MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        fits.then(|| Self(text.to_owned())).ok_or(NoMatch)
    }
}

impl<const MIN: usize, const MAX: usize> Display for Code<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Code<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(code)")
    }
}

impl<const MIN: usize, const MAX: usize> Parameter for Code<MIN, MAX> {
    const EXAMPLES: &'static [&'static str] = if MAX == 32 {
        &["abcdefghijklmnopqrstuvwxyz234567", "00000000000000000000000000000000"]
    } else {
        &["aBcD2345", "00000000aaaaAAAA"]
    };
}

/// Declares what can be done with something: an enum whose variants have a word each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant),+ }

        impl FromStr for $name {
            type Err = NoMatch;

            fn from_str(text: &str) -> Result<Self, NoMatch> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(NoMatch),
                }
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }

        impl Parameter for $name {
            const EXAMPLES: &'static [&'static str] = &[$($word),+];
        }
    };
}

words! {
    /// What to do with a server.
    Operation {
        /// Let it run.
        Start = "start",
        /// End it.
        Stop = "stop",
        /// End it and let it run again.
        Restart = "restart",
    }
}

words! {
    /// What to do with a job.
    JobAction {
        /// Let a dead one be tried again.
        Retry = "retry",
        /// Remove a dead one.
        Discard = "discard",
        /// Give an open one up.
        Cancel = "cancel",
        /// Make an open one more urgent by a step.
        Raise = "raise",
    }
}

impl Parameter for Period {
    const EXAMPLES: &'static [&'static str] = &["1m", "5m", "30m", "2h", "1d"];
}

/// A route of a server, named by the network's text in lower-case hex, as [`RouteNetwork::id`] gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteNetwork {
    /// The network.
    pub network: IpNet,
    text: String,
}

impl RouteNetwork {
    /// What names the route to this network.
    #[must_use]
    pub fn id(network: IpNet) -> String {
        network.to_string().bytes().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for RouteNetwork {
    type Err = NoMatch;

    fn from_str(text: &str) -> Result<Self, NoMatch> {
        let lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if !text.len().is_multiple_of(2) || text.len() > 2 * 43 || !text.as_bytes().iter().all(lower) {
            return Err(NoMatch);
        }
        let bytes: Result<Vec<u8>, _> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16)).collect();
        let network = String::from_utf8(bytes.map_err(|_| NoMatch)?).map_err(|_| NoMatch)?;
        Ok(Self { network: network.parse().map_err(|_| NoMatch)?, text: text.to_owned() })
    }
}

impl Display for RouteNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Parameter for RouteNetwork {
    const EXAMPLES: &'static [&'static str] = &["302e302e302e302f30", "382e382e382e382f3332", "3a3a2f30"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_named_by_their_text() {
        let network: IpNet = "8.8.8.8/32".parse().expect("a network");
        assert_eq!(RouteNetwork::id(network), "382e382e382e382f3332");
        assert_eq!("382e382e382e382f3332".parse::<RouteNetwork>().map(|route| route.network), Ok(network));
        for text in ["", "3", "zz", "382E", "2e2e2f", "ff"] {
            assert_eq!(text.parse::<RouteNetwork>(), Err(NoMatch), "{text}");
        }
    }
}
