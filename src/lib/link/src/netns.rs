//! Network namespaces that are held by descriptor and have no name.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

use crate::error::During;
use crate::{Error, tun};

/// Makes a network namespace with nothing in it, or with the loopback interface up. The calling thread stays in its own.
///
/// # Errors
///
/// When the caller may not, which takes `CAP_SYS_ADMIN`. Should the way back have failed, the thread is left in the new
/// one: the caller must not go on then.
pub fn make(loopback: bool) -> Result<OwnedFd, Error> {
    let home = current()?;
    unshare(CloneFlags::CLONE_NEWNET).during(|| "making a network namespace".to_owned())?;
    let made = if loopback { tun::up("lo").and_then(|()| current()) } else { current() };
    enter(&home)?;
    made
}

/// The calling thread's network namespace.
///
/// # Errors
///
/// When `/proc` is not there.
pub fn current() -> Result<OwnedFd, Error> {
    let path = "/proc/thread-self/ns/net";
    Ok(File::open(path).during(|| format!("opening {path}"))?.into())
}

/// Moves the calling thread into a network namespace.
///
/// # Errors
///
/// When it may not, which takes `CAP_SYS_ADMIN`.
pub fn enter(namespace: &impl AsFd) -> Result<(), Error> {
    setns(namespace, CloneFlags::CLONE_NEWNET).during(|| "entering a network namespace".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt;

    fn inode(namespace: &OwnedFd) -> u64 {
        File::from(namespace.try_clone().expect("a copy")).metadata().expect("its inode").ino()
    }

    #[test]
    fn a_new_namespace_is_another_and_the_caller_stays() {
        let before = inode(&current().expect("ours"));
        let (with, without) = (make(true).expect("one"), make(false).expect("another"));
        assert_eq!(inode(&current().expect("ours")), before);
        assert!(inode(&with) != before && inode(&without) != before && inode(&with) != inode(&without));
        let reach = |namespace: OwnedFd| {
            let inside = move || {
                enter(&namespace).expect("entered");
                let listener = TcpListener::bind("127.0.0.1:0")?;
                std::net::TcpStream::connect(listener.local_addr()?)
            };
            std::thread::spawn(inside).join().expect("no panic")
        };
        assert!(reach(with).is_ok());
        assert!(reach(without).is_err());
    }
}
