//! The last events, and what came behind a cursor.

use std::collections::VecDeque;

use culvert_model::Id;

/// The most events that are kept.
const EVENTS: usize = 5000;

/// Something that a console wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// In the order of the events. Events of one change have the same.
    pub id: Id,
    /// What happened.
    pub kind: &'static str,
    /// To what: an organisation or a server. With nothing here it concerns all of them.
    pub resource: Option<String>,
    /// When, seconds since 1970.
    pub timestamp: i64,
}

/// The last events, oldest first.
#[derive(Debug, Default)]
pub struct Ring(VecDeque<Event>);

impl Ring {
    /// Appends events that belong together.
    pub fn push(&mut self, events: impl IntoIterator<Item = Event>) {
        self.0.extend(events);
        let surplus = self.0.len().saturating_sub(EVENTS);
        self.0.drain(..surplus);
    }

    /// The id of the last event.
    pub fn last(&self) -> Option<Id> {
        self.0.back().map(|event| event.id)
    }

    /// What came behind the last event with this id, each kind and resource once: at its first place, with its latest
    /// id and time. Without a cursor, all. Nothing if there is no event with this id.
    pub fn behind(&self, cursor: Option<Id>) -> Option<Vec<Event>> {
        let start = match cursor {
            Some(cursor) => self.0.iter().rposition(|event| event.id == cursor)? + 1,
            None => 0,
        };
        let mut merged: Vec<Event> = Vec::new();
        for event in self.0.range(start..) {
            match merged.iter_mut().find(|other| (other.kind, &other.resource) == (event.kind, &event.resource)) {
                Some(other) => other.clone_from(event),
                None => merged.push(event.clone()),
            }
        }
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u8, kind: &'static str) -> Event {
        Event { id: Id::from_bytes([id; 12]), kind, resource: None, timestamp: i64::from(id) }
    }

    #[test]
    fn equal_ones_are_merged_at_the_first_place() {
        let mut ring = Ring::default();
        ring.push([event(1, "a"), event(2, "b"), event(3, "c"), event(4, "b"), event(4, "d")]);
        let behind = ring.behind(Some(Id::from_bytes([1; 12]))).expect("the cursor is known");
        assert_eq!(behind, [event(4, "b"), event(3, "c"), event(4, "d")]);
        assert_eq!(ring.behind(Some(Id::from_bytes([4; 12]))), Some(Vec::new()));
        assert_eq!(ring.behind(Some(Id::from_bytes([9; 12]))), None);
    }

    #[test]
    fn bounded() {
        let mut ring = Ring::default();
        for _ in 0..EVENTS + 7 {
            ring.push([event(1, "a")]);
        }
        assert_eq!(ring.0.len(), EVENTS);
    }
}
