//! The processor's time.

use std::io;

use nix::libc;

/// Lets every other thread of the machine go before this one, and the threads that it starts.
///
/// # Errors
///
/// The kernel refuses (a filter of system calls, for example).
pub fn yield_to_others() -> io::Result<()> {
    #[allow(unsafe_code)]
    // SAFETY: no memory is passed. On Linux, process 0 is the calling thread alone.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_thread_that_asks() {
        let nice = || {
            std::fs::read_to_string("/proc/thread-self/stat")
                .ok()
                .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().nth(16)?.parse::<i32>().ok())
        };
        let before = nice();
        let lowered = std::thread::spawn(move || super::yield_to_others().map(|()| nice())).join();
        assert_eq!(lowered.expect("it does not panic").ok(), Some(Some(19)));
        assert_eq!(nice(), before);
    }
}
