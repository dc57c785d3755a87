//! Writing.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use culvert_bus::store::{Store, Trouble};
use culvert_model::Kind;
use culvert_wire::bus::{Fault, Refusal, Write};
use futures_util::future::join_all;
use serde_json::json;

use super::*;

pub async fn a_record_lives<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    assert_eq!(s.get(Kind::Server, id).await, None);
    let why = refused(s.write(vec![update(Kind::Server, id, always(), &json!({}))]).await);
    assert_eq!(why, (0, Refusal::Missing));
    assert_eq!(refused(s.write(vec![delete(Kind::Server, id, always())]).await), (0, Refusal::Missing));

    s.make(Kind::Server, id, &json!({ "name": "a" })).await;
    let row = s.get(Kind::Server, id).await.expect("it is there");
    assert_eq!(
        (row.id.as_str(), row.revision, body(&row), row.lease.clone()),
        (&id[..], 1, json!({ "name": "a" }), None)
    );
    assert_eq!(s.get(Kind::User, id).await, None, "another kind is another record");
    let again = s.write(vec![insert(Kind::Server, id, &json!({ "name": "b" }))]).await;
    assert_eq!(refused(again), (0, Refusal::Exists));

    assert_eq!(s.write(vec![update(Kind::Server, id, always(), &json!({ "name": "c" }))]).await, Ok(vec![2]));
    let row = s.get(Kind::Server, id).await.expect("it is there");
    assert_eq!((row.revision, body(&row)), (2, json!({ "name": "c" })));

    assert_eq!(s.write(vec![delete(Kind::Server, id, always())]).await, Ok(vec![0]));
    assert_eq!(s.get(Kind::Server, id).await, None);
    s.make(Kind::Server, id, &json!({ "name": "d" })).await;
}

pub async fn bodies_come_back<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    let sent = json!({
        "name": "Zoë \u{1F980} \u{0} \"\\ \u{7f}",
        "_id": "mine", "revision": "mine too", "lease": { "owner": 1 }, "id": "x",
        "$set": { "$literal": ["$name", "$$NOW"] }, "a.b": { ".": 1, "": 2 },
        "numbers": [0, -1, i64::MAX, i64::MIN, 1.5, -0.25, 1e300],
        "empty": [[], {}, "", null], "truth": [true, false], "deep": [[[[[{ "x": [null] }]]]]],
        "long": "x".repeat(300_000),
    });
    s.make(Kind::Server, id, &sent).await;
    let row = s.get(Kind::Server, id).await.expect("it is there");
    assert_eq!(body(&row), sent);
    let found = s
        .store
        .find(query(Kind::Server, "by_name", vec![Key::Text(sent["name"].as_str().expect("it is text").into())]))
        .await;
    assert_eq!(found.map(|found| found.rows), Ok(vec![row]));
}

pub async fn guards_hold<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    s.make(Kind::User, id, &json!({ "n": 1 })).await;
    let second = s.write(vec![update(Kind::User, id, revision(1), &json!({ "n": 2 }))]).await;
    assert_eq!(second, Ok(vec![2]));
    let stale = (0, Refusal::Stale { revision: 2 });
    assert_eq!(refused(s.write(vec![update(Kind::User, id, revision(1), &json!({ "n": 3 }))]).await), stale);
    assert_eq!(refused(s.write(vec![delete(Kind::User, id, revision(1))]).await), stale);
    let check = |number| Write::Check { kind: Kind::User, id: id.clone(), guard: revision(number) };
    assert_eq!(refused(s.write(vec![check(1)]).await), stale);
    assert_eq!(s.write(vec![check(2)]).await, Ok(vec![0]));
    let row = s.get(Kind::User, id).await.expect("it is there");
    assert_eq!((row.revision, body(&row)), (2, json!({ "n": 2 })), "a check changes nothing");
    assert_eq!(s.write(vec![delete(Kind::User, id, revision(2))]).await, Ok(vec![0]));
    assert_eq!(refused(s.write(vec![check(2)]).await), (0, Refusal::Missing));
}

