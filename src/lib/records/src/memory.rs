//! Whether what was read is what the bus remembers, because the database is away.

use std::cell::Cell;

tokio::task_local! {
    static REMEMBERED: Cell<bool>;
}

/// Does this work, and tells whether anything that it read came from the bus's memory. What the work spawns is not
/// seen.
pub async fn remembered<F: Future>(work: F) -> (F::Output, bool) {
    let work = async {
        let output = work.await;
        (output, REMEMBERED.with(Cell::get))
    };
    REMEMBERED.scope(Cell::new(false), work).await
}

/// Whether what this work has read so far came from the bus's memory.
#[must_use]
pub fn is_remembered() -> bool {
    // Work that nobody asked about has read nothing that is known.
    REMEMBERED.try_with(Cell::get).unwrap_or(false)
}

/// Something was read from the memory of the bus, or of whoever calls this.
pub fn note_remembered() {
    // Most callers do not ask.
    let _ = REMEMBERED.try_with(|remembered| remembered.set(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_work_is_told_of_its_own_reads() {
        note_remembered();
        let (text, seen) = remembered(async {
            tokio::task::yield_now().await;
            note_remembered();
            "read"
        })
        .await;
        assert_eq!((text, seen), ("read", true));
        assert!(!remembered(async {}).await.1);
    }
}
