//! What writers did and what subscribers met, held against what is in the store in the end.
//!
//! A record of a sole writer is told of without a hole: each message names the next revision, or one that was told before,
//! or there is a gap, behind which the subscriber reads everything again and goes on from there.

use std::collections::{BTreeMap, BTreeSet};

/// Records in the store: their revisions, and the number that is in each.
pub type State = BTreeMap<String, (u64, u64)>;

/// The number that no record may ever have.
pub const POISON: u64 = 666_666_666;

/// What a writer wanted to happen to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Make it, with this number in it.
    Make { record: String, number: u64 },
    /// Put this number into it.
    Change { record: String, number: u64 },
    /// Add to its number.
    Add { record: String, delta: u64 },
    /// Remove it. It is never made again.
    Remove { record: String },
    /// Something that must be refused, and would leave [`POISON`].
    Poison,
    /// Claim it; it was given under this epoch.
    Claim { record: String, epoch: u64 },
}

/// What a writer was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// Nobody could do it; nothing was changed.
    Unavailable,
    /// It is not known.
    Unknown,
}

/// Deeds that happen all or none, and the answer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was wanted.
    pub deeds: Vec<Deed>,
    /// What was answered.
    pub outcome: Outcome,
}

/// What a subscriber met.
#[derive(Debug, Clone)]
pub enum Met {
    /// A message: the record has this revision, or was removed (0).
    Heard { record: String, revision: u64 },
    /// Messages may have been missed. What is read next is everything.
    Gap,
    /// Everything, with the revisions.
    Read(BTreeMap<String, u64>),
    /// A record was read after a message that named this revision of it; this was found, or nothing (0).
    Found { record: String, named: u64, revision: u64 },
}

/// What happened.
#[derive(Debug, Default)]
pub struct History {
    /// What the writers did; the entries about a record of a sole writer are in order.
    pub entries: Vec<Entry>,
    /// The records that only one writer changes, and nobody removes.
    pub sole: BTreeSet<String>,
    /// The subscribers, by name.
    pub subscribers: BTreeMap<String, Vec<Met>>,
    /// What is there in the end.
    pub state: State,
}

/// What is known of a record by its entries.
#[derive(Debug, Default)]
struct Expected {
    made: Option<Outcome>,
    removed: Option<Outcome>,
    changes: u64,
    added: u64,
    unknown: u64,
    unknown_added: u64,
    /// The numbers that it may have.
    numbers: Vec<u64>,
}

impl History {
    /// Everything that is wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.of_writes();
        for name in self.subscribers.keys() {
            faults.extend(self.of_subscriber(name));
        }
        faults
    }

    /// What is wrong with what this subscriber met.
    #[must_use]
    pub fn of_subscriber(&self, name: &str) -> Vec<String> {
        let mut follower =
            Follower { sole: &self.sole, known: BTreeMap::new(), gone: BTreeSet::new(), faults: Vec::new() };
        let mut met = self.subscribers[name].iter().peekable();
        while let Some(one) = met.next() {
            if matches!(one, Met::Gap) && !matches!(met.peek(), None | Some(Met::Read(_) | Met::Gap)) {
                follower.faults.push("nothing was read behind a gap".into());
            }
            follower.meet(one);
        }
        follower.end(&self.state);
        follower.faults.into_iter().map(|fault| format!("{name}: {fault}")).collect()
    }

    fn of_writes(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expected: BTreeMap<&str, Expected> = BTreeMap::new();
        let mut epochs = BTreeSet::new();
        for entry in &self.entries {
            for deed in &entry.deeds {
                match deed {
                    Deed::Poison if entry.outcome == Outcome::Done => {
                        faults.push("what must be refused was done".into())
                    }
                    Deed::Poison => {}
                    Deed::Claim { record, epoch } if entry.outcome == Outcome::Done => {
                        if !epochs.insert((record, epoch)) {
                            faults.push(format!("{record} was claimed twice under the epoch {epoch}"));
                        }
                    }
                    Deed::Claim { .. } => {}
                    _ if entry.outcome == Outcome::Refused => {
                        faults.push(format!("{deed:?} was refused without a reason"))
                    }
                    deed => expect(&mut expected, deed, entry.outcome),
                }
            }
            faults.extend(self.in_part(entry));
        }
        for (record, expected) in &expected {
            faults.extend(expected.faults(record, self.state.get(*record).copied()));
        }
        let known = |record: &String| expected.contains_key(record.as_str());
        faults.extend(self.state.keys().filter(|it| !known(it)).map(|it| format!("nobody made {it}")));
        let poisoned = self.state.iter().filter(|(_, (_, number))| *number == POISON);
        faults.extend(poisoned.map(|(record, _)| format!("{record} has what was refused")));
        faults
    }

    /// Whether a batch whose outcome is not known happened in part.
    fn in_part(&self, entry: &Entry) -> Option<String> {
        let made = |deed: &Deed| match deed {
            Deed::Make { record, .. } => Some(self.state.contains_key(record)),
            _ => None,
        };
        let made: BTreeSet<bool> = entry.deeds.iter().filter_map(made).collect();
        (entry.outcome == Outcome::Unknown && made.len() > 1).then(|| format!("in part: {:?}", entry.deeds))
    }
}

