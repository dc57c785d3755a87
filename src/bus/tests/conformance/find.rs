//! Finding.

use culvert_bus::store::Store;
use culvert_model::Kind;
use culvert_wire::bus::{Find, Key};
use serde_json::json;

use super::*;

/// Jobs `<scope>-<n>` of a state of their own, so that `by_state` finds these alone, each with what the list says.
async fn jobs<S: Store>(s: &Subject<S>, bodies: &[Value]) -> String {
    let scope = fresh();
    let writes = bodies.iter().enumerate().map(|(n, body)| {
        let mut body = body.clone();
        body["state"] = json!(scope);
        insert(Kind::Job, &format!("{scope}-{n}"), &body)
    });
    s.write(writes.collect()).await.expect("they are new");
    scope
}

async fn numbers<S: Store>(s: &Subject<S>, find: Find) -> Vec<u32> {
    let number = |id: &String| id.split('-').nth(1).and_then(|n| n.parse().ok()).expect("ids of this module");
    s.ids(find).await.iter().map(number).collect()
}

pub async fn in_the_order_of_an_index<S: Store>(s: &Subject<S>) {
    let bodies = [
        json!({ "priority": 1, "created": 5 }),
        json!({ "priority": 0, "created": 9 }),
        json!({ "priority": 1, "created": -3 }),
        json!({ "priority": 1, "created": 5 }),
        json!({ "priority": -1, "created": 0 }),
        json!({ "priority": 1, "created": i64::MAX }),
        json!({ "priority": i64::MIN, "created": 1 }),
    ];
    let state = jobs(s, &bodies).await;
    let find = query(Kind::Job, "by_state", vec![text(&state)]);
    assert_eq!(numbers(s, find.clone()).await, [6, 4, 1, 2, 0, 3, 5]);
    assert_eq!(numbers(s, Find { descending: true, ..find.clone() }).await, [5, 3, 0, 2, 1, 4, 6]);
    assert_eq!(numbers(s, Find { descending: true, limit: 3, ..find.clone() }).await, [5, 3, 0]);
    let found = s.store.find(Find { limit: 7, ..find }).await.expect("the store answers");
    assert_eq!((found.rows.len(), found.next), (7, None), "there is no more");
}

pub async fn by_equality<S: Store>(s: &Subject<S>) {
    let bodies =
        [json!({ "priority": 1, "created": 5 }), json!({ "priority": 1 }), json!({ "priority": "1", "created": 5 })];
    let state = &jobs(s, &bodies).await;
    let by = |keys: &[Key]| query(Kind::Job, "by_state", [&[text(state)], keys].concat());
    assert_eq!(numbers(s, by(&[Key::Int(1)])).await, [1, 0]);
    assert_eq!(numbers(s, by(&[Key::Int(1), Key::Int(5)])).await, [0]);
    assert_eq!(numbers(s, by(&[Key::Int(1), Key::Null])).await, [1], "what is not there is nothing");
    assert_eq!(numbers(s, by(&[text("1")])).await, [2]);
    assert!(numbers(s, by(&[Key::Bool(true)])).await.is_empty());
    assert!(s.ids(query(Kind::Job, "by_state", vec![text(&state[1..])])).await.is_empty());
    assert!(s.ids(query(Kind::Job, "by_state", vec![text("$ne")])).await.is_empty());
}

pub async fn by_range<S: Store>(s: &Subject<S>) {
    let bodies: Vec<Value> =
        [json!(-5), json!(0), json!(5), json!(10), json!("a"), json!("b"), json!(null), json!(true)]
            .into_iter()
            .map(|priority| json!({ "priority": priority }))
            .collect();
    let state = jobs(s, &bodies).await;
    let find =
        |from: Option<Key>, to: Option<Key>| Find { from, to, ..query(Kind::Job, "by_state", vec![text(&state)]) };
    let cases = [
        (Some(Key::Int(0)), Some(Key::Int(10)), vec![1, 2]),
        (Some(Key::Int(0)), None, vec![1, 2, 3]),
        (None, Some(Key::Int(5)), vec![0, 1]),
        (Some(text("a")), None, vec![4, 5]),
        (None, Some(text("b")), vec![4]),
        (Some(text("aa")), Some(text("c")), vec![5]),
        (Some(Key::Int(5)), Some(Key::Int(5)), vec![]),
        (Some(Key::Int(9)), Some(Key::Int(1)), vec![]),
        (Some(Key::Int(11)), None, vec![]),
    ];
    for (from, to, expected) in cases {
        let find = find(from, to);
        assert_eq!(numbers(s, find.clone()).await, expected, "{find:?}");
        assert_eq!(s.store.count(find.clone()).await, Ok(expected.len() as u64), "{find:?}");
        let backwards: Vec<u32> = expected.into_iter().rev().collect();
        assert_eq!(numbers(s, Find { descending: true, ..find }).await, backwards);
    }
}

