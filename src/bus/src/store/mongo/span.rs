//! A query as a stretch of an index: its exact bounds, so that the database looks at nothing else.
//!
//! MongoDB's indexes have values in the order of [`Key`]'s variants, so a page is read between an index's `min` and `max`.
//! A range stays within the type of its ends.

use std::cmp::Ordering;

use culvert_model::Index;
use culvert_wire::bus::{Fault, Find, Key, Position};
use mongodb::bson::raw::RawDocument;
use mongodb::bson::{Bson, Document, RawBsonRef, doc};

use super::document::stored_name;
use super::row::Damaged;

/// One end of a stretch, field by field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Least,
    At(Key),
    Most,
}

/// A stretch of an index.
#[derive(Debug)]
pub struct Span {
    /// The index's keys.
    paths: Vec<String>,
    lower: Vec<Bound>,
    upper: Vec<Bound>,
    descending: bool,
    after: Option<(Vec<Key>, String)>,
    /// How many of the paths are fields, not the id.
    fields: usize,
}

/// The keys of an index. Records are in the order of their ids where the fields agree; a unique index has none that do.
#[must_use]
pub fn paths(index: &Index) -> Vec<String> {
    let mut paths: Vec<String> = index.fields.iter().map(|field| path(field)).collect();
    if !index.unique {
        paths.push("_id".into());
    }
    paths
}

/// Where a field stands in the document.
#[must_use]
pub fn path(field: &str) -> String {
    format!("b.{}", stored_name(field))
}

impl Span {
    /// The stretch that a query is about.
    ///
    /// # Errors
    ///
    /// The query does not fit the index.
    pub fn of(find: &Find) -> Result<Self, Fault> {
        let (paths, fields) = if find.index.is_empty() {
            (vec!["_id".to_owned()], 0)
        } else {
            let index = index(find)?;
            (paths(index), index.fields.len())
        };
        let mut span = Self {
            lower: bounds(&paths, find, from(find), Bound::Least)?,
            upper: bounds(&paths, find, to(find), Bound::Most)?,
            paths,
            descending: find.descending,
            after: None,
            fields,
        };
        if let Some(position) = &find.after {
            span.move_behind(position)?;
        }
        Ok(span)
    }

    fn move_behind(&mut self, position: &Position) -> Result<(), Fault> {
        if position.keys.len() != self.fields {
            return Err(Fault::Invalid("a position has a value for each field of the index".into()));
        }
        let mut bound: Vec<Bound> = position.keys.iter().cloned().map(Bound::At).collect();
        if self.paths.len() > self.fields {
            bound.push(Bound::At(Key::Text(position.id.clone())));
        }
        if self.descending {
            self.upper = bound.min(std::mem::take(&mut self.upper));
        } else {
            self.lower = bound.max(std::mem::take(&mut self.lower));
        }
        self.after = Some((position.keys.clone(), position.id.clone()));
        Ok(())
    }

    /// Whether nothing can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lower >= self.upper
    }

    /// The index, by its keys.
    #[must_use]
    pub fn hint(&self) -> Document {
        self.paths.iter().map(|path| (path.clone(), Bson::Int32(1))).collect()
    }

    /// The order of the page.
    #[must_use]
    pub fn order(&self) -> Document {
        let direction = if self.descending { -1 } else { 1 };
        self.paths.iter().map(|path| (path.clone(), Bson::Int32(direction))).collect()
    }

    /// The first key of the stretch.
    #[must_use]
    pub fn min(&self) -> Document {
        self.document(&self.lower)
    }

    /// The key at which it is over.
    #[must_use]
    pub fn max(&self) -> Document {
        self.document(&self.upper)
    }

    fn document(&self, bounds: &[Bound]) -> Document {
        let bson = |bound: &Bound| match bound {
            Bound::Least => Bson::MinKey,
            Bound::At(key) => to_bson(key),
            Bound::Most => Bson::MaxKey,
        };
        self.paths.iter().cloned().zip(bounds.iter().map(bson)).collect()
    }

    /// Whether a record is behind the position. The position's own place is in the stretch once more.
    #[must_use]
    pub fn begins(&self, keys: &[Key], id: &str) -> bool {
        let Some((after, last)) = &self.after else { return true };
        let place = keys.cmp(after).then_with(|| id.cmp(last));
        place == if self.descending { Ordering::Less } else { Ordering::Greater }
    }
}

