//! What the queue does for users: keys, Diffie-Hellman parameters, users by the thousand, how soon a job begins, and what filling the pools costs those
//! who are being served.

mod bulk;
mod dh;
mod keys;
mod refill;
mod start;

use anyhow::Result;
use culvert_tests::namespace::Town;
use culvert_tests::story::Story;

use crate::base::{setup, users_from_the_pool};
use crate::report::Report;

pub fn measure() -> Result<Report> {
    let mut report = Report::default();
    users_from_the_pool(&mut report)?;
    dh::measure(&mut report)?;
    let story = Story::begin(Town::new()?, setup("embedded"))?;
    refill::measure(&mut report, &story)?;
    drop(story);
    let story = Story::begin(Town::new()?, setup("embedded"))?;
    keys::measure(&mut report, &story)?;
    drop(story);
    start::measure(&mut report)?;
    bulk::measure(&mut report)?;
    Ok(report)
}
