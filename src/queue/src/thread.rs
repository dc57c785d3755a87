//! Threads of their own for what takes long: the process's runtime and its watchdog stay alive.

use std::sync::Once;

use culvert_model::record::Priority;
use tokio::sync::oneshot;

/// Does something on a thread of its own; at the lowest processor priority if nobody waits for it.
///
/// # Errors
///
/// The system gives no thread, or the thread ended without a result.
pub async fn run<T: Send + 'static>(
    priority: Priority,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    let (sender, result) = oneshot::channel();
    std::thread::Builder::new().name("maker".into()).spawn(move || {
        if priority == Priority::Low {
            yield_to_others();
        }
        // Who asked may have given up.
        let _ = sender.send(work());
    })?;
    result.await.map_err(|_| std::io::Error::other("the thread ended without a result"))
}

fn yield_to_others() {
    static REFUSED: Once = Once::new();
    if let Err(error) = culvert_link::processor::yield_to_others() {
        REFUSED.call_once(|| tracing::warn!(%error, "the pools' keys are made at the same priority as all else"));
    }
}