/// The values of an index's fields in a record.
pub fn keys(index: &str, find: &Find, body: &RawDocument) -> Result<Vec<Key>, Damaged> {
    let Some(index) = find.kind.index(index) else { return Ok(Vec::new()) };
    index.fields.iter().map(|field| key(body, field)).collect()
}

fn key(body: &RawDocument, field: &str) -> Result<Key, Damaged> {
    Ok(match body.get(&*stored_name(field))? {
        None | Some(RawBsonRef::Null) => Key::Null,
        Some(RawBsonRef::Int64(number)) => Key::Int(number),
        Some(RawBsonRef::Int32(number)) => Key::Int(number.into()),
        Some(RawBsonRef::String(text)) => Key::Text(text.to_owned()),
        Some(RawBsonRef::Boolean(truth)) => Key::Bool(truth),
        Some(_) => return Err(Damaged(format!("{field} cannot be in an index"))),
    })
}

/// What records in a query's stretch fulfil.
///
/// # Errors
///
/// The query does not fit the index.
pub fn filter(find: &Find) -> Result<Document, Fault> {
    let (paths, unique) = if find.index.is_empty() {
        (vec!["_id".to_owned()], false)
    } else {
        let index = index(find)?;
        (index.fields.iter().map(|field| path(field)).collect(), index.unique)
    };
    bounds(&paths, find, None, Bound::Least)?;
    let mut terms: Vec<Bson> = Vec::new();
    for (path, key) in paths.iter().zip(&find.equal) {
        terms.push(doc! { path: { "$eq": to_bson(key) } }.into());
    }
    if let Some(path) = paths.get(find.equal.len()) {
        // These operators stay within the type of their value.
        terms.extend(find.from.as_ref().map(|from| doc! { path: { "$gte": to_bson(from) } }.into()));
        terms.extend(find.to.as_ref().map(|to| doc! { path: { "$lt": to_bson(to) } }.into()));
    }
    if unique {
        terms.extend(paths.iter().map(|path| doc! { path: { "$ne": null } }.into()));
    }
    Ok(if terms.is_empty() {
        Document::new()
    } else {
        doc! { "$and": terms }
    })
}

fn index(find: &Find) -> Result<&'static Index, Fault> {
    let missing = || Fault::Invalid(format!("{} has no index {}", find.kind.name(), find.index));
    find.kind.index(&find.index).ok_or_else(missing)
}

/// One end: the equal values, the range's end in the next field, and the rest.
fn bounds(paths: &[String], find: &Find, end: Option<Bound>, rest: Bound) -> Result<Vec<Bound>, Fault> {
    let ranged = usize::from(find.from.is_some() || find.to.is_some());
    if find.equal.len() + ranged > paths.len() {
        return Err(Fault::Invalid("the query has more values than the index has fields".into()));
    }
    let mut bounds: Vec<Bound> = find.equal.iter().cloned().map(Bound::At).collect();
    if let Some(end) = end {
        bounds.push(end);
        bounds.resize(paths.len(), Bound::Least);
    } else if bounds.len() == paths.len() && rest == Bound::Most {
        // Equal values in all fields are a stretch, too.
        successor(&mut bounds);
    }
    bounds.resize(paths.len(), rest);
    Ok(bounds)
}

/// The least bound above all the values.
fn successor(bounds: &mut [Bound]) {
    let Some(last) = bounds.last_mut() else { return };
    *last = match &*last {
        Bound::At(Key::Null) => Bound::At(Key::Int(i64::MIN)),
        Bound::At(Key::Int(i64::MAX)) => Bound::At(Key::Text(String::new())),
        Bound::At(Key::Int(number)) => Bound::At(Key::Int(number + 1)),
        Bound::At(Key::Text(text)) => Bound::At(Key::Text(format!("{text}\0"))),
        Bound::At(Key::Bool(false)) => Bound::At(Key::Bool(true)),
        _ => Bound::Most,
    };
}

