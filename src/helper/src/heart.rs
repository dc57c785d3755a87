//! Signs of life for whoever started the helper: systemd, or the supervisor.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use culvert_link::notify::Sender;
use culvert_link::pidfd::Process;

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

    /// Waits for a process to end, and lives meanwhile. Whether it did, at the deadline.
    ///
    /// # Errors
    ///
    /// When waiting fails.
    pub fn wait(&self, process: &Process, deadline: Instant) -> io::Result<bool> {
        loop {
            self.beat();
            let pause = deadline.min(self.due());
            if process.wait(pause)? {
                return Ok(true);
            }
            if pause == deadline {
                return Ok(false);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_link::notify::Receiver;

    #[test]
    fn it_beats_while_a_process_takes_its_time() {
        let path = std::env::temp_dir().join(format!("culvert-heart-{}", std::process::id()));
        let receiver = Receiver::bind(&path, nix::unistd::geteuid().as_raw()).expect("a socket");
        let sender = Some(Sender::new(&path).expect("a socket"));
        let heart = Heart { sender, pause: Duration::from_millis(50), last: Cell::new(Instant::now()) };
        let mut sleep = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("sleep starts");
        let process = Process::open(sleep.id().cast_signed()).expect("it is there");
        assert!(!heart.wait(&process, Instant::now() + Duration::from_millis(400)).expect("waiting"));
        let beats = std::iter::from_fn(|| receiver.receive().expect("received")).count();
        assert!((3..=9).contains(&beats), "{beats}");
        sleep.kill().and_then(|()| sleep.wait()).expect("it ends");
        assert!(heart.wait(&process, Instant::now() + Duration::from_secs(5)).expect("waiting"));
        std::fs::remove_file(&path).expect("removed");
    }
}
