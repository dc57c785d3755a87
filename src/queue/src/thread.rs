//! Threads of their own for what takes long: the process's runtime and its watchdog stay alive.

use std::sync::Once;

use culvert_model::record::Priority;
use tokio::sync::{mpsc, oneshot};

/// Tells when threads have ended, also those that nobody waits for any more.
pub struct Threads {
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Threads {
    /// None yet.
    pub fn new() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self { alive, ended }
    }

    /// Does something on a thread of its own; only while nobody else wants the processor if nobody waits for it.
    ///
    /// # Errors
    ///
    /// The system gives no thread, or the thread ended without a result.
    pub fn run<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
        &self,
        priority: Priority,
        work: W,
    ) -> impl Future<Output = std::io::Result<T>> + use<T, W> {
        let (sender, result) = oneshot::channel();
        let alive = self.alive.clone();
        let thread = std::thread::Builder::new().name("maker".into()).spawn(move || {
            if priority.in_background() {
                yield_to_others();
            }
            // Who asked may have given up.
            let _ = sender.send(work());
            drop(alive);
        });
        async move {
            thread?;
            result.await.map_err(|_| std::io::Error::other("the thread ended without a result"))
        }
    }

    /// Until every thread has ended.
    pub async fn end(mut self) {
        drop(self.alive);
        // Nobody sends anything: this is the end of the last sender.
        let _ = self.ended.recv().await;
    }
}

fn yield_to_others() {
    static REFUSED: Once = Once::new();
    if let Err(error) = culvert_link::processor::yield_to_others() {
        REFUSED.call_once(|| tracing::warn!(%error, "the pools' keys are made at the same priority as all else"));
    }
}
