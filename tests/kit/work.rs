//! What became of the work of a fault run: jobs and task slots, as they were asked for, claimed, done and left.
//!
//! Whoever runs it adds what is seen, in any order; [`History::faults`] says what can't be: an effect that is missing, or
//! there twice, or of an older holder; a job that is gone without a trace; a slot that two ran to its end.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::Outcome;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Somebody enqueued a job under this key; this was the answer.
    Enqueued { job: String, outcome: Outcome },
    /// A record's lease was granted to this process under this epoch.
    Granted { record: String, process: String, epoch: u64 },
    /// The effect of a job is in the store, written under this epoch.
    Effect { job: String, epoch: u64 },
    /// A job is in the store in the end.
    Left { job: String, state: Left },
    /// A task's slot was run to its end under this epoch.
    Ran { task: String, slot: u64, epoch: u64 },
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

    fn of_jobs(&self) -> Vec<String> {
        let mut asked: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
        let (mut effects, mut left): (BTreeMap<&str, usize>, BTreeMap<&str, Left>) = Default::default();
        for seen in &self.seen {
            match seen {
                // Whether it must have been enqueued, or only may.
                Seen::Enqueued { job, outcome: Outcome::Done } => {
                    asked.entry(job).or_default().insert(true);
                }
                Seen::Enqueued { job, outcome: Outcome::Unknown } => {
                    asked.entry(job).or_default().insert(false);
                }
                Seen::Effect { job, .. } => *effects.entry(job).or_default() += 1,
                Seen::Left { job, state } => {
                    left.insert(job, *state);
                }
                _ => {}
            }
        }
        let mut faults = Vec::new();
        for (job, certain) in &asked {
            match (effects.get(job).copied().unwrap_or(0), left.get(job)) {
                (0, None) if certain.contains(&true) => faults.push(format!("{job} is lost: no effect, and no job")),
                (_, Some(Left::Open)) => faults.push(format!("{job} is still to be done")),
                (1.., Some(Left::Dead)) => faults.push(format!("{job} is called dead, but has its effect")),
                (2.., None) => faults.push(format!("{job} has its effect more than once")),
                _ => {}
            }
        }
        let known = effects.keys().chain(left.keys()).collect::<BTreeSet<_>>();
        faults.extend(
            known.into_iter().filter(|job| !asked.contains_key(**job)).map(|job| format!("nobody asked for {job}")),
        );
        faults
    }

    /// An epoch is one process's, and effects are of the newest.
    fn of_epochs(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut granted: BTreeMap<&str, BTreeMap<u64, &str>> = BTreeMap::new();
        for seen in &self.seen {
            if let Seen::Granted { record, process, epoch } = seen
                && granted.entry(record).or_default().insert(*epoch, process).is_some_and(|other| other != process)
            {
                faults.push(format!("{record} was granted twice under {epoch}"));
            }
        }
        for seen in &self.seen {
            // A job goes with its effect: nobody can have claimed it after that.
            if let Seen::Effect { job, epoch } = seen
                && let Some((newest, _)) = granted.get(job.as_str()).and_then(|epochs| epochs.last_key_value())
                && newest > epoch
            {
                faults.push(format!("the effect of {job} is of {epoch}, but {newest} held it"));
            }
        }
        faults
    }

    fn of_slots(&self) -> Vec<String> {
        let mut ran: BTreeMap<(&str, u64), BTreeSet<u64>> = BTreeMap::new();
        let mut faults = Vec::new();
        for seen in &self.seen {
            if let Seen::Ran { task, slot, epoch } = seen {
                let epochs = ran.entry((task, *slot)).or_default();
                epochs.insert(*epoch);
                if epochs.len() > 1 {
                    faults.push(format!("the slot {slot} of {task} was run to its end under {epochs:?}"));
                }
            }
        }
        faults
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

    fn effect(epoch: u64) -> Seen {
        Seen::Effect { job: "a".into(), epoch }
    }

    fn left(state: Left) -> Seen {
        Seen::Left { job: "a".into(), state }
    }

    fn ran(slot: u64, epoch: u64) -> Seen {
        Seen::Ran { task: "hosts".into(), slot, epoch }
    }

    fn faults(seen: impl IntoIterator<Item = Seen>) -> usize {
        History { seen: seen.into_iter().collect() }.faults().len()
    }

    #[test]
    fn what_is_right_has_no_fault() {
        let taken_over = [enqueued(Outcome::Done), granted("one", 1), granted("two", 2), effect(2)];
        assert_eq!(faults(taken_over), 0);
        assert_eq!(faults([enqueued(Outcome::Done), left(Left::Dead)]), 0);
        assert_eq!(faults([enqueued(Outcome::Unknown)]), 0);
        assert_eq!(faults([enqueued(Outcome::Unknown), enqueued(Outcome::Done), effect(1)]), 0);
        assert_eq!(faults([ran(1, 1), ran(2, 2), ran(2, 2)]), 0, "one run may be seen twice");
    }

    #[test]
    fn each_fault_is_found() {
        for wrong in [
            vec![enqueued(Outcome::Done)],
            vec![enqueued(Outcome::Done), effect(1), effect(2)],
            vec![enqueued(Outcome::Unknown), effect(1), effect(1)],
            vec![enqueued(Outcome::Done), left(Left::Open)],
            vec![enqueued(Outcome::Done), effect(1), left(Left::Dead)],
            vec![effect(1)],
            vec![enqueued(Outcome::Refused), effect(1)],
            vec![enqueued(Outcome::Unavailable), left(Left::Dead)],
            vec![enqueued(Outcome::Done), granted("one", 1), granted("two", 1), effect(1)],
            vec![enqueued(Outcome::Done), granted("one", 1), granted("two", 2), effect(1)],
            vec![ran(1, 1), ran(1, 2)],
        ] {
            assert_eq!(faults(wrong.clone()), 1, "{wrong:?}");
        }
    }
}
