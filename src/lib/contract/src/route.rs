//! What a route is, and the macro that declares routes.

use crate::list::RouteName;
use crate::{Body, Fault, Path, Query, Reply};

/// The methods that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// The method's name in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// The method of a request; nothing if no route has it.
    #[must_use]
    pub fn of(method: &http::Method) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Delete].into_iter().find(|known| known.name() == method.as_str())
    }
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Anybody.
    None,
    /// An administrator by session cookie or signature; no CSRF token is asked for, so nothing changes by it.
    Session,
    /// An administrator by session cookie and CSRF token, or by signature.
    Admin,
    /// As [`Access::Admin`], who is a super user besides.
    SuperUser,
    /// Whoever knows the path: it has an unguessable code in it.
    Capability,
}

/// A declared route, without its types.
#[derive(Debug)]
pub struct Route {
    /// Its name, and its place in a table of handlers.
    pub name: RouteName,
    /// What it does, for people.
    pub about: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path, each parameter as `{name}`.
    pub pattern: &'static str,
    /// Who may use it.
    pub access: Access,
    /// The names of its query parameters.
    pub parameters: &'static [&'static str],
    /// Whether it takes a JSON body.
    pub takes_body: bool,
    /// The names of the body's fields, if it is an object or a list of objects.
    pub fields: &'static [&'static str],
    pub(crate) canonical: fn(&[&str]) -> Option<String>,
    pub(crate) query: fn(&str) -> Result<String, Fault>,
    pub(crate) reencode: fn(&[u8]) -> Result<Vec<u8>, Fault>,
    pub(crate) examples: &'static [&'static [&'static str]],
}

impl Route {
    /// Whether this decoded path is one of the route's.
    #[must_use]
    pub fn claims(&self, path: &str) -> bool {
        crate::find::captures(self.pattern, path).is_some_and(|texts| (self.canonical)(texts.as_slice()).is_some())
    }

    /// Paths of this route, one for each combination of example parameters: for tests that try every route.
    #[must_use]
    pub fn examples(&self) -> Vec<String> {
        let mut paths = vec![String::new()];
        let mut places = self.examples.iter();
        for part in self.pattern.split_inclusive(['{', '}']) {
            let texts: &[&str] = match part.strip_suffix('}') {
                Some(_) => places.next().expect("a pattern has as many places as the path has parameters"),
                None => &[part.trim_end_matches('{')],
            };
            paths = paths.iter().flat_map(|path| texts.iter().map(move |text| format!("{path}{text}"))).collect();
        }
        paths
    }

    /// The listed parameters of this query, encoded anew; empty if there is none.
    ///
    /// # Errors
    ///
    /// One does not fit its type.
    pub fn query(&self, query: &str) -> Result<String, Fault> {
        (self.query)(query)
    }

    /// The body, parsed into the route's type and encoded anew. A route without a body ignores what was sent.
    ///
    /// # Errors
    ///
    /// It is no JSON, or a value does not fit its type.
    pub fn reencode(&self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        (self.reencode)(body)
    }
}

/// A route with its types.
pub trait Endpoint: Send + Sync + 'static {
    /// The route.
    const ROUTE: &'static Route;
    /// The parameters in its path, a tuple in their order.
    type Path: Path;
    /// Its query parameters.
    type Query: Query;
    /// Its body.
    type Body: Body;
    /// What it answers when it succeeds.
    type Reply: Reply;

    /// The parameters in this path; nothing if it is not one of this route.
    #[must_use]
    fn parse_path(path: &str) -> Option<Self::Path> {
        crate::find::captures(Self::ROUTE.pattern, path).and_then(|texts| Self::Path::parse(texts.as_slice()))
    }

    /// The path with these parameters.
    #[must_use]
    fn path(parameters: &Self::Path) -> String {
        parameters.fill(Self::ROUTE.pattern)
    }
}

/// The number of places for parameters in a pattern.
#[doc(hidden)]
#[must_use]
pub const fn places(pattern: &str) -> usize {
    let (bytes, mut at, mut count) = (pattern.as_bytes(), 0, 0);
    while at < bytes.len() {
        count += (bytes[at] == b'{') as usize;
        at += 1;
    }
    count
}

/// Declares routes: marker types, [`Endpoint`]s, `RouteName` and `ROUTES`.
#[doc(hidden)]
#[macro_export]
macro_rules! routes {
    ($(
        #[doc = $about:literal]
        $name:ident: $method:ident $pattern:literal, path $path:ty, access $access:ident, query $query:ty, body $body:ty, reply $reply:ty;
    )+) => {
        /// The names of all routes; as a number, a route's place in [`ROUTES`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RouteName { $(#[doc = $about] $name),+ }

        /// All routes.
        pub static ROUTES: &[&$crate::Route] = &[$(<$name as $crate::Endpoint>::ROUTE),+];

        $(
            #[doc = $about]
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            const _: () = assert!(
                $crate::__places($pattern) == <$path as $crate::Path>::COUNT,
                "a pattern has as many places as the path has parameters"
            );

            impl $crate::Endpoint for $name {
                const ROUTE: &'static $crate::Route = &$crate::Route {
                    name: RouteName::$name,
                    about: $about,
                    method: $crate::Method::$method,
                    pattern: $pattern,
                    access: $crate::Access::$access,
                    parameters: <$query as $crate::Query>::NAMES,
                    takes_body: <$body as $crate::Body>::SENT,
                    fields: <$body as $crate::Body>::FIELDS,
                    canonical: |texts| Some($crate::Path::fill(&<$path as $crate::Path>::parse(texts)?, $pattern)),
                    query: |query| Ok($crate::Query::encode(&<$query as $crate::Query>::parse(query)?)),
                    reencode: |body| Ok($crate::Body::encode(&<$body as $crate::Body>::decode(body)?)),
                    examples: <$path as $crate::Path>::EXAMPLES,
                };
                type Path = $path;
                type Query = $query;
                type Body = $body;
                type Reply = $reply;
            }
        )+
    };
}
