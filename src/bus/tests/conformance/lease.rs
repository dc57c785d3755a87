//! Leases, what they guard, and sweeping.

use std::time::Duration;

use culvert_bus::store::{Owner, Store};
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Claim, Guard, Lease, Refusal, Write};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::*;

/// Longer than any case takes.
const LONG: u64 = 60_000;

/// Short enough to wait for, long enough for a request on a busy machine.
const SHORT: u64 = 1_000;

async fn job<S: Store>(s: &Subject<S>) -> String {
    let id = fresh();
    s.make(Kind::Job, &id, &json!({ "n": 1 })).await;
    id
}

async fn claim<S: Store>(s: &Subject<S>, id: &str, name: &str, lease: u64) -> Claim {
    let row = s.store.claim(Kind::Job, id, None, s.owner(name), lease).await.expect("nobody holds it");
    let lease = row.lease.expect("it was just taken");
    Claim { owner: lease.owner, epoch: lease.epoch }
}

fn held(claim: &Claim) -> Guard {
    Guard { revision: None, claim: Some(claim.clone()) }
}

fn not_held<T: Debug>(answer: Answer<T>) -> Option<Lease> {
    match refused(answer) {
        (0, Refusal::NotHeld { lease }) => lease,
        other => panic!("the lease should not be held: {other:?}"),
    }
}

async fn run_out<S: Store>(s: &Subject<S>, id: &str) {
    let end = Instant::now() + SOON;
    while s.get(Kind::Job, id).await.expect("it is there").lease.is_some_and(|lease| lease.left > 0) {
        assert!(Instant::now() < end, "the lease runs out");
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn one_of_many_gets_it<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let race = (0..16).map(|n| async move {
        let owner = Owner { host: if n % 2 == 0 { s.host } else { HostId::new() }, name: format!("{n}") };
        (owner.clone(), s.store.claim(Kind::Job, id, None, owner, LONG).await)
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(race).await.into_iter().partition(|(_, answer)| answer.is_ok());
    let [(owner, Ok(row))] = &won[..] else { panic!("one gets it: {won:?}") };
    let lease = row.lease.clone().expect("it was just taken");
    assert_eq!((lease.host, &lease.owner), (owner.host, &owner.name));
    let epoch = lease.epoch;
    assert!(lease.left > LONG - 10_000 && lease.left <= LONG, "{lease:?}");
    assert_eq!((row.id.as_str(), row.revision, body(row)), (&id[..], 1, json!({ "n": 1 })));
    for (_, answer) in lost {
        let told = not_held(answer).expect("somebody holds it");
        assert_eq!((told.host, &told.owner, told.epoch), (owner.host, &owner.name, epoch));
    }
    let seen = s.get(Kind::Job, id).await.and_then(|row| row.lease).expect("it is held");
    assert_eq!((seen.host, &seen.owner, seen.epoch), (owner.host, &owner.name, epoch));
}

pub async fn it_runs_out<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let first = claim(s, id, "a", SHORT).await;
    run_out(s, id).await;
    let told = not_held(s.store.renew(Kind::Job, id, s.host, first.clone(), LONG).await);
    assert_eq!(told, Some(Lease { host: s.host, owner: "a".into(), epoch: first.epoch, left: 0 }), "too late");
    let second = claim(s, id, "b", LONG).await;
    assert_eq!(second.epoch, first.epoch + 1);
    not_held(s.store.renew(Kind::Job, id, s.host, first.clone(), LONG).await);
    not_held(s.store.release(Kind::Job, id, s.host, first).await);
    assert!(s.store.renew(Kind::Job, id, s.host, second, LONG).await.is_ok());
}

pub async fn it_is_renewed<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let mine = claim(s, id, "a", SHORT).await;
    let row = s.store.renew(Kind::Job, id, s.host, mine.clone(), LONG).await.expect("it is held");
    let lease = row.lease.expect("it is held");
    assert_eq!((lease.host, lease.owner, lease.epoch), (s.host, "a".to_string(), mine.epoch));
    assert!(lease.left > SHORT && lease.left <= LONG);
    assert_eq!((row.id.as_str(), row.revision, row.body.is_empty()), (&id[..], 1, false));
    // Shorter than before is possible, too.
    s.store.renew(Kind::Job, id, s.host, mine.clone(), 1).await.expect("it is held");
    run_out(s, id).await;
    not_held(s.store.renew(Kind::Job, id, s.host, mine, LONG).await);
}

pub async fn it_is_passed<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let first = claim(s, id, "a", LONG).await;
    let pass_for = async |claim: &Claim, word: &str, lease| {
        s.store.pass(Kind::Job, id, s.host, claim.clone(), word.into(), lease).await
    };
    let pass = async |claim: &Claim, word: &str| pass_for(claim, word, LONG).await;
    let row = pass_for(&first, "b", SHORT).await.expect("it is held");
    let lease = row.lease.expect("it is held");
    assert_eq!((lease.host, &lease.owner[..], lease.epoch, row.revision), (s.host, "b", first.epoch, 1));
    let again = pass(&first, "b").await.expect("it was passed by the same request");
    let again = again.lease.expect("it is held");
    assert!(again.owner == "b" && again.left > SHORT, "who asks counts from when it asked: {again:?}");
    let told = not_held(pass(&first, "c").await).expect("somebody who knew the word was faster");
    assert_eq!((&told.owner[..], told.epoch), ("b", first.epoch));
    not_held(s.store.renew(Kind::Job, id, s.host, first.clone(), LONG).await);
    let second = Claim { owner: "b".into(), epoch: first.epoch };
    not_held(s.store.pass(Kind::Job, id, HostId::new(), second.clone(), "c".into(), LONG).await);
    let short = pass_for(&second, "c", SHORT).await.expect("it is held");
    assert!(short.lease.is_some_and(|lease| lease.left <= SHORT));
    run_out(s, id).await;
    not_held(pass(&Claim { owner: "c".into(), epoch: first.epoch }, "d").await);
}

