//! What the documents promise, measured. Each bench prints a table with the budget beside the figure and writes
//! `target/bench/NAME.json`. Figures of a shared machine are noisy: look at ratios, and at several runs.

mod base;
mod bus;
mod daemon;
mod figures;
mod report;
mod samples;
mod scale;
mod work;

use anyhow::{Result, bail};

/// What measures.
type Bench = fn() -> Result<report::Report>;

fn main() -> Result<()> {
    let benches: [(&str, Bench); 4] =
        [("base", base::measure), ("bus", bus::measure), ("scale", scale::measure), ("work", work::measure)];
    let wanted = std::env::args().nth(1);
    if let Some(wanted) = &wanted
        && !benches.iter().any(|(name, _)| name == wanted)
    {
        bail!("no bench {wanted}; there are: {}", benches.map(|(name, _)| name).join(" "));
    }
    for (name, measure) in benches.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| name == wanted)) {
        measure()?.publish(name)?;
    }
    Ok(())
}
