//! Which member is the primary, and in which term: what a tail's place is good for.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ReadPreference, SelectionCriteria};
use tokio::sync::watch;

use super::base::Base;
use super::schema;

/// A member in a term as primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The member.
    pub member: String,
    /// The election that it won.
    pub election: ObjectId,
}

impl Home {
    /// What a member's answer to `hello` tells, if it is the primary.
    #[must_use]
    pub fn of(hello: &Document) -> Option<Self> {
        let primary = hello.get_bool("isWritablePrimary").or_else(|_| hello.get_bool("ismaster")).unwrap_or(false);
        let member = hello.get_str("me").ok()?;
        let election = hello.get_object_id("electionId").ok()?;
        primary.then(|| Self { member: member.into(), election })
    }
}

/// The primary, as it says itself.
///
/// # Errors
///
/// There is none.
pub async fn ask(base: &Base) -> Result<Home, Error> {
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let hello = base.database().run_command(doc! { "hello": 1 }).selection_criteria(primary).await?;
    Home::of(&hello).ok_or_else(|| Error::custom("the primary has just stepped down"))
}

/// Follows what the driver's monitors hear from all members.
#[must_use]
pub fn watch() -> (EventHandler<SdamEvent>, watch::Receiver<Option<Home>>) {
    let (sender, receiver) = watch::channel(None::<Home>);
    let handler = EventHandler::callback(move |event| {
        if let SdamEvent::ServerHeartbeatSucceeded(heartbeat) = event
            && let Some(home) = Home::of(&heartbeat.reply)
        {
            sender.send_if_modified(|seen: &mut Option<Home>| {
                // An old primary that does not know yet that it was voted out is not believed.
                let newer = seen.as_ref().is_none_or(|seen: &Home| seen.election.bytes() <= home.election.bytes());
                let changed = newer && seen.as_ref() != Some(&home);
                if changed {
                    *seen = Some(home);
                }
                changed
            });
        }
    });
    (handler, receiver)
}

impl Base {
    /// Waits until a majority has all that the primary has now: a new one may not know yet how far the majority was in the
    /// term before, and would answer reads with less than was acknowledged.
    ///
    /// # Errors
    ///
    /// As the driver's.
    pub async fn catch_up_with_the_primary(&self) -> Result<(), Error> {
        let mut session = self.session().await?;
        // Read as the primary has it, which tells how far that is; then as a majority has that.
        schema::messages(self.database()).find_one(doc! {}).session(&mut session).await?;
        self.writes().find_one(doc! {}).session(&mut session).await?;
        self.learn(&session);
        Ok(())
    }
}
