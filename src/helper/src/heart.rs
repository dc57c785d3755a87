//! Signs of life for whoever started the helper: systemd, or the supervisor.

use std::cell::Cell;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use culvert_link::notify::Sender;

/// Sends `READY=1` once and `WATCHDOG=1` as often as it is wanted.
#[derive(Debug)]
pub struct Heart {
    sender: Option<Sender>,
    pause: Duration,
    last: Cell<Instant>,
}

impl Heart {
    /// What the environment asks for: a third of `WATCHDOG_USEC` between two beats, or a minute if nobody waits.
    ///
    /// # Errors
    ///
    /// When there is no socket to be had.
    pub fn from_environment() -> Result<Self, culvert_link::Error> {
        let variable = std::env::var("WATCHDOG_USEC").ok();
        let pause = variable.and_then(|text| text.parse().ok()).map(|limit| Duration::from_micros(limit) / 3);
        let pause = pause.unwrap_or(Duration::from_secs(60));
        Ok(Self { sender: Sender::from_environment()?, pause, last: Cell::new(Instant::now()) })
    }

    /// Says that the helper serves.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Says that the helper lives, if it is time to.
    pub fn beat(&self) {
        if self.due() <= Instant::now() {
            self.last.set(Instant::now());
            self.send("WATCHDOG=1");
        }
    }

    /// When the next beat is due.
    pub fn due(&self) -> Instant {
        self.last.get() + self.pause
    }

    /// What can't be sent is left out: a receiver that is frozen, or starting again, must not stop the helper.
    fn send(&self, message: &str) {
        if let Some(sender) = &self.sender
            && let Err(error) = sender.send(message, None)
            && error.kind() != ErrorKind::WouldBlock
        {
            eprintln!("telling {message}: {error}");
        }
    }
}