fn expect<'h>(all: &mut BTreeMap<&'h str, Expected>, deed: &'h Deed, outcome: Outcome) {
    let (done, unknown) = (outcome == Outcome::Done, outcome == Outcome::Unknown);
    match deed {
        Deed::Make { record, number } => {
            let expected = all.entry(record).or_default();
            expected.made = Some(outcome);
            expected.numbers = vec![*number];
        }
        Deed::Change { record, number } => {
            let expected = all.entry(record).or_default();
            expected.changes += u64::from(done);
            expected.unknown += u64::from(unknown);
            if done {
                expected.numbers = vec![*number];
            } else if unknown {
                expected.numbers.push(*number);
            }
        }
        Deed::Add { record, delta } => {
            let expected = all.entry(record).or_default();
            expected.changes += u64::from(done);
            expected.unknown += u64::from(unknown);
            expected.added += u64::from(done) * delta;
            expected.unknown_added += u64::from(unknown) * delta;
        }
        Deed::Remove { record } => {
            let expected = all.entry(record).or_default();
            if expected.removed != Some(Outcome::Done) {
                expected.removed = Some(outcome);
            }
        }
        Deed::Poison | Deed::Claim { .. } => {}
    }
}

impl Expected {
    fn faults(&self, record: &str, found: Option<(u64, u64)>) -> Option<String> {
        let Some((revision, number)) = found else {
            let may_be_missing =
                self.made != Some(Outcome::Done) || matches!(self.removed, Some(Outcome::Done | Outcome::Unknown));
            return (!may_be_missing).then(|| format!("{record} was acknowledged and is not there"));
        };
        if self.made == Some(Outcome::Unavailable) {
            return Some(format!("{record} is there, though nothing was changed"));
        }
        if self.removed == Some(Outcome::Done) {
            return Some(format!("{record} was removed and is there"));
        }
        let revisions = 1 + self.changes..=1 + self.changes + self.unknown;
        if !revisions.contains(&revision) {
            return Some(format!("{record} has the revision {revision}, which should be in {revisions:?}"));
        }
        let good = self
            .numbers
            .iter()
            .any(|base| (base + self.added..=base + self.added + self.unknown_added).contains(&number));
        (!good).then(|| {
            let (added, unknown) = (self.added, self.unknown_added);
            format!("{record} has {number}, which is none of {:?} + {added} (+ {unknown} unknown)", self.numbers)
        })
    }
}

/// A subscriber that does as it should, and what it knows.
struct Follower<'h> {
    sole: &'h BTreeSet<String>,
    known: BTreeMap<String, u64>,
    gone: BTreeSet<String>,
    faults: Vec<String>,
}