pub async fn it_is_released<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let mine = claim(s, id, "a", LONG).await;
    assert_eq!(s.store.release(Kind::Job, id, s.host, mine.clone()).await, Ok(()));
    let lease = s.get(Kind::Job, id).await.and_then(|row| row.lease);
    assert_eq!(lease, Some(Lease { host: s.host, owner: "a".into(), epoch: mine.epoch, left: 0 }));
    not_held(s.store.release(Kind::Job, id, s.host, mine.clone()).await);
    assert_eq!(claim(s, id, "a", LONG).await.epoch, mine.epoch + 1);
    not_held(s.store.release(Kind::Job, id, s.host, mine).await);
}

pub async fn claims_are_refused<S: Store>(s: &Subject<S>) {
    let none = fresh();
    let nothing = Claim { owner: "a".into(), epoch: 1 };
    let missing = (0, Refusal::Missing);
    assert_eq!(refused(s.store.claim(Kind::Job, &none, None, s.owner("a"), LONG).await), missing);
    assert_eq!(refused(s.store.renew(Kind::Job, &none, s.host, nothing.clone(), LONG).await), missing);
    assert_eq!(refused(s.store.release(Kind::Job, &none, s.host, nothing.clone()).await), missing);
    let id = &job(s).await;
    let stale = s.store.claim(Kind::Job, id, Some(7), s.owner("a"), LONG).await;
    assert_eq!(refused(stale), (0, Refusal::Stale { revision: 1 }));
    assert_eq!(not_held(s.store.renew(Kind::Job, id, s.host, nothing.clone(), LONG).await), None);
    assert_eq!(not_held(s.store.release(Kind::Job, id, s.host, nothing).await), None);
    assert!(s.store.claim(Kind::Job, id, Some(1), s.owner("$host"), LONG).await.is_ok());
    let told = not_held(s.store.claim(Kind::Job, id, Some(1), s.owner("$host"), LONG).await);
    assert_eq!(told.map(|lease| lease.owner), Some("$host".into()), "not even the same one gets it twice");
}