pub async fn a_batch_is_all_or_none<S: Store>(s: &Subject<S>) {
    let [a, b, c] = [fresh(), fresh(), fresh()];
    s.make(Kind::User, &a, &json!({ "n": 1 })).await;
    s.make(Kind::User, &c, &json!({ "n": 1 })).await;
    let batch = |number| {
        vec![
            update(Kind::User, &a, always(), &json!({ "n": 2 })),
            insert(Kind::Server, &b, &json!({})),
            Write::Check { kind: Kind::User, id: c.clone(), guard: revision(number) },
            delete(Kind::User, &c, always()),
        ]
    };
    assert_eq!(refused(s.write(batch(7)).await), (2, Refusal::Stale { revision: 1 }));
    assert_eq!(s.get(Kind::User, &a).await.map(|row| row.revision), Some(1));
    assert_eq!(s.get(Kind::Server, &b).await, None);
    assert!(s.get(Kind::User, &c).await.is_some());
    assert_eq!(s.write(batch(1)).await, Ok(vec![2, 1, 0, 0]));
    assert_eq!(s.get(Kind::User, &a).await.map(|row| row.revision), Some(2));
    assert!(s.get(Kind::Server, &b).await.is_some());
    assert_eq!(s.get(Kind::User, &c).await, None);
}

pub async fn a_batch_sees_itself<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    let add = |delta| Write::Add { kind: Kind::User, id: id.clone(), field: "n".into(), delta };
    let writes = vec![
        insert(Kind::User, id, &json!({ "n": 1 })),
        add(2),
        Write::Check { kind: Kind::User, id: id.clone(), guard: revision(2) },
        update(Kind::User, id, revision(2), &json!({ "n": 10 })),
        add(-1),
    ];
    assert_eq!(s.write(writes).await, Ok(vec![1, 2, 0, 3, 4]));
    let row = s.get(Kind::User, id).await.expect("it is there");
    assert_eq!((row.revision, body(&row)), (4, json!({ "n": 9 })));
    let writes =
        vec![delete(Kind::User, id, always()), insert(Kind::User, id, &json!({})), delete(Kind::User, id, revision(1))];
    assert_eq!(s.write(writes).await, Ok(vec![0, 1, 0]));
    assert_eq!(s.get(Kind::User, id).await, None);
    let writes = vec![insert(Kind::User, id, &json!({})), insert(Kind::User, id, &json!({}))];
    assert_eq!(refused(s.write(writes).await), (1, Refusal::Exists));
    assert_eq!(s.get(Kind::User, id).await, None);
}

/// Two batches that write the same records never mix.
pub async fn a_batch_is_carried_out_at_once<S: Store>(s: &Subject<S>) {
    let [a, b] = [fresh(), fresh()];
    s.make(Kind::User, &a, &json!({ "n": 0 })).await;
    s.make(Kind::User, &b, &json!({ "n": 0 })).await;
    let writer = |n: u64| {
        let (a, b) = (a.clone(), b.clone());
        async move {
            let body = json!({ "n": n });
            let [x, y] = [update(Kind::User, &a, always(), &body), update(Kind::User, &b, always(), &body)];
            // In both orders, which is how two batches could wait for each other.
            let writes = if n.is_multiple_of(2) { vec![x, y] } else { vec![y, x] };
            s.write(writes).await
        }
    };
    for answer in join_all((1..=8).map(writer)).await {
        assert!(matches!(answer, Ok(_) | Err(Trouble::Fault(Fault::Unavailable))), "{answer:?}");
    }
    let [a, b] = [s.get(Kind::User, &a).await, s.get(Kind::User, &b).await].map(|row| row.expect("it is there"));
    assert_eq!((a.revision, body(&a)), (b.revision, body(&b)));
    assert!(a.revision > 1);
}

pub async fn unique_indexes<S: Store>(s: &Subject<S>) {
    let server = &fresh();
    let [a, b] = [fresh(), fresh()];
    s.make(Kind::Address, &a, &address(server, "10.0.0.2")).await;
    let taken = Refusal::Taken { index: "by_address".into() };
    let second = s.write(vec![insert(Kind::Address, &b, &address(server, "10.0.0.2"))]).await;
    assert_eq!(refused(second), (0, taken.clone()));
    assert_eq!(s.get(Kind::Address, &b).await, None);
    s.make(Kind::Address, &b, &address(server, "10.0.0.3")).await;
    let moved = vec![
        insert(Kind::Address, &fresh(), &address(server, "10.0.0.9")),
        update(Kind::Address, &b, always(), &address(server, "10.0.0.2")),
    ];
    assert_eq!(refused(s.write(moved).await), (1, taken));
    let same = s.write(vec![update(Kind::Address, &b, always(), &address(server, "10.0.0.3"))]).await;
    assert_eq!(same, Ok(vec![2]), "a record does not stand in its own way");
    // Freed in the same batch.
    let swap = vec![
        delete(Kind::Address, &a, always()),
        update(Kind::Address, &b, always(), &address(server, "10.0.0.2")),
        insert(Kind::Address, &a, &address(server, "10.0.0.3")),
    ];
    assert_eq!(s.write(swap).await, Ok(vec![0, 3, 1]));
    // With an empty field, any number may be alike.
    for _ in 0..2 {
        s.make(Kind::Address, &fresh(), &json!({ "server": server, "address": null })).await;
        s.make(Kind::Address, &fresh(), &json!({ "address": "10.0.0.2" })).await;
    }
    let race = join_all(
        (0..8).map(|_| async { s.write(vec![insert(Kind::Address, &fresh(), &address(server, "10.0.0.77"))]).await }),
    );
    assert_eq!(race.await.into_iter().filter(Result::is_ok).count(), 1, "one of many gets it");
}

