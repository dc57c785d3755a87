//! How long the store has been in reach, and whose claims may therefore be taken.

use crate::Millis;

/// The contact with the store: told of every answer and of every request without one.
#[derive(Debug, Clone)]
pub struct Contact {
    silence: Millis,
    span: Option<Span>,
}

/// An uninterrupted contact. When the store served a request is only known to lie between the request and its answer.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// When the first answer came: the contact is at least that old.
    since: Millis,
    /// When the latest of the requests was sent that were answered.
    latest: Millis,
}

impl Contact {
    /// No contact yet. Between a request and the next one's answer that are further apart than `silence` there may have
    /// been an outage that nobody noticed: contact begins anew. Half a lease is right for who renews after a third of it.
    #[must_use]
    pub const fn new(silence: Millis) -> Self {
        Self { silence, span: None }
    }

    /// The store answered what was sent at `sent`, if only to refuse.
    pub fn answered(&mut self, sent: Millis, now: Millis) {
        self.span = Some(match self.span {
            Some(Span { since, latest }) if now.saturating_sub(latest) <= self.silence => {
                Span { since, latest: latest.max(sent) }
            }
            _ => Span { since: now, latest: sent },
        });
    }

    /// The store did not answer, or not in time.
    pub fn failed(&mut self) {
        self.span = None;
    }

    /// For how long there has certainly been contact without a break.
    #[must_use]
    pub fn uninterrupted(&self) -> Millis {
        self.span.map_or(0, |span| span.latest.saturating_sub(span.since))
    }
}

/// Who held a lease last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Nobody ever did, or whoever did gave it up.
    Nobody,
    /// This host.
    Us,
    /// Another host.
    Another,
}

/// Whether a lease of this length may be claimed that was last held by `last` and lasts `left` longer by the store's
/// clock, after contact with the store that has been uninterrupted for so long ([`Contact::uninterrupted`]).
#[must_use]
pub fn may_claim(last: Last, left: Millis, length: Millis, uninterrupted: Millis) -> bool {
    left == 0 && (last != Last::Another || uninterrupted >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_outage_holders_come_first() {
        let mut contact = Contact::new(7_500);
        assert!(!may_claim(Last::Another, 0, 15_000, contact.uninterrupted()));
        assert!(
            may_claim(Last::Us, 0, 15_000, contact.uninterrupted())
                && may_claim(Last::Nobody, 0, 15_000, contact.uninterrupted())
        );
        for now in (0..15_000).step_by(5_000) {
            contact.answered(now, now);
            assert!(!may_claim(Last::Another, 0, 15_000, contact.uninterrupted()));
        }
        contact.answered(15_000, 15_000);
        assert!(may_claim(Last::Another, 0, 15_000, contact.uninterrupted()));
        assert!(!may_claim(Last::Us, 1, 15_000, contact.uninterrupted()));
        contact.failed();
        contact.answered(15_100, 15_100);
        assert!(!may_claim(Last::Another, 0, 15_000, contact.uninterrupted()));
    }

    #[test]
    fn silence_is_no_contact() {
        let mut contact = Contact::new(7_500);
        contact.answered(0, 0);
        contact.answered(7_500, 7_500);
        assert_eq!(contact.uninterrupted(), 7_500);
        contact.answered(15_001, 15_001);
        assert_eq!(contact.uninterrupted(), 0);
    }

    /// Served before an outage, and on its way all through it.
    #[test]
    fn a_slow_answer_hides_no_outage() {
        let mut contact = Contact::new(7_500);
        contact.answered(0, 10);
        contact.answered(5_000, 11_000);
        assert_eq!(contact.uninterrupted(), 0);
        contact.answered(16_000, 16_010);
        assert_eq!(contact.uninterrupted(), 0, "the store may have been away since 5 s");
        contact.answered(21_000, 21_010);
        assert_eq!(contact.uninterrupted(), 4_990);
    }
}
