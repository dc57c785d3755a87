//! The supervisor: starts the processes of the appliance, each with what it may have, starts them again when they end or
//! hang, and ends them in order. `culvert run` executes it where there is no systemd.
//!
//! Security: runs as root, with the capabilities that the helper needs and itself to start programs as other users. It
//! binds the listening sockets and hands them over; it reads nothing from any of them. The only thing that it takes from
//! the other processes are datagrams of at most 4 KiB in systemd's protocol, each from a socket that only its process can
//! send to. Who owns the supervisor owns the host.

mod arguments;
mod choice;
mod failure;
mod life;
mod lock;
mod place;
mod report;
mod roster;
mod start;
mod store;
mod supervisor;

use std::process::ExitCode;

use crate::arguments::Settings;
use crate::failure::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            culvert_link::log::line(&format!("culvert: {failure}"));
            failure.exit_code()
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let settings = Settings::read(std::env::args_os().skip(1))?;
    start::start(settings)?.run()
}