pub async fn it_guards_writes<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let other = &job(s).await;
    let first = claim(s, id, "a", SHORT).await;
    let write = |claim: &Claim| vec![update(Kind::Job, id, held(claim), &json!({ "n": 2 }))];
    assert_eq!(s.write(write(&first)).await, Ok(vec![2]));
    let epoch = first.epoch;
    for wrong in [Claim { owner: "b".into(), epoch }, Claim { owner: "a".into(), epoch: epoch + 1 }] {
        assert!(not_held(s.write(write(&wrong)).await).is_some());
    }
    not_held(s.write(vec![update(Kind::Job, other, held(&first), &json!({}))]).await);
    // Both of the guard's conditions count.
    let stale = Guard { revision: Some(1), claim: Some(first.clone()) };
    let answer = s.write(vec![update(Kind::Job, id, stale, &json!({}))]).await;
    assert_eq!(refused(answer), (0, Refusal::Stale { revision: 2 }));
    run_out(s, id).await;
    not_held(s.write(write(&first)).await);
    let second = claim(s, id, "a", LONG).await;
    let fence = |claim: &Claim| {
        vec![
            insert(Kind::Nonce, &format!("{id}{}", claim.epoch), &json!({ "expires": i64::MAX })),
            Write::Check { kind: Kind::Job, id: id.clone(), guard: held(claim) },
        ]
    };
    let (1, Refusal::NotHeld { lease: Some(lease) }) = refused(s.write(fence(&first)).await) else {
        panic!("the fence holds");
    };
    assert_eq!((lease.owner, lease.epoch), ("a".into(), second.epoch));
    assert_eq!(s.get(Kind::Nonce, &format!("{id}{epoch}")).await, None, "nothing of the batch was done");
    assert_eq!(s.write(fence(&second)).await, Ok(vec![1, 0]));
    assert_eq!(s.write(vec![delete(Kind::Job, id, held(&second))]).await, Ok(vec![0]));
    assert_eq!(refused(s.write(vec![delete(Kind::Job, id, held(&second))]).await), (0, Refusal::Missing));
}

/// Whoever comes back in just that moment is not said to be gone.
pub async fn that_nobody_holds_it_guards_writes<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let unheld = |id: &str| Write::Unheld { kind: Kind::Job, id: id.into() };
    let gone = || vec![unheld(id), update(Kind::Job, id, always(), &json!({ "n": 2 }))];
    assert_eq!(s.write(gone()).await, Ok(vec![0, 2]), "nobody ever held it");
    let mine = claim(s, id, "a", LONG).await;
    let told = not_held(s.write(gone()).await).expect("somebody holds it");
    assert_eq!((told.owner, told.epoch), (mine.owner.clone(), mine.epoch));
    assert!(not_held(s.write(vec![unheld(id)]).await).is_some(), "nor alone");
    assert_eq!(s.store.release(Kind::Job, id, s.host, mine).await, Ok(()));
    assert_eq!(s.write(gone()).await, Ok(vec![0, 3]), "it was given up");
    claim(s, id, "b", SHORT).await;
    assert!(not_held(s.write(gone()).await).is_some());
    run_out(s, id).await;
    assert_eq!(s.write(gone()).await, Ok(vec![0, 4]), "it ran out");
    assert_eq!(refused(s.write(vec![unheld(&fresh())]).await), (0, Refusal::Missing));
    // Of those who take it and those who say that nobody has, one is right.
    let owner = Owner { host: HostId::new(), name: "c".into() };
    let (taken, said) = tokio::join!(s.store.claim(Kind::Job, id, Some(4), owner, LONG), s.write(gone()));
    assert!(taken.is_ok() != said.is_ok(), "{taken:?}, {said:?}");
}

pub async fn another_host_holds_it<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let there = Owner { host: HostId::new(), name: "a".into() };
    let row = s.store.claim(Kind::Job, id, None, there.clone(), LONG).await.expect("nobody holds it");
    let lease = row.lease.expect("it was just taken");
    assert_eq!(lease.host, there.host);
    let theirs = Claim { owner: "a".into(), epoch: lease.epoch };
    not_held(s.write(vec![update(Kind::Job, id, held(&theirs), &json!({}))]).await);
    not_held(s.store.renew(Kind::Job, id, s.host, theirs.clone(), LONG).await);
    not_held(s.store.release(Kind::Job, id, s.host, theirs.clone()).await);
    assert!(s.store.renew(Kind::Job, id, there.host, theirs.clone(), LONG).await.is_ok());
    assert_eq!(s.store.release(Kind::Job, id, there.host, theirs).await, Ok(()));
}

