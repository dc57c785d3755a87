//! Waits until the bus has moved the records, and shows how far it is.

use std::time::{Duration, Instant};

use super::running::{Appliance, Standing, Transfer};
use crate::configuration::Trouble;
use crate::progress::Line;

/// How often the bus is asked: it tells nobody by itself.
const LOOK: Duration = Duration::from_millis(200);

/// How long the appliance may be silent: its bus starts again on the way.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a move may wait for something before the command ends: the bus goes on trying.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a move ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The records are there.
    Done,
    /// It can't be done, and all is as it was.
    Refused(String),
    /// It goes on in the background, for this reason.
    Slow(String),
}

/// Watches a move into a database, or out of one.
///
/// # Errors
///
/// The appliance does not answer any more.
pub fn watch(appliance: &Appliance, into: bool) -> Result<End, Trouble> {
    let (mut heard, mut waiting) = (Instant::now(), None::<Instant>);
    let mut line = Line::default();
    loop {
        std::thread::sleep(LOOK);
        let standing = match appliance.standing() {
            Ok(Some(standing)) => standing,
            Ok(None) => return Err(Trouble::Failed("Culvert was ended: the move goes on at its next start".into())),
            Err(trouble) if heard.elapsed() > SILENCE => return Err(trouble),
            Err(_) => continue,
        };
        heard = Instant::now();
        match standing {
            Standing { member, transfer: None, .. } if member == into && appliance.healthy() => {
                line.end();
                return Ok(End::Done);
            }
            Standing { transfer: Some(Transfer::Refused(why)), .. } => {
                line.end();
                return Ok(End::Refused(why));
            }
            Standing { transfer: Some(Transfer::Waiting(why)), .. } => {
                let since = *waiting.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    line.end();
                    return Ok(End::Slow(why));
                }
                line.wait(&why);
            }
            Standing { transfer: Some(Transfer::Underway { step, done, total }), .. } => {
                waiting = None;
                line.show(&step, done, total);
            }
            Standing { .. } => {}
        }
    }
}