pub async fn a_write_is_done_once<S: Store>(s: &Subject<S>) {
    let [a, b] = [fresh(), fresh()];
    let number = random();
    let writes = vec![
        insert(Kind::User, &a, &json!({ "n": 1 })),
        Write::Add { kind: Kind::User, id: a.clone(), field: "n".into(), delta: 1 },
    ];
    assert_eq!(s.store.write(number, writes.clone()).await, Ok(vec![1, 2]));
    assert_eq!(s.store.write(number, writes.clone()).await, Ok(vec![1, 2]));
    s.write(vec![update(Kind::User, &a, always(), &json!({ "n": 5 }))]).await.expect("it is there");
    assert_eq!(s.store.write(number, writes).await, Ok(vec![1, 2]));
    let row = s.get(Kind::User, &a).await.expect("it is there");
    assert_eq!((row.revision, body(&row)), (3, json!({ "n": 5 })));

    // A single deletion as well, though nothing is left to remember it by.
    let (number, gone) = (random(), vec![delete(Kind::User, &a, revision(3))]);
    assert_eq!(s.store.write(number, gone.clone()).await, Ok(vec![0]));
    assert_eq!(s.store.write(number, gone).await, Ok(vec![0]));

    // And each of many at the same time.
    s.make(Kind::User, &b, &json!({ "n": 0 })).await;
    let number = random();
    let add = || vec![Write::Add { kind: Kind::User, id: b.clone(), field: "n".into(), delta: 1 }];
    for answer in join_all((0..4).map(|_| s.store.write(number, add()))).await {
        assert_eq!(answer, Ok(vec![2]));
    }
    assert_eq!(s.get(Kind::User, &b).await.map(|row| body(&row)), Some(json!({ "n": 1 })));
}

pub async fn numbers_are_added<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    s.make(Kind::User, id, &json!({ "n": 40, "t": "x", "z": null, "f": 1.5, "big": i64::MAX })).await;
    let add = |field: &str, delta| vec![Write::Add { kind: Kind::User, id: id.clone(), field: field.into(), delta }];
    assert_eq!(s.write(add("n", 2)).await, Ok(vec![2]));
    assert_eq!(s.write(add("n", -50)).await, Ok(vec![3]));
    for (field, delta) in [("t", 1), ("z", 1), ("f", 1), ("none", 1), ("big", 1)] {
        let answer = s.write(add(field, delta)).await;
        assert!(matches!(answer, Err(Trouble::Fault(Fault::Invalid(_)))), "{field}: {answer:?}");
    }
    let row = s.get(Kind::User, id).await.expect("it is there");
    assert_eq!(body(&row), json!({ "n": -8, "t": "x", "z": null, "f": 1.5, "big": i64::MAX }));
    let missing = vec![Write::Add { kind: Kind::User, id: fresh(), field: "n".into(), delta: 1 }];
    assert_eq!(refused(s.write(missing).await), (0, Refusal::Missing));
    let answers = join_all((0..16).map(|_| s.write(add("n", 1)))).await;
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    let mut revisions: Vec<u64> = answers.into_iter().flatten().flatten().collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (4..4 + done as u64).collect::<Vec<_>>(), "each has a revision of its own");
    assert_eq!(s.get(Kind::User, id).await.map(|row| body(&row)["n"].clone()), Some(json!(done as i64 - 8)));
    assert_eq!(done, 16);
}

