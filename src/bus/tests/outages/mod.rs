//! Losing the primary: killed, frozen, paused; and what others leave behind.

mod frozen;
mod killed;
mod leftovers;
mod lost_answers;
mod tail;

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use crate::conformance::*;
use crate::mongod::ReplicaSet;
use crate::open;

/// Deadlines are measured here, so these cases have the machine to themselves.
pub async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// What a wait may be longer than its deadline on a busy machine.
const SLACK: Duration = Duration::from_millis(500);
