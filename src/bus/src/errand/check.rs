//! Whether a database can be used, step by step.

use std::error::Error;

use culvert_wire::errand::Report;

use super::Reporter;
use crate::store::mongo::{Finding, check};

/// Checks a URI.
///
/// # Errors
///
/// The step that failed, and what to do.
pub async fn run(uri: &str, reporter: &mut Reporter) -> Result<String, Box<dyn Error>> {
    let mut all_good = true;
    let tell = |Finding { step, good, text }| {
        all_good &= good;
        reporter.tell(&Report::Step { name: step.to_string(), good, text });
    };
    check(uri, tell).await?;
    let but = if all_good { "" } else { ", though not everything is well" };
    Ok(format!("the database can be used{but}"))
}