/// Where a range begins: at the least value of its type, if nothing is said.
fn from(find: &Find) -> Option<Bound> {
    let least = |to: &Key| match to {
        Key::Null => Key::Null,
        Key::Int(_) => Key::Int(i64::MIN),
        Key::Text(_) => Key::Text(String::new()),
        Key::Bool(_) => Key::Bool(false),
    };
    find.from.clone().or_else(|| find.to.as_ref().map(least)).map(Bound::At)
}

/// Where a range ends: before the least value of the next type, if nothing is said.
fn to(find: &Find) -> Option<Bound> {
    let behind = |from: &Key| match from {
        Key::Null => Bound::At(Key::Int(i64::MIN)),
        Key::Int(_) => Bound::At(Key::Text(String::new())),
        Key::Text(_) => Bound::At(Key::Bool(false)),
        Key::Bool(_) => Bound::Most,
    };
    find.to.clone().map(Bound::At).or_else(|| find.from.as_ref().map(behind))
}

fn to_bson(key: &Key) -> Bson {
    match key {
        Key::Null => Bson::Null,
        Key::Int(number) => Bson::Int64(*number),
        Key::Text(text) => Bson::String(text.clone()),
        Key::Bool(truth) => Bson::Boolean(*truth),
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::Kind;

    use super::*;

    fn jobs() -> Find {
        Find {
            kind: Kind::Job,
            index: "by_state".into(),
            equal: vec![Key::Text("open".into())],
            from: None,
            to: None,
            after: None,
            descending: false,
            limit: 10,
        }
    }

    #[test]
    fn equal_values_and_the_rest_of_the_index() {
        let span = Span::of(&jobs()).expect("it fits");
        let least =
            doc! { "b.state": "open", "b.priority": Bson::MinKey, "b.created": Bson::MinKey, "_id": Bson::MinKey };
        assert_eq!(span.min(), least);
        let most =
            doc! { "b.state": "open", "b.priority": Bson::MaxKey, "b.created": Bson::MaxKey, "_id": Bson::MaxKey };
        assert_eq!(span.max(), most);
        assert_eq!(span.order(), doc! { "b.state": 1, "b.priority": 1, "b.created": 1, "_id": 1 });
    }

    #[test]
    fn a_range_ends_before_its_end() {
        let find = Find { from: Some(Key::Int(1)), to: Some(Key::Int(5)), ..jobs() };
        let span = Span::of(&find).expect("it fits");
        assert_eq!(span.max().get("b.priority"), Some(&Bson::Int64(5)));
        assert_eq!(span.max().get("_id"), Some(&Bson::MinKey));
        let empty = Find { to: Some(Key::Int(1)), ..find };
        assert!(Span::of(&empty).expect("it fits").is_empty());
    }

    #[test]
    fn a_page_begins_behind_the_last_one() {
        let keys = vec![Key::Text("open".into()), Key::Int(1), Key::Null];
        let after = Some(Position { keys: keys.clone(), id: "m".into() });
        let up = Span::of(&Find { after: after.clone(), ..jobs() }).expect("it fits");
        assert!(up.begins(&keys, "n") && !up.begins(&keys, "m") && !up.begins(&keys, "a"));
        let down = Span::of(&Find { after, descending: true, ..jobs() }).expect("it fits");
        assert!(down.begins(&keys, "a") && !down.begins(&keys, "m") && !down.begins(&keys, "n"));
        assert_eq!(down.max().get("_id"), Some(&Bson::from("m")));
    }

    #[test]
    fn one_value_of_a_unique_index_is_a_stretch() {
        for key in [Key::Int(i64::MAX), Key::Int(0), Key::Text("x".into()), Key::Bool(false), Key::Bool(true)] {
            let find = Find { kind: Kind::Admin, index: "by_username".into(), equal: vec![key], ..jobs() };
            assert!(!Span::of(&find).expect("it fits").is_empty());
        }
    }

    #[test]
    fn refuses_more_values_than_fields() {
        let find = Find { equal: vec![Key::Null; 5], ..jobs() };
        assert!(matches!(Span::of(&find), Err(Fault::Invalid(_))));
    }
}
