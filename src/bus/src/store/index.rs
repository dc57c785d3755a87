//! What a record's body gives to its kind's indexes, the same in every store.

use std::fmt;

use culvert_model::{Index, Kind};
use culvert_wire::bus::{Fault, Key};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
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

/// Of a body that was parsed before: the fields that its kind is found by, and its scope. Making values of all the others
/// would be for nothing, in the one thread for which all writes wait.
///
/// # Errors
///
/// It is no JSON object.
pub fn sketch(kind: Kind, body: &[u8]) -> Result<Map<String, Value>, Fault> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let object = Sketch(kind).deserialize(&mut json).and_then(|object| json.end().map(|()| object));
    object.map_err(|error| Fault::Invalid(format!("a body in {} is no JSON object: {error}", kind.name())))
}

struct Sketch(Kind);

impl Sketch {
    fn wants(&self, field: &str) -> bool {
        self.0.scope() == Some(field) || self.0.indexes().iter().any(|index| index.fields.contains(&field))
    }
}

impl<'de> DeserializeSeed<'de> for Sketch {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Sketch {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some(wanted) = fields.next_key_seed(Name(&self))? {
            match wanted {
                Some(field) => drop(object.insert(field, fields.next_value()?)),
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object)
    }
}

/// A field's name, if the field is wanted.
struct Name<'s>(&'s Sketch);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.wants(name).then(|| name.to_owned()))
    }
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
    fn a_sketch_has_the_same_keys_and_scope() {
        let body = r#"{"organization":"o","email":"x","n\u0061me":"n","groups":[{"a":[1]}],"name":"last"}"#;
        let (whole, sketch) = (parse(Kind::User, body.as_bytes()), sketch(Kind::User, body.as_bytes()));
        let (whole, sketch) = (whole.expect("it is JSON"), sketch.expect("it is JSON"));
        assert_eq!(sketch.len(), 2);
        for index in Kind::User.indexes() {
            assert_eq!(keys(index, &sketch), keys(index, &whole));
        }
        assert_eq!(scope(Kind::User, &sketch), scope(Kind::User, &whole));
        for body in ["[]", "{", "", "{} {}"] {
            assert!(super::sketch(Kind::User, body.as_bytes()).is_err(), "{body}");
        }
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
