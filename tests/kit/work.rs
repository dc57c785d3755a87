//! What became of the work of a fault run: jobs and task slots, as they were asked for, claimed, done and left.
//!
//! Whoever runs it adds what is seen, in any order; [`History::faults`] says what can't be: an effect that is missing, or
//! there twice, or of an older holder; a job that is gone without a trace, or left; a slot in which an older holder wrote
//! something after a newer one had begun.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Outcome;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Somebody enqueued a job under this key; this was the answer.
    Enqueued { job: String, outcome: Outcome },
    /// A record's lease was granted to this process under this epoch.
    Granted { record: String, process: String, epoch: u64 },
    /// Somebody wrote the end of a record, and all that comes of it, under this epoch; this was the answer.
    Ended { record: String, epoch: u64, outcome: Outcome },
    /// The effect of a job is in the store.
    Effect { job: String },
    /// A job is in the store in the end.
    Left { job: String, state: Left },
    /// Whoever ran a task's slot under this epoch noted something there, before which it had read so many notes of its
    /// older holders.
    Noted { task: String, slot: u64, epoch: u64, older: usize },
}

/// In what state a job is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Still to be done.
    Open,
    /// It failed too often, which an administrator sees.
    Dead,
}

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct History {
    seen: Vec<Seen>,
}

impl History {
    /// One more thing was seen.
    pub fn add(&mut self, seen: Seen) {
        self.seen.push(seen);
    }

    /// Everything that is wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.of_jobs();
        faults.extend(self.of_epochs());
        faults.extend(self.of_slots());
        faults
    }

    /// Each job has its effect once, and none is left, dead or open: faults are fewer than a job has attempts.
    fn of_jobs(&self) -> Vec<String> {
        let mut asked: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
        let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
        let left = self.left();
        for seen in &self.seen {
            match seen {
                // Whether it must have been enqueued, or only may.
                Seen::Enqueued { job, outcome: Outcome::Done } => {
                    asked.entry(job).or_default().insert(true);
                }
                Seen::Enqueued { job, outcome: Outcome::Unknown } => {
                    asked.entry(job).or_default().insert(false);
                }
                Seen::Effect { job } => *effects.entry(job).or_default() += 1,
                _ => {}
            }
        }
        let mut faults: Vec<_> =
            left.iter().map(|(job, state)| format!("{job} is left in the end: {state:?}")).collect();
        for (job, certain) in &asked {
            match effects.get(job) {
                None if certain.contains(&true) && !left.contains_key(job) => {
                    faults.push(format!("{job} is lost: no effect, and no job"));
                }
                Some(2..) => faults.push(format!("{job} has its effect more than once")),
                _ => {}
            }
        }
        let unasked = effects.keys().filter(|job| !asked.contains_key(**job));
        faults.extend(unasked.map(|job| format!("nobody asked for {job}")));
        faults
    }

    fn left(&self) -> BTreeMap<&str, Left> {
        let left = |seen| match seen {
            &Seen::Left { ref job, state } => Some((job.as_str(), state)),
            _ => None,
        };
        self.seen.iter().filter_map(left).collect()
    }

    /// An epoch is one process's, and the end of a record is written once, by the newest that held it: a record goes with
    /// its end, and nobody can have claimed it after that.
    fn of_epochs(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut granted: BTreeMap<&str, BTreeMap<u64, &str>> = BTreeMap::new();
        let mut ended: BTreeMap<&str, Ends> = BTreeMap::new();
        for seen in &self.seen {
            match seen {
                Seen::Granted { record, process, epoch } => {
                    let other = granted.entry(record).or_default().insert(*epoch, process);
                    if other.is_some_and(|other| other != process) {
                        faults.push(format!("{record} was granted twice under {epoch}"));
                    }
                }
                Seen::Ended { record, epoch, outcome } => ended.entry(record).or_default().add(*epoch, *outcome),
                _ => {}
            }
        }
        let left = self.left();
        for (record, ends) in &ended {
            if ends.done.len() > 1 {
                faults.push(format!("{record} was ended under each of {:?}", ends.done));
            }
            let (credited, newest) = (ends.credited(), granted.get(record).and_then(|epochs| epochs.keys().last()));
            if credited.as_ref() < newest && !left.contains_key(record) {
                faults.push(format!("{record} was ended under {credited:?}, but {newest:?} held it"));
            }
        }
        faults
    }

    /// Whatever was noted of a slot by older holders, a newer one had read when it noted something.
    fn of_slots(&self) -> Vec<String> {
        let mut noted: BTreeMap<(&str, u64), Vec<(u64, usize)>> = BTreeMap::new();
        for seen in &self.seen {
            if let Seen::Noted { task, slot, epoch, older } = seen {
                noted.entry((task, *slot)).or_default().push((*epoch, *older));
            }
        }
        let late = |notes: &[(u64, usize)]| {
            let older = |than| notes.iter().filter(|(epoch, _)| *epoch < than).count();
            notes.iter().any(|(epoch, read)| older(*epoch) != *read)
        };
        let wrong = noted.iter().filter(|(_, notes)| late(notes));
        wrong.map(|((task, slot), notes)| format!("two ran the slot {slot} of {task} at once: {notes:?}")).collect()
    }
}

