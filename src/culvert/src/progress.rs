//! One line about how far something is: written over on a terminal, else one a step.

use std::io::{IsTerminal, Write};

use culvert_wire::errand::Report;

use crate::print::say;

/// The line, and what it says.
#[derive(Debug, Default)]
pub struct Line {
    step: String,
    open: bool,
}

impl Line {
    /// So many of so many records are through.
    pub fn show(&mut self, step: &str, done: u64, total: u64) {
        let of = if total == 0 { String::new() } else { format!(" {done} of {total} records") };
        let mut errors = std::io::stderr();
        if errors.is_terminal() {
            let _ = write!(errors, "\r\x1b[K{step}{of}");
            let _ = errors.flush();
            self.open = true;
        } else if self.step != step {
            say(&format!("{step}{of}"));
        }
        step.clone_into(&mut self.step);
    }

    /// As an errand reports it.
    pub fn report(&mut self, report: &Report) {
        if let Report::Progress { what, done, total } = report {
            self.show(what, *done, *total);
        }
    }

    /// It waits for something.
    pub fn wait(&mut self, why: &str) {
        if self.step != why {
            self.end();
            say(&format!("waits: {why}"));
            why.clone_into(&mut self.step);
        }
    }

    /// Something else is to be printed.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = writeln!(std::io::stderr());
        }
    }
}
