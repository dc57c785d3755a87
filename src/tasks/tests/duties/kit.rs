//! A database to break, and a task that looks at it.

use std::sync::Arc;
use std::time::Duration;

use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_model::record::{Host, Organization};
use culvert_model::{HostId, Id, Record, Role};
use culvert_records::{Bus, Guard, Query, Stored, Write, insert, update};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::{DUTIES, Done};
use tokio::time::sleep;

use crate::race::Race;
pub use crate::samples::{made, server, user};
use crate::stage::{Stage, until};

/// How long a task watches what somebody else changes meanwhile: the first look takes far less than half of it.
const WATCH: Duration = Duration::from_secs(2);

pub struct Broken {
    stage: Stage<Embedded>,
    race: Arc<Race<Embedded>>,
    /// Writes what it likes.
    store: Arc<Embedded>,
    /// What the tasks have.
    pub bus: Bus,
    pub api: Bus,
    pub here: HostId,
}

impl Broken {
    pub fn new() -> Self {
        let stage = Stage::embedded();
        let race = Arc::new(Race::new(stage.store.clone()));
        let bus = stage.bus_over(race.clone(), stage.host, Role::Tasks);
        let (api, store, here) = (stage.bus(Role::Api), stage.store.clone(), stage.host);
        Self { stage, race, store, bus, api, here }
    }

    /// What the process of this role has.
    pub fn role(&self, role: Role) -> Bus {
        self.stage.bus(role)
    }

    /// What the task does, once, if it watches only for a moment.
    pub async fn run(&self, name: &str) -> Done {
        self.run_with(name, Duration::from_millis(1)).await
    }

    async fn run_with(&self, name: &str, grace: Duration) -> Done {
        let duty = DUTIES.iter().find(|duty| duty.name == name).expect("it is in the table");
        let (host, now) = self.bus.here().await.expect("the bus answers");
        let desk = Desk { bus: &self.bus, host, now, grace, fence: None };
        (duty.work)(&desk).await.expect("the bus answers")
    }

    /// Something happens between the task's first and its second look.
    pub async fn while_it_watches(&self, meanwhile: impl AsyncFnOnce(), name: &str, says: &str) {
        let happens = async {
            sleep(WATCH / 2).await;
            meanwhile().await;
        };
        let (done, ()) = tokio::join!(self.run_with(name, WATCH), happens);
        assert_eq!(done.text, says);
    }

    pub async fn says(&self, name: &str) -> String {
        self.run(name).await.text
    }

    /// These happen just before the task's next change.
    pub fn before_the_next(&self, writes: Vec<Write>) {
        self.race.before_the_next(writes);
    }

    /// How many records the tasks found in lists since this was asked.
    pub fn found(&self) -> usize {
        self.race.found()
    }

    /// This host comes back just before the task's next change.
    pub fn back_before_the_next(&self, host: HostId) {
        self.race.claimed_before_the_next(Host::KIND, host.to_string(), host);
    }

    /// Writes past everybody's rights.
    pub async fn write(&self, writes: Vec<Write>) {
        self.store.write(culvert_bus::store::write_id(), writes).await.expect("they can be done");
    }

    /// Makes a record.
    pub async fn put<T: Record>(&self, record: &T) {
        self.write(vec![insert(record)]).await;
    }

    /// Makes a record that nobody can read.
    pub async fn put_damaged<T: Record>(&self, id: impl ToString) {
        let id = id.to_string();
        self.write(vec![Write::Insert { kind: T::KIND, id, body: b"{}".to_vec() }]).await;
    }

    /// Whether it is there, damaged or whole.
    pub async fn has<T: Record>(&self, id: impl ToString) -> bool {
        !matches!(self.store.get(T::KIND, &id.to_string()).await, Ok(None))
    }

    pub async fn get<T: Record>(&self, id: impl ToString) -> Stored<T> {
        let found = self.api.get::<T>(id).await.expect("the bus answers");
        found.expect("it is there")
    }

    pub async fn all<T: Record>(&self) -> Vec<T> {
        let all = self.api.list::<T>(Query::all()).await.expect("the bus answers");
        all.into_iter().map(|stored| stored.record).collect()
    }

    /// Waits until the store has been in reach for so long that what does not report counts as lost.
    pub async fn contact(&self) {
        until("contact for a whole lease", async || {
            self.bus.here().await.expect("the bus answers");
            (self.bus.uninterrupted() >= 15_000).then_some(())
        })
        .await;
    }
}

/// The write that touches a record, as whoever has it would.
pub fn touch<T: Record>(record: &T) -> Write {
    update(record, Guard::default())
}

pub fn organization() -> Organization {
    made(|organization: &mut Organization| organization.id = Id::new())
}
