//! Records that cannot be read: left out of lists, and told of once each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use culvert_model::record::Log;
use culvert_model::{Kind, Record, misread};

/// So many damaged records are told apart. Behind them, each is told of again.
const TOLD: usize = 10_000;

/// Why a row is no record. Holds none of its values: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub kind: Kind,
    pub id: String,
    why: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, id, why } = self;
        let kind = kind.name();
        write!(f, "the record {id:?} in {kind} is damaged ({why}): mend it with `culvert store repair {kind} {id}`")
    }
}

/// The record that a body is.
pub fn parse<T: Record>(id: &str, body: &[u8]) -> Result<T, Damage> {
    let damage = |why| Damage { kind: T::KIND, id: id.into(), why };
    // The parser would take a list for an object, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(damage("it is no JSON object".into()));
    }
    let record: T = serde_json::from_slice(body).map_err(|error| damage(why(&error)))?;
    if record.id() != id {
        return Err(damage("it has the id of another record in it".into()));
    }
    Ok(record)
}

/// What the parser says, without the values that it quotes.
fn why(error: &serde_json::Error) -> String {
    misread(&error.to_string(), error.is_data(), error.column())
}

/// Which damaged records were told of.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<BTreeSet<(Kind, String)>>>);

impl Told {
    /// Says it in the log, unless that was done; then gives what is to stand in the console's log.
    pub fn tell(&self, damage: &Damage) -> Option<Log> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD {
            told.clear();
        }
        if !told.insert((damage.kind, damage.id.clone())) {
            return None;
        }
        tracing::error!(count = told.len(), "{damage}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
        Some(Log::of_damage(damage.kind, &damage.id, now))
    }

    /// The record is whole: should it be damaged again, it is told of again.
    pub fn whole(&self, kind: Kind, id: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.is_empty() {
            told.remove(&(kind, id.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::record::Nonce;

    use super::*;

    #[test]
    fn faults_are_named_without_values() {
        let fault = |body: &[u8]| parse::<Nonce>("a", body).err().map(|damage| damage.why);
        assert_eq!(fault(br#"{"id":"a","expires":1}"#), None);
        assert_eq!(fault(br#"{"id":"a"}"#).as_deref(), Some("missing field `expires`"));
        for body in
            [&br#"{"id":"a","expires":"geheim"}"#[..], b"geheim", br#"["a",1]"#, b"", br#"{"id":"b","expires":1}"#]
        {
            assert!(fault(body).is_some_and(|why| !why.contains("geheim")));
        }
    }

    #[test]
    fn each_is_told_of_once() {
        let told = Told::default();
        let damage = parse::<Nonce>("a", b"{}").expect_err("it lacks everything");
        let log = told.tell(&damage).expect("it is new");
        assert!(log.message.contains("\"a\" in nonces"), "{}", log.message);
        assert_eq!(told.tell(&damage), None);
        told.whole(Kind::Nonce, "a");
        assert_eq!(told.tell(&damage).map(|log| log.id), Some(log.id), "it is the same entry");
    }
}
