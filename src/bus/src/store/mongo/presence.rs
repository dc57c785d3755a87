//! Whether this host's last bus ended with everything announced that it had changed: a mark in the database says that one
//! is at work. Who finds the mark of a bus that was killed tells everybody to read again.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use tokio::time::timeout;

use super::Mongo;
use super::base::Base;

/// How long an end may take: what is not settled by then is told by the next bus.
const END: Duration = Duration::from_millis(1000);

impl Mongo {
    /// This host's bus is at work from now on. To be called before anything is written.
    ///
    /// # Errors
    ///
    /// As the driver's: it is not.
    pub async fn enter(&self) -> Result<(), Error> {
        let mark = self.base.mark();
        let before =
            self.base.writes().find_one_and_update(mark, doc! { "$set": { "open": true } }).upsert(true).await?;
        if before.is_some() {
            tracing::info!("an earlier bus of this host did not end by itself: all are told to read again");
            self.announcer.doubts.gap();
        }
        Ok(())
    }

    /// It ends, if possible with everything announced.
    pub(super) async fn leave(&self) {
        let leave = async {
            if self.announcer.doubts.settled(END).await {
                // What fails leaves the mark, and that is told by the next bus.
                let _ = self.base.writes().delete_one(self.base.mark()).await;
            }
        };
        let _ = timeout(END, leave).await;
    }
}

impl Base {
    fn mark(&self) -> Document {
        doc! { "_id": format!("bus of {}", self.host) }
    }
}
