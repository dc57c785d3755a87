//! What an instance's OpenVPN prints: read without ever making it wait, kept as a record.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_model::record::Output;
use culvert_model::{Id, Slot};
use culvert_records::{Bus, Failure, Stored};
use culvert_wire::helper::Request;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout_at};

use crate::helper::Helper;
use crate::management::Lines;

/// The record is written at most so often.
const SPACING: Duration = Duration::from_millis(1500);

/// Between two tries with somebody who is away.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest line that is kept, in characters.
const LINE: usize = 1000;

/// What an instance printed lately.
#[derive(Debug, Default)]
pub struct Printout {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Not in the record yet.
    fresh: VecDeque<String>,
    /// The last few, whether in the record or not.
    last: VecDeque<String>,
}

/// How many lines the reason of a failure is looked for in.
const LAST: usize = 30;

impl Printout {
    /// Why OpenVPN ended, as far as its last lines tell.
    #[must_use]
    pub fn reason(&self) -> String {
        let state = self.state();
        let telling = |line: &&String| {
            ["rror", "annot", "ailed", "Exiting"].iter().any(|word| line.contains(word))
                && !line.contains("Exiting due to fatal error")
        };
        let line = state.last.iter().rev().find(telling).or_else(|| state.last.back());
        line.map_or_else(|| "openvpn ended without a word".into(), |line| format!("openvpn ended: {}", stripped(line)))
    }

    /// Reads what the instance prints and writes it down, for as long as it is polled.
    pub(super) async fn run(
        self: Arc<Self>,
        bus: Bus,
        helper: Helper,
        server: Id,
        seat: String,
        slot: Slot,
        printed: Option<OwnedFd>,
    ) {
        let mut paper = Paper { bus, server, seat, stored: None };
        let mut pipe = printed;
        loop {
            let descriptor = match pipe.take() {
                Some(descriptor) => Some(descriptor),
                None => helper.done(Request::Output(slot)).await.ok().flatten(),
            };
            if let Some(receiver) = descriptor.and_then(|descriptor| pipe::Receiver::from_owned_fd(descriptor).ok()) {
                // Ends when OpenVPN does, or the pipe breaks.
                let _ = self.read(receiver, &mut paper).await;
            }
            self.write(&mut paper).await;
            sleep(PAUSE).await;
        }
    }

    async fn read(&self, mut pipe: pipe::Receiver, paper: &mut Paper) -> io::Result<()> {
        let mut lines = Lines::default();
        let mut buffer = vec![0; 16 << 10];
        let mut due = Instant::now();
        loop {
            let waiting = !self.state().fresh.is_empty();
            if waiting && due <= Instant::now() {
                self.write(paper).await;
                due = Instant::now() + SPACING;
                continue;
            }
            let until = if waiting { due } else { Instant::now() + SPACING };
            match timeout_at(until, pipe.read(&mut buffer)).await {
                Ok(Ok(0)) => return Ok(()),
                Ok(Ok(length)) => self.take(lines.push(&buffer[..length]).into_iter().map(|line| line.text)),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn take(&self, lines: impl Iterator<Item = String>) {
        let mut state = self.state();
        for line in lines {
            let line: String = line.chars().filter(|sign| !sign.is_control()).take(LINE).collect();
            push(&mut state.last, line.clone(), LAST);
            push(&mut state.fresh, line, Output::LINES);
        }
    }

    /// Adds what is fresh to the record. What can't be written now is written with the next lines.
    async fn write(&self, paper: &mut Paper) {
        let fresh: Vec<String> = self.state().fresh.iter().cloned().collect();
        if fresh.is_empty() {
            return;
        }
        match paper.add(&fresh).await {
            Ok(()) => {
                let mut state = self.state();
                let written = fresh.len().min(state.fresh.len());
                state.fresh.drain(..written);
            }
            Err(failure) => tracing::debug!(%failure, "the output of an instance cannot be recorded yet"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(lines: &mut VecDeque<String>, line: String, most: usize) {
    if lines.len() == most {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// A line without the time in front of it.
fn stripped(line: &str) -> &str {
    let time = |sign: char| sign.is_ascii_digit() || matches!(sign, '-' | ':' | ' ');
    let rest = line.trim_start_matches(time);
    if rest.is_empty() { line } else { rest }
}

/// The record.
#[derive(Debug)]
struct Paper {
    bus: Bus,
    server: Id,
    seat: String,
    stored: Option<Stored<Output>>,
}

impl Paper {
    /// Adds lines to what the record says now: somebody may have cleared it.
    async fn add(&mut self, fresh: &[String]) -> Result<(), Failure> {
        let mut stored = match self.stored.take() {
            Some(stored) => stored,
            None => match self.bus.get::<Output>(&self.seat).await? {
                Some(stored) => stored,
                None => return self.make(fresh).await,
            },
        };
        stored.record.lines.extend_from_slice(fresh);
        let surplus = stored.record.lines.len().saturating_sub(Output::LINES);
        stored.record.lines.drain(..surplus);
        self.bus.update(&mut stored).await?;
        self.stored = Some(stored);
        Ok(())
    }

    async fn make(&self, fresh: &[String]) -> Result<(), Failure> {
        let record = Output { id: self.seat.clone(), server: self.server, lines: fresh.to_vec() };
        self.bus.insert(&record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_line_that_tells() {
        let printout = Printout::default();
        assert!(printout.reason().contains("without a word"));
        let lines = [
            "2026-11-22 22:02:29 TCP/UDP: Socket bind failed on local address: Address already in use",
            "2026-11-22 22:02:29 Exiting due to fatal error",
        ];
        printout.take(lines.into_iter().map(str::to_owned));
        assert_eq!(
            printout.reason(),
            "openvpn ended: TCP/UDP: Socket bind failed on local address: Address already in use"
        );
    }

    #[test]
    fn lines_are_bounded() {
        let printout = Printout::default();
        printout.take((0..1000).map(|number| format!("{number}{}", "x".repeat(5000))));
        let state = printout.state();
        assert_eq!((state.fresh.len(), state.last.len()), (Output::LINES, LAST));
        assert!(state.fresh.iter().all(|line| line.len() <= LINE));
    }
}
