//! What every store must do, whatever it keeps records in. Each case finds its own records in a store that may hold
//! others, and can run beside the others.

mod changes;
mod find;
mod lease;
mod write;

use std::fmt::Debug;
use std::time::Duration;

use culvert_bus::store::{Answer, Owner, Store, Trouble};
use culvert_model::{HostId, Id, Kind};
use culvert_wire::bus::{Find, Guard, Key, PAGE, Refusal, Row, Write};
use serde_json::{Value, json};

/// How long anything may take that a case waits for.
pub const SOON: Duration = Duration::from_secs(10);

/// A store and the host that it was opened for.
#[derive(Debug)]
pub struct Subject<S> {
    /// The store.
    pub store: S,
    /// The host that it was opened for.
    pub host: HostId,
}

/// Runs all cases, one after the other.
pub async fn suite<S: Store>(subject: &Subject<S>) {
    macro_rules! cases {
        ($($module:ident: $($case:ident),+;)+) => {
            $($(
                println!("{}: {}", stringify!($module), stringify!($case));
                $module::$case(subject).await;
            )+)+
        };
    }
    cases! {
        write: a_record_lives, bodies_come_back, guards_hold, a_batch_is_all_or_none, a_batch_sees_itself,
            a_batch_is_carried_out_at_once, unique_indexes, a_write_is_done_once, numbers_are_added, numbers_end_somewhere, one_record_twice_in_a_batch,
            only_one_of_many_wins, strange_ids_and_fields, the_clock_goes;
        find: in_the_order_of_an_index, by_equality, by_range, types_sort, by_id, page_by_page, large_pages, counts,
            follows_updates, behind_a_place_that_moved, unique_indexes_leave_out_what_is_empty;
        lease: one_of_many_gets_it, it_runs_out, it_is_renewed, it_is_passed, it_is_released, claims_are_refused, it_guards_writes,
            that_nobody_holds_it_guards_writes, another_host_holds_it, it_stands_beside_the_record,
            an_old_claim_is_none_to_a_new_record, of_a_stale_revision, sweeps;
        changes: are_announced_in_order, none_for_what_was_refused, none_for_leases, of_sweeps, once_for_a_write_done_twice;
    }
}

impl<S: Store> Subject<S> {
    /// Writes under a new id.
    pub async fn write(&self, writes: Vec<Write>) -> Answer<Vec<u64>> {
        self.store.write(random(), writes).await
    }

    /// Makes a record.
    pub async fn make(&self, kind: Kind, id: &str, body: &Value) {
        assert_eq!(self.write(vec![insert(kind, id, body)]).await, Ok(vec![1]), "{id} is made");
    }

    /// A record, if it is there.
    pub async fn get(&self, kind: Kind, id: &str) -> Option<Row> {
        self.store.get(kind, id).await.expect("the store answers")
    }

    /// The ids of a page.
    pub async fn ids(&self, find: Find) -> Vec<String> {
        self.store.find(find).await.expect("the store answers").rows.into_iter().map(|row| row.id).collect()
    }

    /// Somebody on this host.
    pub fn owner(&self, name: &str) -> Owner {
        Owner { host: self.host, name: name.into() }
    }
}

/// A number that nobody else has.
pub fn random() -> u128 {
    let [a, b] = [Id::new(), Id::new()].map(Id::bytes);
    a[4..].iter().chain(&b[4..]).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Text that no other case has.
pub fn fresh() -> String {
    Id::new().to_string()
}

/// The write that makes a record.
pub fn insert(kind: Kind, id: &str, body: &Value) -> Write {
    Write::Insert { kind, id: id.into(), body: bytes(body) }
}

/// The write that replaces a record.
pub fn update(kind: Kind, id: &str, guard: Guard, body: &Value) -> Write {
    Write::Update { kind, id: id.into(), guard, body: bytes(body) }
}

/// The write that removes a record.
pub fn delete(kind: Kind, id: &str, guard: Guard) -> Write {
    Write::Delete { kind, id: id.into(), guard }
}

/// On the condition of this revision.
pub fn revision(revision: u64) -> Guard {
    Guard { revision: Some(revision), claim: None }
}

/// On no condition.
pub fn always() -> Guard {
    Guard::default()
}

/// A query without bounds.
pub fn query(kind: Kind, index: &str, equal: Vec<Key>) -> Find {
    Find { kind, index: index.into(), equal, from: None, to: None, after: None, descending: false, limit: PAGE }
}

/// Text as a key.
pub fn text(text: &str) -> Key {
    Key::Text(text.into())
}

/// A body as it is sent.
pub fn bytes(body: &Value) -> Vec<u8> {
    serde_json::to_vec(body).expect("a value has a form")
}

/// A record's body.
pub fn body(row: &Row) -> Value {
    serde_json::from_slice(&row.body).expect("the store gives JSON")
}

/// An address with what its indexes need.
pub fn address(server: &str, address: &str) -> Value {
    json!({ "server": server, "user": "u", "address": address })
}

/// Nothing was done, for this reason.
pub fn refused<T: Debug>(answer: Answer<T>) -> (u16, Refusal) {
    match answer {
        Err(Trouble::Refused { write, why }) => (write, why),
        other => panic!("a refusal was expected: {other:?}"),
    }
}
