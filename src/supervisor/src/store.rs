//! Descriptors that are kept for a process while it is away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The most descriptors that are kept.
pub const MOST: usize = 128;

/// Descriptors by name.
#[derive(Debug, Default)]
pub struct Store {
    by_name: Vec<(String, OwnedFd)>,
}

impl Store {
    /// Keeps a descriptor; one of the same name is replaced. Whether there was room.
    pub fn keep(&mut self, name: &str, descriptor: OwnedFd) -> bool {
        self.remove(name);
        if self.by_name.len() >= MOST {
            self.by_name.retain(|(_, kept)| connected(kept.as_fd()));
        }
        let room = self.by_name.len() < MOST;
        if room {
            self.by_name.push((name.to_owned(), descriptor));
        }
        room
    }

    /// Forgets a descriptor.
    pub fn remove(&mut self, name: &str) {
        self.by_name.retain(|(kept, _)| kept != name);
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.by_name.iter().map(|(name, descriptor)| (name.as_str(), descriptor.as_fd()))
    }
}

/// Whether a descriptor's other end is still there.
fn connected(descriptor: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(descriptor, PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    match poll(&mut asked, PollTimeout::ZERO) {
        Ok(_) => !asked.iter().any(|one| one.revents().is_some_and(|events| events.intersects(gone))),
        Err(_) => true,
    }
}

/// Whether a name may be given to a descriptor: it is handed back in a list that colons separate.
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 255 && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn names_are_replaced_and_removed() {
        let mut store = Store::default();
        let (a, _b) = UnixStream::pair().expect("a pair");
        assert!(store.keep("one", a.try_clone().expect("a copy").into()));
        assert!(store.keep("one", a.try_clone().expect("a copy").into()));
        assert!(store.keep("two", a.into()));
        store.remove("one");
        assert_eq!(store.all().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), ["two"]);
    }

    #[test]
    fn there_is_a_bound_and_the_dead_make_room() {
        let mut store = Store::default();
        let (a, b) = UnixStream::pair().expect("a pair");
        for number in 0..MOST {
            assert!(store.keep(&number.to_string(), a.try_clone().expect("a copy").into()));
        }
        assert!(!store.keep("more", a.try_clone().expect("a copy").into()));
        drop(b);
        assert!(store.keep("more", a.into()));
        assert_eq!(store.all().count(), 1);
    }

    #[test]
    fn names_come_back_unharmed() {
        assert!(is_name("instance-12"));
        assert!(["", "a:b", "a\nb", "a b"].iter().all(|name| !is_name(name)));
    }
}
