//! Whether a database can be used, step by step.

use std::error::Error;

use culvert_model::HostId;

use super::Reporter;
use crate::store::mongo::Mongo;

/// Checks a URI.
///
/// # Errors
///
/// The step that failed, and what to do.
pub async fn run(uri: &str, _reporter: &mut Reporter) -> Result<String, Box<dyn Error>> {
    Mongo::connect(uri, HostId::new()).await?;
    Ok("the database can be used".into())
}