impl Follower<'_> {
    fn meet(&mut self, met: &Met) {
        match met {
            Met::Gap => {}
            Met::Heard { record, revision: 0 } => {
                self.known.remove(record);
                self.gone.insert(record.clone());
            }
            Met::Heard { record, revision } => self.hear(record, *revision),
            Met::Read(all) => {
                for (record, known) in &self.known {
                    match all.get(record) {
                        Some(read) if read < known => {
                            self.faults.push(format!("{record} went back from {known} to {read}"));
                        }
                        Some(_) => {}
                        None => drop(self.gone.insert(record.clone())),
                    }
                }
                self.known = all.clone();
            }
            Met::Found { record, named, revision } => {
                let removed = *revision == 0 && !self.sole.contains(record);
                if revision < named && !removed {
                    self.faults.push(format!("{record}: {named} was told, and {revision} was read"));
                }
            }
        }
    }

    fn hear(&mut self, record: &str, revision: u64) {
        let known = self.known.get(record).copied().unwrap_or(0);
        if self.sole.contains(record) && revision > known + 1 {
            self.faults.push(format!("{record}: {revision} after {known} without a gap"));
        }
        if !self.gone.contains(record) {
            self.known.insert(record.into(), revision.max(known));
        }
    }

    fn end(&mut self, state: &State) {
        for (record, (revision, _)) in state {
            let known = self.known.get(record);
            if known != Some(revision) {
                self.faults.push(format!("silence: {record} has {revision}, and {known:?} is known of it"));
            }
        }
        let left = self.known.keys().filter(|record| !state.contains_key(*record));
        self.faults.extend(left.map(|record| format!("silence: {record} was removed")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(record: &str, revision: u64) -> Met {
        Met::Heard { record: record.into(), revision }
    }

    fn read(all: &[(&str, u64)]) -> Met {
        Met::Read(all.iter().map(|(record, revision)| ((*record).into(), *revision)).collect())
    }

    fn entry(outcome: Outcome, deeds: impl IntoIterator<Item = Deed>) -> Entry {
        Entry { deeds: deeds.into_iter().collect(), outcome }
    }

    fn make(record: &str) -> Deed {
        Deed::Make { record: record.into(), number: 0 }
    }

    fn change(number: u64) -> Deed {
        Deed::Change { record: "a".into(), number }
    }

    fn add() -> Deed {
        Deed::Add { record: "n".into(), delta: 1 }
    }

    fn remove(record: &str) -> Deed {
        Deed::Remove { record: record.into() }
    }

    /// `a` was made and changed twice, `n` was made and added to, `b` was made and removed.
    fn good() -> History {
        use Outcome::{Done, Refused, Unavailable, Unknown};
        let entries = vec![
            entry(Done, [make("a"), make("b")]),
            entry(Done, [make("n")]),
            entry(Done, [change(1)]),
            entry(Unknown, [change(2)]),
            entry(Unavailable, [change(3)]),
            entry(Refused, [Deed::Poison]),
            entry(Done, [add()]),
            entry(Unknown, [add()]),
            entry(Unavailable, [make("c")]),
            entry(Unknown, [make("d"), make("e")]),
            entry(Done, [remove("b")]),
            entry(Done, [Deed::Claim { record: "a".into(), epoch: 1 }]),
            entry(Done, [Deed::Claim { record: "a".into(), epoch: 2 }]),
        ];
        let met = vec![
            Met::Gap,
            read(&[]),
            heard("a", 1),
            heard("b", 1),
            Met::Gap,
            read(&[("a", 2), ("b", 1), ("n", 1)]),
            heard("a", 2),
            heard("n", 2),
            heard("a", 3),
            Met::Found { record: "a".into(), named: 3, revision: 3 },
            heard("b", 0),
        ];
        History {
            entries,
            sole: ["a".to_string()].into(),
            subscribers: [("s".to_string(), met)].into(),
            state: [("a".to_string(), (3, 2)), ("n".to_string(), (2, 1))].into(),
        }
    }

    /// A good history with a change is faulty, and in this way.
    fn faulty(word: &str, change: impl FnOnce(&mut History)) {
        let mut history = good();
        change(&mut history);
        let faults = history.faults();
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word} is not among {faults:?}");
    }

    fn put(history: &mut History, record: &str, revision: u64, number: u64) {
        history.state.insert(record.into(), (revision, number));
    }

    fn met(history: &mut History) -> &mut Vec<Met> {
        history.subscribers.get_mut("s").expect("it is there")
    }

    #[test]
    fn a_good_history_has_no_fault() {
        assert_eq!(good().faults(), Vec::<String>::new());
    }

    #[test]
    fn writes_that_are_lost_or_too_many() {
        faulty("acknowledged and is not there", |it| it.state.retain(|record, _| record != "n"));
        faulty("removed and is there", |it| put(it, "b", 1, 0));
        faulty("though nothing was changed", |it| put(it, "c", 1, 0));
        faulty("in part", |it| put(it, "d", 1, 0));
        faulty("nobody made", |it| put(it, "x", 1, 0));
        faulty("has the revision 4", |it| put(it, "a", 4, 2));
        faulty("has the revision 1", |it| put(it, "a", 1, 0));
        faulty("a has 3", |it| put(it, "a", 3, 3));
        faulty("n has 3", |it| put(it, "n", 3, 3));
        faulty("n has 0", |it| put(it, "n", 2, 0));
    }

    #[test]
    fn refusals_that_are_none_and_claims_of_two() {
        faulty("what was refused", |it| put(it, "n", 2, POISON));
        faulty("must be refused", |it| it.entries.push(entry(Outcome::Done, [Deed::Poison])));
        faulty("without a reason", |it| it.entries.push(entry(Outcome::Refused, [add()])));
        let again = Deed::Claim { record: "a".into(), epoch: 2 };
        faulty("claimed twice", |it| it.entries.push(entry(Outcome::Done, [again])));
    }

    #[test]
    fn silence() {
        faulty("3 after 1 without a gap", |it| *met(it) = vec![Met::Gap, read(&[]), heard("a", 1), heard("a", 3)]);
        faulty("5 after 3 without a gap", |it| met(it).push(heard("a", 5)));
        faulty("silence: a has 3", |it| drop(met(it).drain(8..)));
        faulty("silence: n has 2", |it| drop(met(it).remove(7)));
        faulty("silence: b was removed", |it| drop(met(it).pop()));
        // A gap before the change tells nothing of it.
        faulty("silence: a has 3", |it| {
            *met(it) = vec![Met::Gap, read(&[("a", 2), ("n", 2)])];
        });
    }

    #[test]
    fn what_is_older_than_what_was_told() {
        faulty("3 was told, and 2 was read", |it| {
            met(it).push(Met::Found { record: "a".into(), named: 3, revision: 2 });
        });
        faulty("went back from 3 to 2", |it| met(it).extend([Met::Gap, read(&[("a", 2), ("n", 2)])]));
        faulty("nothing was read behind a gap", |it| met(it).extend([Met::Gap, heard("a", 3)]));
    }
}
