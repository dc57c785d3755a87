//! The REST contract: one declaration per route, from which the proxy has its parser and the api its handler types.
//!
//! The proxy asks [`find`] which route a request is for. What goes inward is rebuilt from the parsed values: the path
//! ([`Found::path`]), the listed query parameters ([`Route::query`]) and the body ([`Route::reencode`]), so no byte of
//! the client's gets past it that did not go through a static type.
//!
//! The api implements a handler per [`Endpoint`]: the marker type names the types of path, query, body and reply.
//! [`Route::name`] is the index of a table of handlers, [`ROUTES`] what such a table must cover.
//!
//! ```
//! use culvert_contract::{Body, Endpoint, Method, OrganizationCreate, find};
//!
//! let found = find(Method::Post, "/organization").expect("the route is listed");
//! assert_eq!(found.route.name, OrganizationCreate::ROUTE.name);
//! let body = found.route.reencode(br#"{"NAME": "Acme", "auth_api": null, "colour": "red"}"#).expect("it fits its type");
//! assert_eq!(body, br#"{"name":"Acme"}"#);
//! let change = <OrganizationCreate as Endpoint>::Body::decode(&body).expect("what was encoded decodes");
//! assert_eq!(change.name, "Acme");
//! let fault = found.route.reencode(br#"{"name": 5}"#).expect_err("a number is no text");
//! assert_eq!(fault.to_string(), "name: expected text");
//! ```
//!
//! A route that does not say who may use it does not compile:
//!
//! ```compile_fail
//! culvert_contract::routes! {
//!     /// Anybody?
//!     Open: Get "/open", path (), query (), body (), reply ();
//! }
//! ```

pub mod body;
mod fault;
mod find;
mod list;
mod path;
pub mod query;
pub mod reply;
mod route;
mod secret;
mod settings;
mod text;

pub use body::Body;
pub use fault::Fault;
pub use find::{Allow, Found, Missed, find, methods};
pub use list::*;
pub use path::{Code, JobAction, LongCode, Operation, Parameter, Path, RouteNetwork, ShortCode};
pub use query::Query;
pub use reply::Reply;
#[doc(hidden)]
pub use route::places as __places;
pub use route::{Access, Endpoint, Method, Route};
pub use secret::Secret;
