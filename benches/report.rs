//! A table of figures and budgets.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// The figures of one bench.
#[derive(Debug, Default)]
pub struct Report(Vec<Figure>);

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    figure: f64,
    unit: &'static str,
    budget: Option<f64>,
    holds: Option<bool>,
}

impl Report {
    /// A figure that is to be at most its budget.
    pub fn at_most(&mut self, what: impl Into<String>, figure: f64, unit: &'static str, budget: f64) {
        self.add(what, figure, unit, Some(budget), Some(figure <= budget));
    }

    /// A figure that is to be at least its budget.
    pub fn at_least(&mut self, what: impl Into<String>, figure: f64, unit: &'static str, budget: f64) {
        self.add(what, figure, unit, Some(budget), Some(figure >= budget));
    }

    /// A figure that nothing was promised of.
    pub fn told(&mut self, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.add(what, figure, unit, None, None);
    }

    fn add(
        &mut self,
        what: impl Into<String>,
        figure: f64,
        unit: &'static str,
        budget: Option<f64>,
        holds: Option<bool>,
    ) {
        let figure = Figure { what: what.into(), figure: (figure * 1000.0).round() / 1000.0, unit, budget, holds };
        // A bench takes minutes.
        eprintln!("{}: {} {unit}", figure.what, figure.figure);
        self.0.push(figure);
    }

    /// Prints the table and writes it to `target/bench/NAME.json`.
    pub fn publish(&self, name: &str) -> Result<()> {
        println!("\n{name}\n{:<66} {:>10} {:>10}  {:<6} holds", "what", "figure", "budget", "unit");
        for figure in &self.0 {
            let budget = figure.budget.map_or("-".into(), |budget| budget.to_string());
            let holds = figure.holds.map_or("", |holds| if holds { "yes" } else { "NO" });
            println!("{:<66} {:>10.3} {budget:>10}  {:<6} {holds}", figure.what, figure.figure, figure.unit);
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&self.0)?)?;
        Ok(())
    }
}
