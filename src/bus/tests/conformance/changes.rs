//! Hearing of changes.

use culvert_bus::store::{Store, Tail};
use culvert_model::Kind;
use culvert_wire::bus::Change;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::*;

/// The next changes that are about records of this scope or id, up to the one about the record that is named last.
async fn until(tail: &mut Receiver<Tail>, mine: &[&str], last: &str) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        match timeout(SOON, tail.recv()).await.expect("a change comes soon").expect("nobody is behind") {
            Tail::Gap => panic!("nothing was missed"),
            Tail::Change(change) if change.record == last => return changes,
            Tail::Change(change) if mine.iter().any(|mine| change.record.starts_with(mine)) => changes.push(change),
            Tail::Change(_) => {}
        }
    }
}

/// A change that is heard after all that was done before.
async fn mark<S: Store>(s: &Subject<S>) -> String {
    let id = fresh();
    s.make(Kind::Server, &id, &json!({})).await;
    id
}

/// What was heard, without when and under which number.
fn gist(changes: &[Change]) -> Vec<(Kind, &str, u64, Option<&str>)> {
    changes.iter().map(|change| (change.kind, &change.record[..], change.revision, change.scope.as_deref())).collect()
}

pub async fn are_announced_in_order<S: Store>(s: &Subject<S>) {
    let mut tail = s.store.tail();
    let mut other = s.store.tail();
    until_open(s, &mut tail).await;
    let [user, server, output] = [fresh(), fresh(), fresh()];
    s.make(Kind::User, &user, &json!({ "organization": "o1" })).await;
    s.write(vec![
        update(Kind::User, &user, always(), &json!({ "organization": "o2" })),
        insert(Kind::Output, &output, &json!({ "server": null })),
        insert(Kind::Server, &server, &json!({})),
    ])
    .await
    .expect("all can be done");
    let add = Write::Add { kind: Kind::User, id: user.clone(), field: "n".into(), delta: 1 };
    s.write(vec![update(Kind::User, &user, always(), &json!({ "organization": "o3", "n": 1 })), add])
        .await
        .expect("a number");
    s.write(vec![delete(Kind::User, &user, always())]).await.expect("it is there");
    let last = mark(s).await;

    let changes = until(&mut tail, &[&user, &server, &output], &last).await;
    let expected = [
        (Kind::User, &user[..], 1, Some("o1")),
        (Kind::User, &user, 2, Some("o2")),
        (Kind::Output, &output, 1, None),
        (Kind::Server, &server, 1, None),
        (Kind::User, &user, 3, Some("o3")),
        (Kind::User, &user, 4, Some("o3")),
        (Kind::User, &user, 0, Some("o3")),
    ];
    assert_eq!(gist(&changes), expected);
    let now = s.store.now().await.expect("the store answers");
    assert!(changes.iter().all(|change| change.at.abs_diff(now) < 60_000), "{changes:?}");
    let heard: Vec<Change> = until(&mut other, &[&user, &server, &output], &last).await;
    assert_eq!(heard, changes, "everybody hears the same");
    let ids: Vec<_> = changes.iter().map(|change| change.id).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "each has an id of its own");
}

/// A store may need a moment before it hears of changes.
async fn until_open<S: Store>(s: &Subject<S>, tail: &mut Receiver<Tail>) {
    let end = tokio::time::Instant::now() + SOON;
    loop {
        let id = mark(s).await;
        let heard = timeout(std::time::Duration::from_secs(1), async {
            loop {
                match tail.recv().await.expect("nobody is behind") {
                    Tail::Change(change) if change.record == id => return,
                    _ => {}
                }
            }
        });
        if heard.await.is_ok() {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "the tail opens");
    }
}

pub async fn none_for_what_was_refused<S: Store>(s: &Subject<S>) {
    let mut tail = s.store.tail();
    until_open(s, &mut tail).await;
    let id = fresh();
    refused(s.write(vec![insert(Kind::Server, &id, &json!({})), insert(Kind::Server, &id, &json!({}))]).await);
    refused(s.write(vec![update(Kind::Server, &id, always(), &json!({}))]).await);
    // A kind that is not announced, and a check.
    s.make(Kind::Nonce, &id, &json!({ "expires": 1 })).await;
    s.write(vec![Write::Check { kind: Kind::Nonce, id: id.clone(), guard: always() }]).await.expect("it is there");
    let last = mark(s).await;
    assert_eq!(until(&mut tail, &[&id], &last).await, []);
    s.write(vec![Write::Check { kind: Kind::Server, id: last.clone(), guard: always() }]).await.expect("it is there");
    let next = mark(s).await;
    assert_eq!(until(&mut tail, &[&last], &next).await, []);
}

pub async fn none_for_leases<S: Store>(s: &Subject<S>) {
    let id = fresh();
    s.make(Kind::Job, &id, &json!({})).await;
    let mut tail = s.store.tail();
    until_open(s, &mut tail).await;
    let row = s.store.claim(Kind::Job, &id, None, s.owner("a"), 60_000).await.expect("nobody holds it");
    let lease = row.lease.expect("it is held");
    let claim = culvert_wire::bus::Claim { owner: lease.owner, epoch: lease.epoch };
    s.store.renew(Kind::Job, &id, s.host, claim.clone(), 60_000).await.expect("it is held");
    s.store.release(Kind::Job, &id, s.host, claim).await.expect("it is held");
    let last = mark(s).await;
    assert_eq!(until(&mut tail, &[&id], &last).await, []);
}

pub async fn of_sweeps<S: Store>(s: &Subject<S>) {
    let base = i64::MIN / 2 + (random() as u32 as i64) * 1000;
    let [a, b] = [fresh(), fresh()];
    s.make(Kind::Log, &a, &json!({ "timestamp": base })).await;
    s.make(Kind::Log, &b, &json!({ "timestamp": base + 1 })).await;
    let mut tail = s.store.tail();
    until_open(s, &mut tail).await;
    assert!(s.store.sweep(Kind::Log, "by_time", base + 1).await.expect("the store answers") >= 1);
    let last = mark(s).await;
    let changes = until(&mut tail, &[&a, &b], &last).await;
    assert_eq!(gist(&changes), [(Kind::Log, &a[..], 0, None)]);
    s.store.sweep(Kind::Log, "by_time", base + 2).await.expect("the store answers");
}

pub async fn once_for_a_write_done_twice<S: Store>(s: &Subject<S>) {
    let mut tail = s.store.tail();
    until_open(s, &mut tail).await;
    let (number, id) = (random(), fresh());
    for _ in 0..2 {
        let done = s.store.write(number, vec![insert(Kind::Server, &id, &json!({}))]).await;
        assert_eq!(done, Ok(vec![1]));
    }
    let last = mark(s).await;
    let changes = until(&mut tail, &[&id], &last).await;
    // Announcing is at least once.
    assert!(!changes.is_empty() && changes.iter().all(|change| change.revision == 1), "{changes:?}");
}
