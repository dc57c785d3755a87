//! The processor's time.

use std::io;

use nix::libc;

/// Lets every other thread go before this one, and the threads that it starts: whoever wakes up has the processor at once
/// (`SCHED_IDLE`, `sched(7)`); of the last nice value, who wakes up may wait for the end of its turn, 4 ms. Where sessions
/// are scheduled against each other (`sched(7)`, autogroup), this counts within the session only.
///
/// # Errors
///
/// The kernel refuses (a filter of system calls, for example).
pub fn yield_to_others() -> io::Result<()> {
    #[allow(unsafe_code)]
    // SAFETY: the parameter is a valid one, and only read. On Linux, process 0 is the calling thread alone.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &libc::sched_param { sched_priority: 0 }) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_thread_that_asks() {
        let policy = || {
            std::fs::read_to_string("/proc/thread-self/stat")
                .ok()
                .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().nth(38)?.parse::<i32>().ok())
        };
        let before = policy();
        let lowered = std::thread::spawn(move || super::yield_to_others().map(|()| policy())).join();
        assert_eq!(lowered.expect("it does not panic").ok(), Some(Some(super::libc::SCHED_IDLE)));
        assert!(before.is_some_and(|before| before != super::libc::SCHED_IDLE) && policy() == before);
    }
}
