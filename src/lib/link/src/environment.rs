//! The environment: read once at the start, then emptied, so that nothing later depends on it or inherits it.

use std::ffi::OsString;

use crate::Error;

/// Removes every variable whose name is not in `keep`.
///
/// # Errors
///
/// When the process has more than one thread already.
pub fn clear(keep: &[&str]) -> Result<(), Error> {
    alone("emptying the environment")?;
    let names: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names.iter().filter(|name| !keep.iter().any(|kept| name.as_os_str() == *kept)) {
        // SAFETY: the process has one thread, as was checked above, so nobody reads the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            std::env::remove_var(name);
        }
    }
    Ok(())
}

/// Sets a variable.
///
/// # Errors
///
/// When the process has more than one thread already.
pub fn set(name: &str, value: &str) -> Result<(), Error> {
    alone("setting the environment")?;
    // SAFETY: the process has one thread, as was checked above, so nobody reads the environment meanwhile.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(name, value);
    }
    Ok(())
}

/// Refuses when the process has more than one thread.
pub(crate) fn alone(doing: &str) -> Result<(), Error> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(|e| Error::new("counting threads", e))?.count();
    if threads == 1 { Ok(()) } else { Err(Error::other(doing, format!("the process already has {threads} threads"))) }
}