/// Under which epochs the end of a record was written.
#[derive(Default)]
struct Ends {
    done: BTreeSet<u64>,
    /// Those of which it is not known whether they were done.
    unknown: BTreeSet<u64>,
}

impl Ends {
    fn add(&mut self, epoch: u64, outcome: Outcome) {
        match outcome {
            Outcome::Done => drop(self.done.insert(epoch)),
            Outcome::Unknown => drop(self.unknown.insert(epoch)),
            Outcome::Refused | Outcome::Unavailable => {}
        }
    }

    /// The one that took effect.
    fn credited(&self) -> Option<u64> {
        self.done.last().or(self.unknown.last()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enqueued(outcome: Outcome) -> Seen {
        Seen::Enqueued { job: "a".into(), outcome }
    }

    fn granted(process: &str, epoch: u64) -> Seen {
        Seen::Granted { record: "a".into(), process: process.into(), epoch }
    }

    fn ended(epoch: u64, outcome: Outcome) -> Seen {
        Seen::Ended { record: "a".into(), epoch, outcome }
    }

    fn effect() -> Seen {
        Seen::Effect { job: "a".into() }
    }

    fn left(state: Left) -> Seen {
        Seen::Left { job: "a".into(), state }
    }

    fn noted(slot: u64, epoch: u64, older: usize) -> Seen {
        Seen::Noted { task: "hosts".into(), slot, epoch, older }
    }

    fn faults(seen: impl IntoIterator<Item = Seen>) -> usize {
        History { seen: seen.into_iter().collect() }.faults().len()
    }

    /// A job that was asked for, held by one and then by another, and has its effect.
    fn taken_over(ends: impl IntoIterator<Item = Seen>) -> Vec<Seen> {
        let asked = [enqueued(Outcome::Done), granted("one", 1), granted("two", 2), effect()];
        asked.into_iter().chain(ends).collect()
    }

    #[test]
    fn what_is_right_has_no_fault() {
        use Outcome::{Done, Refused, Unknown};
        assert_eq!(faults(taken_over([ended(2, Done)])), 0);
        assert_eq!(faults(taken_over([ended(1, Refused), ended(2, Done)])), 0);
        assert_eq!(faults(taken_over([ended(1, Unknown), ended(2, Done)])), 0);
        assert_eq!(faults(taken_over([ended(2, Unknown), ended(2, Refused)])), 0, "the answer of the first was lost");
        assert_eq!(faults([enqueued(Unknown)]), 0);
        assert_eq!(faults([enqueued(Unknown), enqueued(Done), effect()]), 0);
        let again = [noted(2, 2, 0), noted(2, 2, 0), noted(2, 3, 2), noted(2, 3, 2)];
        assert_eq!(faults(again), 0, "it died before its end was written down");
        assert_eq!(faults([noted(1, 1, 0), noted(2, 2, 0)]), 0);
    }

    #[test]
    fn each_fault_is_found() {
        use Outcome::{Done, Refused, Unavailable, Unknown};
        for wrong in [
            vec![enqueued(Done)],
            vec![enqueued(Done), effect(), effect()],
            vec![enqueued(Unknown), effect(), effect()],
            vec![enqueued(Done), left(Left::Open)],
            vec![enqueued(Done), left(Left::Dead)],
            vec![enqueued(Done), effect(), left(Left::Dead)],
            vec![effect()],
            vec![enqueued(Refused), effect()],
            vec![enqueued(Unavailable), left(Left::Dead)],
            vec![enqueued(Done), granted("one", 1), granted("two", 1), ended(1, Done), effect()],
            // The older one's end was done, whatever the newer one sent.
            taken_over([ended(1, Done)]),
            taken_over([ended(1, Done), ended(2, Refused)]),
            taken_over([ended(1, Unknown), ended(2, Refused)]),
            taken_over([ended(1, Done), ended(2, Done)]),
            taken_over([ended(1, Refused), ended(2, Refused)]),
            // What the older one noted came after the newer one had begun, before or after that one's end.
            vec![noted(1, 1, 0), noted(1, 2, 1), noted(1, 1, 0)],
            vec![noted(1, 1, 0), noted(1, 2, 1), noted(1, 1, 0), noted(1, 2, 2)],
        ] {
            assert_eq!(faults(wrong.clone()), 1, "{wrong:?}");
        }
    }
}