pub async fn types_sort<S: Store>(s: &Subject<S>) {
    let bodies: Vec<Value> = [
        json!(false),
        json!("B"),
        json!("a"),
        json!("ÿ"),
        json!("aa"),
        json!(""),
        json!(-1),
        json!(1000),
        json!(999),
        json!(null),
        json!(true),
        json!("a\u{0}"),
        json!("\u{1F980}"),
    ]
    .into_iter()
    .map(|priority| json!({ "priority": priority }))
    .collect();
    let state = jobs(s, &bodies).await;
    let find = query(Kind::Job, "by_state", vec![text(&state)]);
    let expected = [9, 6, 8, 7, 5, 1, 2, 11, 4, 3, 12, 0, 10];
    assert_eq!(numbers(s, find.clone()).await, expected);
    assert_eq!(paged(s, Find { limit: 2, ..find }).await, expected);
}

async fn paged<S: Store>(s: &Subject<S>, mut find: Find) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        all.extend(numbers(s, find.clone()).await);
        find.after = s.store.find(find.clone()).await.expect("the store answers").next;
        if find.after.is_none() {
            return all;
        }
    }
}

pub async fn by_id<S: Store>(s: &Subject<S>) {
    let bodies = vec![json!({}); 5];
    let state = jobs(s, &bodies).await;
    let id = |n: u32| Some(text(&format!("{state}-{n}")));
    let find = Find { from: id(1), to: id(4), ..query(Kind::Job, "", vec![]) };
    assert_eq!(numbers(s, find.clone()).await, [1, 2, 3]);
    assert_eq!(numbers(s, Find { descending: true, ..find.clone() }).await, [3, 2, 1]);
    assert_eq!(paged(s, Find { limit: 1, ..find.clone() }).await, [1, 2, 3]);
    assert_eq!(paged(s, Find { limit: 2, descending: true, ..find.clone() }).await, [3, 2, 1]);
    assert_eq!(s.store.count(find.clone()).await, Ok(3));
    let one = query(Kind::Job, "", id(2).into_iter().collect());
    assert_eq!(numbers(s, one.clone()).await, [2]);
    assert_eq!(s.store.count(one).await, Ok(1));
    let found = s.store.find(Find { limit: 1, ..find }).await.expect("the store answers");
    assert_eq!(found.next.map(|next| (next.keys, next.id)), Some((vec![], format!("{state}-1"))));
}

pub async fn page_by_page<S: Store>(s: &Subject<S>) {
    // Many are alike in the index, so that pages end between those.
    let bodies: Vec<Value> = (0..37).map(|n| json!({ "priority": n / 10, "created": null })).collect();
    let state = jobs(s, &bodies).await;
    let find = query(Kind::Job, "by_state", vec![text(&state)]);
    let whole = numbers(s, find.clone()).await;
    assert_eq!(whole.len(), 37);
    for limit in [1, 2, 9, 10, 36, 37, 38] {
        assert_eq!(paged(s, Find { limit, ..find.clone() }).await, whole, "by {limit}");
        let backwards: Vec<u32> = whole.iter().rev().copied().collect();
        assert_eq!(paged(s, Find { limit, descending: true, ..find.clone() }).await, backwards, "by {limit}");
    }
    let first = s.store.find(Find { limit: 10, ..find.clone() }).await.expect("the store answers");
    let next = first.next.expect("there is more");
    assert_eq!(next.keys, [text(&state), Key::Int(0), Key::Null]);
    assert_eq!(next.id, first.rows[9].id);
    // The row that a page ended with may be gone.
    s.write(vec![delete(Kind::Job, &next.id, always())]).await.expect("it was there");
    assert_eq!(paged(s, Find { after: Some(next), limit: 5, ..find }).await, whole[10..]);
}

