//! A record's body, from JSON to BSON and back.
//!
//! The body stands in the document as BSON, so that the database's indexes see its fields. Names that mean something
//! to MongoDB (a dollar sign, a point) or that BSON cannot hold (a zero byte) are written with percent signs.

use std::borrow::Cow;
use std::io;

use culvert_wire::bus::Fault;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::store::damage::HUGE;

const SPECIAL: [(char, &str); 4] = [('%', "%25"), ('$', "%24"), ('.', "%2E"), ('\0', "%00")];

/// The name under which a field stands in a document.
#[must_use]
pub fn stored_name(name: &str) -> Cow<'_, str> {
    if !name.contains(SPECIAL.map(|(special, _)| special)) {
        return Cow::Borrowed(name);
    }
    let mut stored = String::with_capacity(name.len() + 6);
    for letter in name.chars() {
        match SPECIAL.iter().find(|(special, _)| *special == letter) {
            Some((_, written)) => stored.push_str(written),
            None => stored.push(letter),
        }
    }
    stored.into()
}

/// The name of the field that stands under this one.
fn shown_name(stored: &str) -> Cow<'_, str> {
    if !stored.contains('%') {
        return Cow::Borrowed(stored);
    }
    let mut shown = stored.to_owned();
    // The percent sign last, so that none that it makes is read again.
    for (special, written) in SPECIAL.iter().rev() {
        shown = shown.replace(written, special.encode_utf8(&mut [0; 4]));
    }
    shown.into()
}

/// An object as a document.
///
/// # Errors
///
/// It holds a number that BSON has no exact form for.
pub fn to_bson(object: Map<String, Value>) -> Result<Document, Fault> {
    object.into_iter().map(|(name, value)| Ok((stored_name(&name).into_owned(), value_to_bson(value)?))).collect()
}

fn value_to_bson(value: Value) -> Result<Bson, Fault> {
    Ok(match value {
        Value::Null => Bson::Null,
        Value::Bool(truth) => Bson::Boolean(truth),
        Value::String(text) => Bson::String(text),
        Value::Array(values) => Bson::Array(values.into_iter().map(value_to_bson).collect::<Result<_, _>>()?),
        Value::Object(object) => Bson::Document(to_bson(object)?),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Bson::Int64(whole),
            (None, Some(float)) if !number.is_u64() => Bson::Double(float),
            _ => return Err(Fault::Invalid(format!("the whole number {number} is too large for the store"))),
        },
    })
}

/// A document as JSON.
///
/// # Errors
///
/// It holds what no record of ours does, or is too long for one.
pub fn to_json(document: &RawDocument) -> Result<Vec<u8>, serde_json::Error> {
    let mut json = Limited(Vec::new());
    serde_json::to_writer(&mut json, &Shown(document))?;
    Ok(json.0)
}

/// Takes so many bytes, and no more of what is longer.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > HUGE {
            return Err(io::Error::other("it is longer than a record may be"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Shown<'d>(&'d RawDocument);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in self.0 {
            let (name, value) = field.map_err(S::Error::custom)?;
            map.serialize_entry(&shown_name(name.as_str()), &ShownValue(value))?;
        }
        map.end()
    }
}

struct ShownValue<'d>(RawBsonRef<'d>);

impl Serialize for ShownValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            RawBsonRef::Null => serializer.serialize_unit(),
            RawBsonRef::Boolean(truth) => serializer.serialize_bool(truth),
            RawBsonRef::Int32(number) => serializer.serialize_i32(number),
            RawBsonRef::Int64(number) => serializer.serialize_i64(number),
            RawBsonRef::Double(number) if number.is_finite() => serializer.serialize_f64(number),
            RawBsonRef::String(text) => serializer.serialize_str(text),
            RawBsonRef::Document(document) => Shown(document).serialize(serializer),
            RawBsonRef::Array(values) => {
                let mut list = serializer.serialize_seq(None)?;
                for value in values {
                    list.serialize_element(&ShownValue(value.map_err(S::Error::custom)?))?;
                }
                list.end()
            }
            other => Err(S::Error::custom(format!("a field holds {:?}", other.element_type()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::RawDocumentBuf;
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(object: &Map<String, Value>) -> Value {
        let document = to_bson(object.clone()).expect("it fits");
        let raw = RawDocumentBuf::try_from(&document).expect("it is a document");
        serde_json::from_slice(&to_json(&raw).expect("it is ours")).expect("it is JSON")
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |it| it.is_finite()).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(name(), inner, 0..5).prop_map(|it| Value::from(Map::from_iter(it))),
            ]
        })
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![".*", "[$.%\u{0}025E4a]*"]
    }

    proptest! {
        #[test]
        fn every_object_comes_back(object in prop::collection::btree_map(name(), value(), 0..6)) {
            let object = Map::from_iter(object);
            prop_assert_eq!(there_and_back(&object), Value::from(object));
        }

        #[test]
        fn no_stored_name_means_anything(name in name()) {
            let stored = stored_name(&name);
            prop_assert!(!stored.contains(['$', '.', '\0']));
            prop_assert_eq!(&*shown_name(&stored), &*name);
        }
    }

    #[test]
    fn refuses_what_bson_would_round() {
        let object = Map::from_iter([("n".to_owned(), Value::from(u64::MAX))]);
        assert!(matches!(to_bson(object), Err(Fault::Invalid(_))));
    }
}
