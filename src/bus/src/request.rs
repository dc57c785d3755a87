//! Whether a request makes sense. What does not is refused here, so that the stores need not expect it.

use std::mem::discriminant;

use culvert_model::{Kind, Millis};
use culvert_wire::bus::{BATCH, Claim, Fault, Find, Key, PAGE, Request, Write};

use crate::store::index;

/// The longest id in bytes.
const ID: usize = 512;

/// The longest owner's word in bytes.
const OWNER: usize = 128;

/// Parsing this many bytes is a turn.
const TURN: usize = 16 << 10;

/// The longest lease.
const LEASE: Millis = 24 * 3600 * 1000;

/// Checks a request.
///
/// # Errors
///
/// Says to a developer what is wrong with it.
pub fn check(request: &Request) -> Result<(), Fault> {
    match request {
        Request::Get { id, .. } => check_id(id),
        Request::Find(find) | Request::Count(find) => check_find(find),
        Request::Write { writes, .. } | Request::WriteAgain { writes, .. } => check_writes(writes),
        Request::Claim { id, owner, lease, .. } => check_id(id).and(check_owner(owner)).and(check_lease(*lease)),
        Request::Renew { id, claim, lease, .. } => check_id(id).and(check_claim(claim)).and(check_lease(*lease)),
        Request::Pass { id, claim, owner, lease, .. } => {
            check_id(id).and(check_claim(claim)).and(check_owner(owner)).and(check_lease(*lease))
        }
        Request::Release { id, claim, .. } => check_id(id).and(check_claim(claim)),
        Request::Sweep { kind, index, .. } => check_index(*kind, index).map(drop),
        Request::Subscribe(kinds) => unless(kinds.is_empty() || kinds.len() > Kind::ALL.len(), "no kinds, or too many")
            .and(unless(!kinds.iter().all(|kind| kind.announced()), "changes of that kind are not announced")),
        Request::Here | Request::Standing | Request::Restart | Request::Adopt { .. } => Ok(()),
    }
}