/// The row that a page ended with may be changed or deleted, or others put beside it, before the next page is asked for:
/// no other row is lost or comes twice.
pub async fn behind_a_place_that_moved<S: Store>(s: &Subject<S>) {
    let bodies: Vec<Value> = (0..9).map(|n| json!({ "priority": n / 3 })).collect();
    for descending in [false, true] {
        let state = jobs(s, &bodies).await;
        let find = Find { limit: 5, descending, ..query(Kind::Job, "by_state", vec![text(&state)]) };
        let first = s.store.find(find.clone()).await.expect("the store answers");
        let next = first.next.expect("there is more");
        let rest = Find { after: Some(next.clone()), limit: PAGE, ..find.clone() };
        let expected = if descending { vec![3, 2, 1, 0] } else { vec![5, 6, 7, 8] };
        assert_eq!(numbers(s, rest.clone()).await, expected);
        // It moves to the other end, among those that were given already.
        let moved = json!({ "state": state, "priority": if descending { 9 } else { -9 } });
        s.write(vec![update(Kind::Job, &next.id, always(), &moved)]).await.expect("it is there");
        assert_eq!(numbers(s, rest.clone()).await, expected);
        s.write(vec![delete(Kind::Job, &next.id, always())]).await.expect("it is there");
        assert_eq!(numbers(s, rest.clone()).await, expected);
        // Another comes exactly there, with an id on either side of it.
        let same = json!({ "state": state, "priority": 1 });
        let before = format!("{}!", &next.id[..next.id.len() - 1]);
        let behind = format!("{}~-10", next.id.split('-').next().unwrap_or_default());
        s.make(Kind::Job, &before, &same).await;
        s.make(Kind::Job, &behind, &same).await;
        let found = s.ids(rest).await;
        let (there, not) = if descending { (&before, &behind) } else { (&behind, &before) };
        assert!(found.contains(there) && !found.contains(not) && found.len() == 5, "{found:?}");
    }
}

/// A page fits into a frame, whatever its limit.
pub async fn large_pages<S: Store>(s: &Subject<S>) {
    let scope = fresh();
    for n in 0..12 {
        s.make(Kind::Job, &format!("{scope}-{n:02}"), &json!({ "state": scope, "x": "x".repeat(900_000) })).await;
    }
    let find = query(Kind::Job, "by_state", vec![text(&scope)]);
    let found = s.store.find(find.clone()).await.expect("the store answers");
    let bytes: usize = found.rows.iter().map(|row| row.body.len()).sum();
    assert!(found.rows.len() < 12 && bytes < 6 << 20, "{} rows of {bytes} bytes", found.rows.len());
    assert!(found.next.is_some());
    assert_eq!(paged(s, find).await, (0..12).collect::<Vec<_>>());
}

pub async fn counts<S: Store>(s: &Subject<S>) {
    let bodies: Vec<Value> = (0..20).map(|n| json!({ "priority": n % 2 })).collect();
    let state = jobs(s, &bodies).await;
    let find = query(Kind::Job, "by_state", vec![text(&state)]);
    assert_eq!(s.store.count(find.clone()).await, Ok(20));
    let page = s.store.find(Find { limit: 3, ..find.clone() }).await.expect("the store answers");
    assert_eq!(s.store.count(Find { limit: 3, after: page.next, ..find.clone() }).await, Ok(20), "all, not a page");
    let odd = Find { equal: vec![text(&state), Key::Int(1)], ..find };
    assert_eq!(s.store.count(odd).await, Ok(10));
    assert_eq!(s.store.count(query(Kind::Job, "by_state", vec![text(&fresh())])).await, Ok(0));
}

pub async fn follows_updates<S: Store>(s: &Subject<S>) {
    let [first, second] = [jobs(s, &[json!({ "priority": 1 })]).await, fresh()];
    let id = format!("{first}-0");
    let by = |state: &str| query(Kind::Job, "by_state", vec![text(state)]);
    s.write(vec![update(Kind::Job, &id, always(), &json!({ "state": second }))]).await.expect("it is there");
    assert!(s.ids(by(&first)).await.is_empty());
    assert_eq!(s.ids(by(&second)).await, [id.as_str()]);
    let add = Write::Add { kind: Kind::Job, id: id.clone(), field: "created".into(), delta: 3 };
    s.write(vec![update(Kind::Job, &id, always(), &json!({ "state": second, "created": 4 })), add])
        .await
        .expect("a number");
    let exact = query(Kind::Job, "by_state", vec![text(&second), Key::Null, Key::Int(7)]);
    assert_eq!(s.ids(exact).await, [id.as_str()]);
    s.write(vec![delete(Kind::Job, &id, always())]).await.expect("it is there");
    assert!(s.ids(by(&second)).await.is_empty());
}

pub async fn unique_indexes_leave_out_what_is_empty<S: Store>(s: &Subject<S>) {
    let [server, a, b] = [fresh(), fresh(), fresh()];
    s.make(Kind::Address, &a, &json!({ "server": server, "user": server })).await;
    s.make(Kind::Address, &b, &json!({ "server": server, "user": server, "address": "10.0.0.2" })).await;
    let by_address = query(Kind::Address, "by_address", vec![text(&server)]);
    assert_eq!(s.ids(by_address.clone()).await, [b]);
    assert_eq!(s.store.count(by_address).await, Ok(1));
    assert_eq!(s.store.count(query(Kind::Address, "by_user", vec![text(&server)])).await, Ok(2));
}
