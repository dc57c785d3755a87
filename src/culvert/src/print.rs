//! What is printed. A reader that has gone is an error, or nobody's concern, but never a panic.

use std::io::{ErrorKind, Write};

use crate::configuration::Trouble;

/// Prints what was asked for, in one piece.
///
/// # Errors
///
/// It can't be written. That nobody reads it any more is no error.
pub fn print(text: &str) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Trouble::Failed(format!("the answer can't be printed: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something on standard error.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "culvert: {text}");
}
