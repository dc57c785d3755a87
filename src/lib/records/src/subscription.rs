//! Hearing of changes.

use culvert_wire::bus::Change;
use tokio::sync::mpsc;

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A record was changed.
    Changed(Change),
    /// Changes may have been missed, or the subscription has just begun: read again what matters.
    Gap,
}

/// A subscription. It begins with a [`News::Gap`].
#[derive(Debug)]
pub struct Subscription {
    pub(crate) news: mpsc::Receiver<News>,
}

impl Subscription {
    /// The next news. Waits as long as it takes; cancel safe.
    pub async fn next(&mut self) -> News {
        // The connection lives as long as the process, so the channel is never closed from the other side.
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}