/// The same for writes, whose bodies are parsed: long ones let others have their turn in between.
///
/// # Errors
///
/// As [`check`].
pub async fn check_in_turns(writes: &[Write]) -> Result<(), Fault> {
    check_count(writes)?;
    for write in writes {
        check_write(write)?;
        if body(write).is_some_and(|body| body.len() > TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

fn body(write: &Write) -> Option<&[u8]> {
    match write {
        Write::Insert { body, .. } | Write::Update { body, .. } => Some(body),
        _ => None,
    }
}

fn unless(bad: bool, why: &str) -> Result<(), Fault> {
    if bad { Err(Fault::Invalid(why.into())) } else { Ok(()) }
}

fn check_id(id: &str) -> Result<(), Fault> {
    unless(id.is_empty() || id.len() > ID || id.chars().any(char::is_control), "an id is 1 to 512 bytes of plain text")
}

fn check_owner(owner: &str) -> Result<(), Fault> {
    let bad = owner.is_empty() || owner.len() > OWNER || owner.chars().any(char::is_control);
    unless(bad, "an owner is 1 to 128 bytes of plain text")
}

fn check_claim(claim: &Claim) -> Result<(), Fault> {
    check_owner(&claim.owner)
        .and(unless(i64::try_from(claim.epoch).is_err(), "an epoch is a positive number of 63 bits"))
}

fn check_lease(lease: Millis) -> Result<(), Fault> {
    unless(lease == 0 || lease > LEASE, "a lease lasts 1 ms to 24 h")
}

fn check_index(kind: Kind, name: &str) -> Result<usize, Fault> {
    let index = kind.index(name);
    index.map(|index| index.fields.len()).ok_or_else(|| Fault::Invalid(format!("{} has no index {name}", kind.name())))
}

fn check_find(find: &Find) -> Result<(), Fault> {
    // Without an index, the id is the only field, and positions have no keys.
    let by_id = find.index.is_empty();
    let (fields, keys) = if by_id {
        (1, 0)
    } else {
        let fields = check_index(find.kind, &find.index)?;
        (fields, fields)
    };
    let bounds = || find.from.iter().chain(&find.to);
    let mut given = find.equal.iter().chain(bounds());
    unless(find.equal.len() > fields, "more values than the index has fields")?;
    unless(bounds().next().is_some() && find.equal.len() == fields, "a range, but no field that it could be of")?;
    let apart = find.from.iter().zip(&find.to).any(|(from, to)| discriminant(from) != discriminant(to));
    unless(apart, "a range from one type to another")?;
    unless(by_id && given.any(|key| !matches!(key, Key::Text(_))), "an id is text")?;
    let long = |key: &Key| matches!(key, Key::Text(text) if text.len() > index::TEXT);
    unless(find.equal.iter().chain(bounds()).any(long), "text that is too long for an index")?;
    unless(find.after.as_ref().is_some_and(|after| after.keys.len() != keys), "a position in another index")?;
    unless(find.limit == 0 || find.limit > PAGE, "a page has 1 to 1000 rows")
}

fn check_writes(writes: &[Write]) -> Result<(), Fault> {
    check_count(writes)?;
    writes.iter().try_for_each(check_write)
}

fn check_count(writes: &[Write]) -> Result<(), Fault> {
    unless(writes.is_empty() || writes.len() > BATCH, "a batch has 1 to 100 writes")
}

fn check_write(write: &Write) -> Result<(), Fault> {
    let (kind, id) = write.target();
    check_id(id)?;
    match write {
        Write::Insert { body, .. } => index::parse(kind, body).map(drop),
        Write::Update { guard, body, .. } => {
            guard.claim.as_ref().map_or(Ok(()), check_claim)?;
            index::parse(kind, body).map(drop)
        }
        Write::Delete { guard, .. } | Write::Check { guard, .. } => guard.claim.as_ref().map_or(Ok(()), check_claim),
        Write::Unheld { .. } => Ok(()),
        Write::Add { field, .. } => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            unless(field.is_empty() || !field.chars().all(plain), "a field to add to is a plain word")
        }
    }
}

#[cfg(test)]
mod tests {
    use culvert_wire::bus::{Guard, Position};

    use super::*;

    fn find() -> Find {
        Find {
            kind: Kind::User,
            index: "by_organization".into(),
            equal: vec![Key::Text("o".into())],
            from: None,
            to: None,
            after: None,
            descending: false,
            limit: 10,
        }
    }

    fn good(find: Find) -> bool {
        check(&Request::Find(find)).is_ok()
    }

    #[test]
    fn queries() {
        let text = |text: &str| Some(Key::Text(text.into()));
        assert!(good(find()));
        assert!(good(Find { from: text("a"), to: text("b"), ..find() }));
        assert!(!good(Find { index: "by_nothing".into(), ..find() }));
        assert!(!good(Find { equal: vec![Key::Null; 3], ..find() }));
        assert!(!good(Find { equal: vec![Key::Null; 2], from: text("a"), ..find() }));
        assert!(!good(Find { from: text("a"), to: Some(Key::Int(1)), ..find() }));
        assert!(!good(Find { from: text(&"x".repeat(2000)), ..find() }));
        assert!(!good(Find { limit: 0, ..find() }));
        assert!(!good(Find { limit: 1001, ..find() }));
        let at = |keys| Some(Position { keys, id: "x".into() });
        assert!(good(Find { after: at(vec![Key::Null; 2]), ..find() }));
        assert!(!good(Find { after: at(vec![]), ..find() }));
        let by_id = Find { index: String::new(), equal: vec![], ..find() };
        assert!(good(Find { after: at(vec![]), from: text("a"), ..by_id.clone() }));
        assert!(!good(Find { from: Some(Key::Int(1)), ..by_id }));
    }

    #[test]
    fn writes() {
        let insert = |id: &str, body: &str| Write::Insert { kind: Kind::User, id: id.into(), body: body.into() };
        let good = |writes: Vec<Write>| check(&Request::Write { id: 1, writes }).is_ok();
        assert!(good(vec![insert("x", "{}")]));
        assert!(!good(vec![]));
        assert!(!good(vec![insert("x", "{}"); 101]));
        assert!(!good(vec![insert("", "{}")]));
        assert!(!good(vec![insert("x\n", "{}")]));
        assert!(!good(vec![insert(&"x".repeat(513), "{}")]));
        assert!(!good(vec![insert("x", "[]")]));
        assert!(!good(vec![insert("x", r#"{"name":[]}"#)]));
        let add = |field: &str| Write::Add { kind: Kind::User, id: "x".into(), field: field.into(), delta: 1 };
        assert!(good(vec![add("last_active")]));
        assert!(!good(vec![add("$set")]) && !good(vec![add("a.b")]) && !good(vec![add("")]));
        let claim = Claim { owner: String::new(), epoch: 1 };
        let guard = Guard { revision: None, claim: Some(claim) };
        assert!(!good(vec![Write::Delete { kind: Kind::User, id: "x".into(), guard }]));
    }

    #[test]
    fn leases_and_subscriptions() {
        let claim = |owner: &str, lease| {
            check(&Request::Claim { kind: Kind::Job, id: "x".into(), revision: None, owner: owner.into(), lease })
                .is_ok()
        };
        assert!(claim("a", 1) && !claim("", 1) && !claim("a", 0) && !claim("a", LEASE + 1));
        let pass = |from: &str, to: &str, lease| {
            let claim = Claim { owner: from.into(), epoch: 1 };
            check(&Request::Pass { kind: Kind::Job, id: "x".into(), claim, owner: to.into(), lease }).is_ok()
        };
        assert!(pass("a", "b", 1) && !pass("", "b", 1) && !pass("a", "", 1) && !pass("a", "b", 0));
        assert!(check(&Request::Subscribe(vec![Kind::User])).is_ok());
        assert!(check(&Request::Subscribe(vec![])).is_err());
        assert!(check(&Request::Subscribe(vec![Kind::User, Kind::CaKey])).is_err());
        let sweep = |index: &str| Request::Sweep { kind: Kind::Log, index: index.into(), before: 1 };
        assert!(check(&sweep("by_time")).is_ok() && check(&sweep("")).is_err());
    }
}
