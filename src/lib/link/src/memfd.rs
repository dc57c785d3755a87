//! Files that exist in memory only, and that nobody can change once they are made.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, fchown};

use crate::Error;
use crate::error::During;

/// A file with these bytes, sealed, that `owner` alone may open. The name is for people who look at `/proc`.
///
/// # Errors
///
/// When there is no memory for it.
pub fn sealed(name: &str, bytes: &[u8], owner: u32) -> Result<OwnedFd, Error> {
    let doing = || format!("making the memory file {name}");
    let mut file = File::from(create(name).during(doing)?);
    file.write_all(bytes).during(doing)?;
    file.rewind().during(doing)?;
    fchmod(&file, Mode::S_IRUSR).during(doing)?;
    fchown(&file, Some(Uid::from_raw(owner)), None).during(doing)?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).during(doing)?;
    Ok(file.into())
}

fn create(name: &str) -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(name, flags | MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL)) {
        // Kernels before 6.3 do not know the last flag. There the mode without `x` has to do.
        Err(nix::Error::EINVAL) => memfd_create(name, flags),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn it_can_be_read_and_not_be_changed() {
        let mut file = File::from(sealed("test", b"secret", 1234).expect("a file"));
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "secret");
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
        let meta = file.metadata().expect("its owner");
        assert_eq!((meta.uid(), meta.permissions().mode() & 0o777), (1234, 0o400));
        let again = std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("opened anew");
        assert_eq!(again, b"secret");
    }
}
