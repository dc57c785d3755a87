//! Which route a request is for.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::text::decode;
use crate::{Method, ROUTES, Route};

/// A route and the path that leads to it.
#[derive(Debug)]
pub struct Found {
    /// The route.
    pub route: &'static Route,
    /// The path, rebuilt from the parsed parameters. It is the decoded path that the client signed.
    pub path: String,
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing has this path.
    Unknown,
    /// The path has other methods: these, as for the `Allow` header.
    WrongMethod(Allow),
}

/// A set of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allow(u8);

impl Allow {
    /// The methods by name, separated by comma and space.
    #[must_use]
    pub fn header(self) -> String {
        let all = [Method::Get, Method::Post, Method::Put, Method::Delete];
        let names: Vec<_> =
            all.into_iter().filter(|method| self.0 & 1 << *method as u8 != 0).map(Method::name).collect();
        names.join(", ")
    }
}

/// The longest path that is looked at, in bytes.
const LONGEST: usize = 512;

/// The route of this method and path (as sent, without the query).
///
/// # Errors
///
/// No route has the path, or none has it with this method.
pub fn find(method: Method, path: &str) -> Result<Found, Missed> {
    look(Some(method), path)
}

/// The methods that this path has.
#[must_use]
pub fn methods(path: &str) -> Missed {
    look(None, path).err().unwrap_or(Missed::Unknown)
}

fn look(method: Option<Method>, path: &str) -> Result<Found, Missed> {
    if path.len() > LONGEST {
        return Err(Missed::Unknown);
    }
    let path = decode(path).ok_or(Missed::Unknown)?;
    let mut allow = Allow::default();
    for route in TABLE.get(first(&path)).into_iter().flatten() {
        let Some(texts) = captures(route.pattern, &path) else { continue };
        if method == Some(route.method) {
            if let Some(path) = (route.canonical)(texts.as_slice()) {
                return Ok(Found { route, path });
            }
        } else if (route.canonical)(texts.as_slice()).is_some() {
            allow.0 |= 1 << route.method as u8;
        }
    }
    Err(if allow.0 == 0 { Missed::Unknown } else { Missed::WrongMethod(allow) })
}

/// Routes by the first segment of their paths, which is always literal.
static TABLE: LazyLock<HashMap<&'static str, Vec<&'static Route>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<_>> = HashMap::new();
    for route in ROUTES {
        table.entry(first(route.pattern)).or_default().push(*route);
    }
    table
});

fn first(path: &str) -> &str {
    path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or("")
}

/// The texts at the places of a pattern.
#[derive(Default)]
pub(crate) struct Texts<'p> {
    texts: [&'p str; 3],
    count: usize,
}

impl<'p> Texts<'p> {
    pub(crate) fn as_slice(&self) -> &[&'p str] {
        &self.texts[..self.count]
    }
}

/// The texts at the pattern's places in this path; nothing if its literal parts are not there.
pub(crate) fn captures<'p>(pattern: &str, path: &'p str) -> Option<Texts<'p>> {
    let mut found = Texts::default();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(found),
            (Some(segment), Some(text)) if segment.starts_with('{') => {
                let suffix = segment.rsplit('}').next()?;
                *found.texts.get_mut(found.count)? = text.strip_suffix(suffix)?;
                found.count += 1;
            }
            (Some(segment), Some(text)) if segment == text => {}
            _ => return None,
        }
    }
}
