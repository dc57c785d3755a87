//! A program's output as lines that can be awaited.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The lines that a program has printed so far.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads until the end in a thread of its own.
    pub fn read(&self, source: impl Read + Send + 'static) {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                lines.0.0.lock().expect("no reader panics").lines.push(String::from_utf8_lossy(&line).into_owned());
                lines.0.1.notify_all();
            }
            lines.0.0.lock().expect("no reader panics").ended = true;
            lines.0.1.notify_all();
        });
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().expect("no reader panics").lines.clone()
    }

    /// How many lines so far have this in them.
    pub fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }

    /// The first line behind `skip` lines that fulfils a condition.
    pub fn wait(&self, skip: usize, deadline: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let end = Instant::now() + deadline;
        let (lock, changed) = &*self.0;
        let mut printed = lock.lock().expect("no reader panics");
        loop {
            if let Some(line) = printed.lines.iter().skip(skip).find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || printed.ended {
                let last = printed.lines.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n");
                let why = if printed.ended { "the program ended" } else { "the deadline passed" };
                bail!("{why} before the line that was waited for; the last lines:\n{last}");
            }
            printed = changed.wait_timeout(printed, left).expect("no reader panics").0;
        }
    }
}

/// Asks until the answer is there. For states that nothing announces.
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let failure = match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if Instant::now() > end {
            bail!("not within {deadline:?}: {what}{failure}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
