//! Descriptors that the one who started the process handed over: `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID`.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::{Error, environment};

/// The first inherited descriptor, by systemd's convention.
pub const FIRST: RawFd = 3;

/// The most descriptors that are taken over.
pub const MOST: usize = 512;

/// Takes the inherited descriptors with their names, sets close-on-exec on them, and closes every other descriptor
/// from 3 on. To be called once, first of all, before anything was opened.
///
/// # Errors
///
/// When the variables contradict each other, or a descriptor that they name is not open.
pub fn take() -> Result<Vec<(String, OwnedFd)>, Error> {
    environment::alone("taking over descriptors")?;
    let names = announced()?;
    let count = RawFd::try_from(names.len()).map_err(|_| refused("there are too many"))?;
    close_from(FIRST + count)?;
    let mut taken = Vec::with_capacity(names.len());
    for (name, number) in names.into_iter().zip(FIRST..) {
        let descriptor = take_one(number, &name)?;
        taken.push((name, descriptor));
    }
    Ok(taken)
}

/// Takes over one descriptor.
fn take_one(number: RawFd, name: &str) -> Result<OwnedFd, Error> {
    nix::fcntl::fcntl(borrow(number), nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .map_err(|error| Error::new(format!("taking over descriptor {number} ({name})"), error))?;
    // SAFETY: the descriptor is open, as fcntl has just shown; it came from the parent and nothing in this process owns
    // it, since this runs once, before anything was opened.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes one descriptor that a parent named by its number, if it did, sets close-on-exec on it, and closes every other
/// one from 3 on. To be called once, first of all, before anything was opened.
///
/// # Errors
///
/// When it is not open, or is one of the first three.
pub fn only(number: Option<RawFd>) -> Result<Option<OwnedFd>, Error> {
    environment::alone("taking over a descriptor")?;
    let Some(number) = number else { return close_from(FIRST).map(|()| None) };
    if number < FIRST {
        return Err(refused("the numbers 0 to 2 have other meanings"));
    }
    if number > FIRST {
        close(FIRST, number - 1)?;
    }
    close_from(number + 1)?;
    take_one(number, "by number").map(Some)
}

/// Closes every descriptor from `first` on.
fn close_from(first: RawFd) -> Result<(), Error> {
    close(first, RawFd::MAX)
}

/// Closes the descriptors from `first` to `last`.
fn close(first: RawFd, last: RawFd) -> Result<(), Error> {
    let number = |number: RawFd| nix::libc::c_uint::try_from(number).map_err(|_| refused("a negative descriptor"));
    let (first, last) = (number(first)?, number(last)?);
    // SAFETY: nothing in this process owns a descriptor in this range: the callers run before anything was opened.
    #[allow(unsafe_code)]
    let result = unsafe { nix::libc::close_range(first, last, 0) };
    nix::errno::Errno::result(result).map_err(|error| Error::new("closing stray descriptors", error))?;
    Ok(())
}

/// The names of the descriptors that are announced to this process, in their order.
fn announced() -> Result<Vec<String>, Error> {
    let variable = |name: &str| std::env::var(name).ok();
    if variable("LISTEN_PID").is_some_and(|pid| pid != std::process::id().to_string()) {
        return Ok(Vec::new());
    }
    let Some(count) = variable("LISTEN_FDS") else { return Ok(Vec::new()) };
    named(&count, variable("LISTEN_FDNAMES").as_deref())
}

/// The names that go with `count` descriptors.
fn named(count: &str, names: Option<&str>) -> Result<Vec<String>, Error> {
    let count: usize = count.parse().map_err(|_| refused("LISTEN_FDS is not a number"))?;
    if count > MOST {
        return Err(refused("LISTEN_FDS is too large"));
    }
    let names: Vec<String> = match names {
        None => vec!["unknown".to_owned(); count],
        Some("") if count == 0 => Vec::new(),
        Some(names) => names.split(':').map(str::to_owned).collect(),
    };
    if names.len() == count { Ok(names) } else { Err(refused("LISTEN_FDS and LISTEN_FDNAMES differ in length")) }
}

fn refused(why: &str) -> Error {
    Error::other("taking over inherited descriptors", why)
}

fn borrow(number: RawFd) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: only used for one fcntl, which answers EBADF for a number that is not open.
    #[allow(unsafe_code)]
    unsafe {
        std::os::fd::BorrowedFd::borrow_raw(number)
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn names_go_with_descriptors() {
        assert_eq!(named("2", Some("https:redirect")).expect("names"), ["https", "redirect"]);
        assert_eq!(named("0", Some("")).expect("names"), [""; 0]);
        assert_eq!(named("1", None).expect("names"), ["unknown"]);
    }

    #[test]
    fn contradictions_are_refused() {
        for (count, names) in [("2", Some("a")), ("x", None), ("0", Some("a")), ("100000", None), ("-1", None)] {
            assert!(named(count, names).is_err(), "{count} {names:?}");
        }
    }
}
