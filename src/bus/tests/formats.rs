//! Two releases on one database, and the way from one format to the next: with a release of today's shapes, and one that
//! renames a field, splits one and demands a new one. Needs mongod: `make setup`.

#[path = "formats/kit.rs"]
mod kit;
#[path = "formats/migration.rs"]
mod migration;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;
#[path = "formats/shared.rs"]
mod shared;
