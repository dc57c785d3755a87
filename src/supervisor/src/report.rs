//! What the supervisor says on standard error. Nothing that happens to standard error may stop it, or the processes that
//! inherit it.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{SystemTime, UNIX_EPOCH};

use culvert_link::log;
use nix::fcntl::OFlag;

/// Says something that whoever looks after the machine should know.
pub fn warn(text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (now.as_secs() % 86_400, now.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    log::line(&format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z super   WARN {text}"));
}

/// Makes standard error lose what nobody reads instead of waiting: a terminal on hold, or a stopped reader of a pipe, must
/// not stop the appliance. It is opened anew for this, so that others who have it open notice nothing.
pub fn never_wait() -> std::io::Result<()> {
    let path = "/proc/self/fd/2";
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return Ok(());
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let again = OpenOptions::new().append(true).custom_flags(flags.bits()).open(path)?;
    Ok(nix::unistd::dup2_stderr(again)?)
}
