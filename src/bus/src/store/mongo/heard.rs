//! What was heard of records, so that no reader is given an older one than a message named: a message is read from the
//! primary alone, a record as a majority has it, and a new primary may not know yet how far that is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use culvert_model::Kind;
use culvert_wire::bus::{Change, Row};
use mongodb::bson::Timestamp;

/// The most records of which it is known. What is older than so many messages has reached a majority, or there was a gap.
const MOST: usize = 1024;

/// What was heard last of each record.
#[derive(Debug, Default)]
pub struct Heard(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    last: HashMap<(Kind, String), (u64, Timestamp)>,
    order: VecDeque<(Kind, String)>,
}

impl Heard {
    /// A message came, written at this time by the server's clock.
    pub fn note(&self, change: &Change, time: Timestamp) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (change.kind, change.record.clone());
        if recent.last.insert(key.clone(), (change.revision, time)).is_none() {
            recent.order.push_back(key);
            if recent.order.len() > MOST
                && let Some(oldest) = recent.order.pop_front()
            {
                recent.last.remove(&oldest);
            }
        }
    }

    /// The time of the message that names another state of a record than was read, if it seems a newer one. Asked once: who
    /// then reads what the database had at that time has read well.
    pub fn newer(&self, kind: Kind, id: &str, row: Option<&Row>) -> Option<Timestamp> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, time) = *recent.last.get(&(kind, id.to_owned()))?;
        let read = row.map_or(0, |row| row.revision);
        // A record that was removed is told as revision 0, and one that is made again begins at 1.
        let older = if revision == 0 { read > 0 } else { read < revision };
        older.then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::Id;

    use super::*;

    fn change(record: &str, revision: u64) -> Change {
        let id = Id::from_bytes([0; 12]);
        Change { id, kind: Kind::Server, record: record.into(), revision, scope: None, at: 0 }
    }

    fn row(revision: u64) -> Row {
        Row { id: "a".into(), revision, body: Vec::new(), lease: None }
    }

    #[test]
    fn who_read_less_than_was_told_reads_again() {
        let heard = Heard::default();
        let time = Timestamp { time: 7, increment: 1 };
        heard.note(&change("a", 3), time);
        let newer = |row: Option<Row>| heard.newer(Kind::Server, "a", row.as_ref());
        assert_eq!((newer(None), newer(Some(row(2)))), (Some(time), Some(time)));
        assert_eq!((newer(Some(row(3))), newer(Some(row(4)))), (None, None));
        assert_eq!(heard.newer(Kind::Server, "b", None), None, "nothing was told of it");
        heard.note(&change("a", 0), time);
        assert_eq!((newer(None), newer(Some(row(3)))), (None, Some(time)));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let heard = Heard::default();
        let time = Timestamp { time: 7, increment: 1 };
        for number in 0..=MOST {
            heard.note(&change(&number.to_string(), 1), time);
        }
        assert_eq!(heard.newer(Kind::Server, "0", None), None);
        assert_eq!(heard.newer(Kind::Server, "1", None), Some(time));
    }
}
