//! The bus: the only process that touches the database.

pub mod store;
