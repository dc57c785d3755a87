//! What a record's body gives to its kind's indexes, the same in every store.

use culvert_model::{Index, Kind};
use culvert_wire::bus::{Fault, Key};
use serde_json::{Map, Value};

/// The longest body in bytes.
pub const BODY: usize = 1 << 20;

/// The longest text in an index, in bytes.
pub const TEXT: usize = 1024;

/// A body as an object.
///
/// # Errors
///
/// It is too long, is no JSON object, or a field that an index uses holds something else than text, a whole number, a
/// truth value or nothing.
pub fn parse(kind: Kind, body: &[u8]) -> Result<Map<String, Value>, Fault> {
    if body.len() > BODY {
        return Err(Fault::Invalid(format!("a body in {} is longer than {BODY} bytes", kind.name())));
    }
    let object: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| Fault::Invalid(format!("a body in {} is no JSON object: {error}", kind.name())))?;
    for index in kind.indexes() {
        keys(index, &object)?;
    }
    Ok(object)
}

/// The values of all of an index's fields.
///
/// # Errors
///
/// As [`parse`].
pub fn keys(index: &Index, object: &Map<String, Value>) -> Result<Vec<Key>, Fault> {
    index.fields.iter().map(|field| key(field, object.get(*field))).collect()
}

/// Whether a unique index leaves a record with these values out.
#[must_use]
pub fn left_out(index: &Index, keys: &[Key]) -> bool {
    index.unique && keys.contains(&Key::Null)
}

/// The value of the field that goes along with every change of this kind.
#[must_use]
pub fn scope(kind: Kind, object: &Map<String, Value>) -> Option<String> {
    match object.get(kind.scope()?)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn key(field: &str, value: Option<&Value>) -> Result<Key, Fault> {
    match value {
        None | Some(Value::Null) => Ok(Key::Null),
        Some(Value::Bool(truth)) => Ok(Key::Bool(*truth)),
        Some(Value::String(text)) if text.len() <= TEXT => Ok(Key::Text(text.clone())),
        Some(Value::Number(number)) => number.as_i64().map(Key::Int).ok_or_else(|| bad(field)),
        Some(_) => Err(bad(field)),
    }
}

fn bad(field: &str) -> Fault {
    Fault::Invalid(format!(
        "the field {field} is in an index and must hold short text, a whole number or a truth value"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, index: &str, body: &str) -> Result<Vec<Key>, Fault> {
        let object = parse(kind, body.as_bytes())?;
        keys(kind.index(index).expect("the kind has it"), &object)
    }

    #[test]
    fn fields_become_keys() {
        let body = r#"{"state":"open","priority":1,"more":[1]}"#;
        let expected = vec![Key::Text("open".into()), Key::Int(1), Key::Null];
        assert_eq!(of(Kind::Job, "by_state", body), Ok(expected));
    }

    #[test]
    fn refuses_what_no_index_can_hold() {
        for body in ["[]", "{", "", r#"{"state":{}}"#, r#"{"priority":1.5}"#, r#"{"created":18446744073709551615}"#] {
            assert!(matches!(parse(Kind::Job, body.as_bytes()), Err(Fault::Invalid(_))), "{body}");
        }
        let long = format!(r#"{{"state":"{}"}}"#, "x".repeat(TEXT + 1));
        assert!(parse(Kind::Job, long.as_bytes()).is_err());
        assert!(parse(Kind::Job, &vec![b' '; BODY + 1]).is_err());
    }
}