/// At both ends, exactly.
pub async fn numbers_end_somewhere<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    s.make(Kind::User, id, &json!({ "up": i64::MAX - 1, "down": i64::MIN + 1, "zero": 0 })).await;
    let add = |field: &str, delta| vec![Write::Add { kind: Kind::User, id: id.clone(), field: field.into(), delta }];
    for (field, delta, good) in [
        ("up", 2, false),
        ("up", 1, true),
        ("up", 1, false),
        ("up", i64::MAX, false),
        ("down", -2, false),
        ("down", i64::MIN, false),
        ("down", -1, true),
        ("down", -1, false),
        ("zero", i64::MIN, true),
        ("zero", i64::MAX, true),
        ("zero", 1, true),
    ] {
        let answer = s.write(add(field, delta)).await;
        let fits = match &answer {
            Ok(_) => good,
            Err(Trouble::Fault(Fault::Invalid(_))) => !good,
            _ => false,
        };
        assert!(fits, "{field} + {delta}: {answer:?}");
    }
    // A batch in which one overflows changes nothing.
    let batch = [add("zero", 5), add("up", 1)].concat();
    assert!(matches!(s.write(batch).await, Err(Trouble::Fault(Fault::Invalid(_)))));
    let row = s.get(Kind::User, id).await.expect("it is there");
    assert_eq!(body(&row), json!({ "up": i64::MAX, "down": i64::MIN, "zero": 0 }));
}

/// Each write of a batch has its say, and the guards of the later ones are about what the earlier ones made.
pub async fn one_record_twice_in_a_batch<S: Store>(s: &Subject<S>) {
    let id = &fresh();
    s.make(Kind::User, id, &json!({ "n": 1 })).await;
    let to = |n: i64, guard| update(Kind::User, id, guard, &json!({ "n": n }));
    assert_eq!(s.write(vec![to(2, revision(1)), to(3, revision(2))]).await, Ok(vec![2, 3]));
    assert_eq!(
        refused(s.write(vec![to(4, revision(3)), to(5, revision(3))]).await),
        (1, Refusal::Stale { revision: 4 })
    );
    let check = Write::Check { kind: Kind::User, id: id.clone(), guard: revision(3) };
    assert_eq!(refused(s.write(vec![to(4, always()), check.clone()]).await), (1, Refusal::Stale { revision: 4 }));
    assert_eq!(s.write(vec![check, to(4, always())]).await, Ok(vec![0, 4]));
    let gone = vec![delete(Kind::User, id, always()), to(5, always())];
    assert_eq!(refused(s.write(gone).await), (1, Refusal::Missing));
    let row = s.get(Kind::User, id).await.expect("it is there");
    assert_eq!((row.revision, body(&row)), (4, json!({ "n": 4 })));
}

/// Revisions keep writers from overwriting each other.
pub async fn only_one_of_many_wins<S: Store>(s: &Subject<S>) {
    let id = Arc::new(fresh());
    s.make(Kind::User, &id, &json!({ "n": 0 })).await;
    for round in 1..=5_u64 {
        let race = (0..6).map(|n| {
            let id = id.clone();
            async move { s.write(vec![update(Kind::User, &id, revision(round), &json!({ "n": n }))]).await }
        });
        let won = join_all(race).await.into_iter().filter(|answer| match answer {
            Ok(revisions) => *revisions == [round + 1],
            Err(trouble) => {
                let stale = Trouble::Refused { write: 0, why: Refusal::Stale { revision: round + 1 } };
                assert_eq!(*trouble, stale);
                false
            }
        });
        assert_eq!(won.count(), 1);
    }
}

pub async fn strange_ids_and_fields<S: Store>(s: &Subject<S>) {
    let prefix = fresh();
    for strange in ["$where", "a.b", "a/b", "{}", "'; DROP TABLE records", "ÿ", "%", "*", "x y", "0"] {
        let id = format!("{prefix}{strange}");
        s.make(Kind::Nonce, &id, &json!({ "expires": 1 })).await;
        assert_eq!(s.get(Kind::Nonce, &id).await.map(|row| row.id), Some(id));
    }
    assert_eq!(s.get(Kind::Nonce, &format!("{prefix}.")).await, None);
}

pub async fn the_clock_goes<S: Store>(s: &Subject<S>) {
    let first = s.store.now().await.expect("the store answers");
    let here = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as u64;
    assert!(first.abs_diff(here) < 60_000, "{first} is milliseconds since 1970, as is {here}");
    assert!(s.store.now().await.expect("the store answers") >= first);
}