/// A lease changes nothing of the record, and a write nothing of the lease.
pub async fn it_stands_beside_the_record<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let mine = claim(s, id, "a", LONG).await;
    s.store.renew(Kind::Job, id, s.host, mine.clone(), LONG).await.expect("it is held");
    assert_eq!(s.write(vec![update(Kind::Job, id, revision(1), &json!({ "state": id }))]).await, Ok(vec![2]));
    let row = s.get(Kind::Job, id).await.expect("it is there");
    let lease = row.lease.clone().expect("it is still held");
    assert!((lease.owner.as_str(), lease.epoch) == ("a", mine.epoch) && lease.left > 0);
    let found = s.store.find(query(Kind::Job, "by_state", vec![text(id)])).await.expect("the store answers");
    assert_eq!(found.rows[0].lease.as_ref().map(|lease| lease.epoch), Some(mine.epoch));
    s.write(vec![delete(Kind::Job, id, always())]).await.expect("it is there");
    s.make(Kind::Job, id, &json!({})).await;
    assert_eq!(s.get(Kind::Job, id).await.and_then(|row| row.lease), None, "a new record is free");
    not_held(s.store.renew(Kind::Job, id, s.host, mine, LONG).await);
}

/// A claim to a record that was deleted is none to a new one of its id, though the same one claims that as well.
pub async fn an_old_claim_is_none_to_a_new_record<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    let old = claim(s, id, "a", LONG).await;
    s.write(vec![delete(Kind::Job, id, always())]).await.expect("it is there");
    s.make(Kind::Job, id, &json!({ "n": 1 })).await;
    let new = claim(s, id, "a", LONG).await;
    assert!(new.epoch > old.epoch, "{} after {}", new.epoch, old.epoch);
    not_held(s.write(vec![update(Kind::Job, id, held(&old), &json!({ "n": 2 }))]).await);
    not_held(s.store.renew(Kind::Job, id, s.host, old.clone(), LONG).await);
    not_held(s.store.release(Kind::Job, id, s.host, old.clone()).await);
    // In one batch as well.
    let remade = vec![delete(Kind::Job, id, held(&new)), insert(Kind::Job, id, &json!({ "n": 3 }))];
    assert_eq!(s.write(remade).await, Ok(vec![0, 1]));
    let newest = claim(s, id, "a", LONG).await;
    assert!(newest.epoch > new.epoch, "{} after {}", newest.epoch, new.epoch);
    assert_eq!(s.write(vec![delete(Kind::Job, id, held(&newest))]).await, Ok(vec![0]));
}

/// Who claims what they have read claims that, not what became of it.
pub async fn of_a_stale_revision<S: Store>(s: &Subject<S>) {
    let id = &job(s).await;
    s.write(vec![update(Kind::Job, id, always(), &json!({ "n": 2 }))]).await.expect("it is there");
    let stale = s.store.claim(Kind::Job, id, Some(1), s.owner("a"), LONG).await;
    assert_eq!(refused(stale), (0, Refusal::Stale { revision: 2 }));
    assert_eq!(s.get(Kind::Job, id).await.and_then(|row| row.lease), None, "nobody got it");
    let held = s.store.claim(Kind::Job, id, Some(2), s.owner("a"), LONG).await.expect("nobody holds it");
    // The revision is told first, as writes do.
    let both = s.store.claim(Kind::Job, id, Some(1), s.owner("b"), LONG).await;
    assert_eq!(refused(both), (0, Refusal::Stale { revision: 2 }));
    assert_eq!(held.revision, 2);
}

pub async fn sweeps<S: Store>(s: &Subject<S>) {
    // Nobody else's expire that early.
    let base = i64::MIN / 2 + (random() as u32 as i64) * 1000;
    let prefix = fresh();
    let id = |n: i64| format!("{prefix}-{n}");
    let made: Vec<Write> = (0..50).map(|n| insert(Kind::Nonce, &id(n), &json!({ "expires": base + n }))).collect();
    s.write(made).await.expect("they are new");
    s.make(Kind::Nonce, &format!("{prefix}-null"), &json!({ "expires": null })).await;
    s.make(Kind::Nonce, &format!("{prefix}-text"), &json!({ "expires": "0" })).await;
    // Those of earlier runs go, too.
    let swept = s.store.sweep(Kind::Nonce, "by_expiry", base + 20).await.expect("the store answers");
    assert!(swept >= 20);
    assert_eq!(s.get(Kind::Nonce, &id(19)).await, None);
    assert!(s.get(Kind::Nonce, &id(20)).await.is_some(), "the bound is exclusive");
    assert!(s.get(Kind::Nonce, &format!("{prefix}-null")).await.is_some());
    assert!(s.get(Kind::Nonce, &format!("{prefix}-text")).await.is_some());
    assert_eq!(s.store.sweep(Kind::Nonce, "by_expiry", base + 20).await, Ok(0));
    assert_eq!(s.store.sweep(Kind::Nonce, "by_expiry", base + 50).await, Ok(30));
}
