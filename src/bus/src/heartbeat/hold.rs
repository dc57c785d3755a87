//! Who may take a host's lease: a pure decision from what the store tells of it.

use std::time::Duration;

use culvert_model::Millis;
use culvert_model::record::Host;
use culvert_wire::bus::Lease;

/// How long is waited before the lease is looked at again: often enough to be the first after its end.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_millis(500);

/// So often must the word of a lease change under the eyes of this machine. The first change may be the last request of
/// an earlier incarnation that arrives late.
const CHANGES: usize = 2;

/// What to do about the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nobody has it: take it.
    Claim,
    /// It is this machine's own: go on with it.
    Pass,
    /// Somebody else may be there: look again.
    Wait(Duration),
    /// Somebody else is there.
    Refused,
}

/// What was seen of somebody else under this id.
#[derive(Debug, Default)]
pub struct Rival {
    word: Option<String>,
    changes: usize,
}

impl Rival {
    /// What to do, when the record's lease is this. `known` is whether its word is this machine's, `offline` what the
    /// record says of the host, `contact` for how long the store has answered without a break.
    pub fn step(&mut self, lease: Option<&Lease>, known: bool, offline: bool, contact: Duration) -> Step {
        let Some(lease) = lease else { return Step::Claim };
        match (known, lease.left) {
            (true, 0) => Step::Claim,
            (true, _) => Step::Pass,
            // It said goodbye, or others have seen that it is gone.
            (false, 0) if offline => Step::Claim,
            // It may have run out in an outage that kept whoever holds it from renewing it: that one comes first.
            (false, 0) => match Duration::from_millis(Host::LEASE).checked_sub(contact) {
                Some(rest) if !rest.is_zero() => Step::Wait(rest.clamp(SHORTEST, LONGEST)),
                _ => Step::Claim,
            },
            (false, left) => self.watch(&lease.owner, left),
        }
    }

    fn watch(&mut self, word: &str, left: Millis) -> Step {
        match &mut self.word {
            Some(seen) if seen != word => {
                word.clone_into(seen);
                self.changes += 1;
            }
            Some(_) => {}
            none => *none = Some(word.to_owned()),
        }
        if self.changes >= CHANGES {
            return Step::Refused;
        }
        Step::Wait(Duration::from_millis(left).clamp(SHORTEST, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::HostId;

    use super::*;

    const LONG: Duration = Duration::from_millis(Host::LEASE);

    fn lease(word: &str, left: Millis) -> Option<Lease> {
        Some(Lease { host: HostId::new(), owner: word.into(), epoch: 1, left })
    }

    fn step(rival: &mut Rival, lease: Option<Lease>, known: bool, offline: bool, contact: Duration) -> Step {
        rival.step(lease.as_ref(), known, offline, contact)
    }

    #[test]
    fn what_nobody_has_is_taken_and_what_is_ours_is_kept() {
        let rival = &mut Rival::default();
        assert_eq!(step(rival, None, false, false, Duration::ZERO), Step::Claim);
        assert_eq!(step(rival, lease("a", 0), true, false, Duration::ZERO), Step::Claim);
        assert_eq!(step(rival, lease("a", 5), true, false, Duration::ZERO), Step::Pass);
        assert_eq!(step(rival, lease("b", 0), false, true, Duration::ZERO), Step::Claim);
    }

    #[test]
    fn after_an_outage_whoever_held_it_comes_first() {
        let rival = &mut Rival::default();
        assert!(matches!(step(rival, lease("b", 0), false, false, Duration::ZERO), Step::Wait(_)));
        assert!(matches!(step(rival, lease("b", 0), false, false, LONG - SHORTEST), Step::Wait(_)));
        assert_eq!(step(rival, lease("b", 0), false, false, LONG), Step::Claim);
    }

    #[test]
    fn somebody_is_there_whose_word_changes_twice() {
        let rival = &mut Rival::default();
        for (word, expected) in [("b", true), ("b", true), ("c", true), ("c", true), ("d", false)] {
            let step = step(rival, lease(word, 8_000), false, false, LONG);
            assert_eq!(matches!(step, Step::Wait(_)), expected, "{word}: {step:?}");
        }
    }

    #[test]
    fn who_only_left_a_lease_behind_is_outlived() {
        let rival = &mut Rival::default();
        assert_eq!(step(rival, lease("b", 8_000), false, false, Duration::ZERO), Step::Wait(LONGEST));
        assert_eq!(step(rival, lease("b", 20), false, false, LONG), Step::Wait(SHORTEST));
        assert_eq!(step(rival, lease("b", 0), false, false, LONG), Step::Claim);
    }
}
