//! What the process tells the one who started it: systemd's protocol, spoken by systemd and by our supervisor.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::Error;

/// Tells the supervisor how the process is. Without a supervisor that wants to know, nothing is sent. Never blocks: a
/// supervisor that is frozen must not freeze the process.
#[derive(Debug, Clone)]
pub struct Notify {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sender: Option<culvert_link::notify::Sender>,
    watchdog: Option<Duration>,
    /// READY was said but could not be sent; the watchdog's next message carries it.
    owed: AtomicBool,
}

impl Notify {
    /// To whom the environment names, if anybody.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        let sender = culvert_link::notify::Sender::from_environment()?;
        let watchdog = sd_notify::watchdog_enabled();
        Ok(Self { inner: Arc::new(Inner { sender, watchdog, owed: AtomicBool::new(false) }) })
    }

    /// Says that the process does its work now.
    pub fn ready(&self) {
        if self.send(&[NotifyState::Ready], None).is_err() {
            self.inner.owed.store(true, Ordering::Relaxed);
        }
    }

    /// Says in one line what the process is doing.
    pub fn status(&self, text: &str) {
        let line = text.replace('\n', " ");
        // Only for whoever looks; one that is lost is replaced by the next.
        let _ = self.send(&[NotifyState::Status(&line)], None);
    }

    /// Has a duplicate of a descriptor kept outside, so that the process's next incarnation gets it back by that name.
    ///
    /// # Errors
    ///
    /// When it could not be sent: then nothing is kept.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.send(&[NotifyState::Custom("FDSTORE=1"), NotifyState::Custom(&named(name)?)], Some(fd))
    }

    /// Has the descriptor of that name forgotten.
    ///
    /// # Errors
    ///
    /// When it could not be sent: then it is still kept.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.send(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&named(name)?)], None)
    }

    /// How often the watchdog must be fed: thrice within its time.
    pub(crate) fn period(&self) -> Option<Duration> {
        self.inner.watchdog.map(|time| time / 3)
    }

    /// Feeds the watchdog.
    pub(crate) fn feed(&self) {
        let owed = self.inner.owed.swap(false, Ordering::Relaxed);
        let states: &[NotifyState<'_>] =
            if owed { &[NotifyState::Ready, NotifyState::Watchdog] } else { &[NotifyState::Watchdog] };
        if self.send(states, None).is_err() && owed {
            self.inner.owed.store(true, Ordering::Relaxed);
        }
    }

    fn send(&self, states: &[NotifyState<'_>], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(sender) = &self.inner.sender else { return Ok(()) };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        sender.send(&lines.join("\n"), fd)
    }
}

/// `FDNAME=name`, if it is a name that comes back unharmed.
fn named(name: &str) -> io::Result<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if name.is_empty() || name.len() > 255 || !name.chars().all(good) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name for a descriptor"));
    }
    Ok(format!("FDNAME={name}"))
}
