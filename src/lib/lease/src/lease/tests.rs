//! One holder step by step, then two holders and a store through anything that can happen between them.

use proptest::prelude::*;

use super::*;

const TERMS: Terms = Terms::of(15_000);

fn claimed(now: Millis, epoch: u64) -> Lease {
    let mut lease = Lease::new(TERMS, now);
    let Some(Action::Claim(ticket)) = lease.poll(now) else { panic!("a new lease is claimed at once") };
    lease.answer(ticket, Answer::Held { epoch }, now + 3);
    assert_eq!(lease.poll(now + 3), Some(Action::Begin(epoch)));
    lease
}

#[test]
fn a_year_without_trouble() {
    let mut lease = claimed(0, 1);
    let mut renewals = 0_u64;
    while let Some(now) = lease.wake().filter(|now| *now < 365 * 24 * 3600 * 1000) {
        match lease.poll(now) {
            Some(Action::Renew(ticket, 1)) => lease.answer(ticket, Answer::Held { epoch: 1 }, now + 4),
            other => panic!("{other:?} at {now}"),
        }
        renewals += 1;
    }
    assert_eq!(renewals, 365 * 24 * 3600 / 5 - 1);
}

#[test]
fn an_outage_pauses_and_a_renewal_goes_on() {
    let mut lease = claimed(0, 7);
    let Some(Action::Renew(ticket, 7)) = lease.poll(5_000) else { panic!("renewed after 5 s") };
    lease.answer(ticket, Answer::Silence, 14_000);
    assert_eq!(lease.wake(), Some(15_000));
    assert_eq!(lease.poll(14_999), None);
    assert_eq!(lease.held(14_999), Some(7));
    assert_eq!(lease.held(15_000), None);
    assert_eq!(lease.poll(15_000), Some(Action::Pause(7)));
    let Some(Action::Renew(ticket, 7)) = lease.poll(15_000) else { panic!("asked again") };
    lease.answer(ticket, Answer::Held { epoch: 7 }, 15_010);
    assert_eq!(lease.poll(15_010), Some(Action::Begin(7)));
}

#[test]
fn what_ran_out_is_claimed_again_under_a_new_epoch() {
    let mut lease = claimed(0, 7);
    let Some(Action::Renew(ticket, 7)) = lease.poll(5_000) else { panic!("renewed after 5 s") };
    lease.answer(ticket, Answer::Expired, 5_001);
    assert_eq!(lease.poll(5_001), Some(Action::Pause(7)));
    let Some(Action::Claim(ticket)) = lease.poll(5_001) else { panic!("claimed again") };
    lease.answer(ticket, Answer::Held { epoch: 8 }, 5_002);
    assert_eq!(lease.poll(5_002), Some(Action::Begin(8)));
    let Some(Action::Renew(ticket, 8)) = lease.poll(10_001) else { panic!("renewed after 5 s") };
    lease.answer(ticket, Answer::Expired, 10_002);
    assert_eq!(lease.poll(10_002), Some(Action::Pause(8)));
    let Some(Action::Claim(ticket)) = lease.poll(10_002) else { panic!("claimed again") };
    lease.answer(ticket, Answer::Refused, 10_003);
    assert_eq!(lease.poll(10_003), Some(Action::End));
    assert_eq!((lease.poll(99_000), lease.wake()), (None, None));
}

#[test]
fn what_another_has_had_is_not_claimed_without_a_look() {
    let mut lease = claimed(0, 7);
    let Some(Action::Renew(ticket, 7)) = lease.poll(5_000) else { panic!("renewed after 5 s") };
    lease.answer(ticket, Answer::Refused, 5_001);
    assert_eq!([lease.poll(5_001), lease.poll(5_001)], [Some(Action::Pause(7)), Some(Action::End)]);
}

#[test]
fn after_silence_nothing_is_claimed_that_was_not_looked_at() {
    let mut lease = Lease::new(TERMS, 0);
    let Some(Action::Claim(ticket)) = lease.poll(0) else { panic!("a new lease is claimed at once") };
    lease.answer(ticket, Answer::Silence, 900);
    assert_eq!((lease.poll(900), lease.wake()), (Some(Action::End), None));

    let mut lease = claimed(0, 7);
    let Some(Action::Renew(ticket, 7)) = lease.poll(5_000) else { panic!("renewed after 5 s") };
    lease.answer(ticket, Answer::Expired, 5_001);
    assert_eq!(lease.poll(5_001), Some(Action::Pause(7)));
    let Some(Action::Claim(_)) = lease.poll(5_001) else { panic!("claimed again") };
    assert_eq!((lease.poll(20_000), lease.wake()), (None, Some(20_001)));
    assert_eq!((lease.poll(20_001), lease.wake()), (None, Some(21_001)), "given up, and asked again a second later");
    assert!(matches!(lease.poll(21_001), Some(Action::Renew(_, 7))), "whose it is now, the renewal tells");
}

#[test]
fn a_grant_that_comes_too_late_is_no_grant() {
    let mut lease = Lease::new(TERMS, 0);
    let Some(Action::Claim(ticket)) = lease.poll(0) else { panic!("a new lease is claimed at once") };
    lease.answer(ticket, Answer::Held { epoch: 1 }, 15_000);
    assert_eq!(lease.held(15_000), None);
    assert!(matches!(lease.poll(15_000), Some(Action::Renew(_, 1))));
}

#[test]
fn a_claim_that_is_granted_after_all_is_given_back() {
    let mut lease = Lease::new(TERMS, 0);
    let Some(Action::Claim(ticket)) = lease.poll(0) else { panic!("a new lease is claimed at once") };
    assert_eq!(lease.release(), None);
    lease.answer(ticket, Answer::Held { epoch: 3 }, 5);
    assert_eq!(lease.poll(5), Some(Action::Release(3)));
    assert_eq!(lease.poll(5), None);
}

/// The store: one record's lease by its own clock.
#[derive(Debug, Default)]
struct Store {
    skew: u64,
    owner: Option<usize>,
    epoch: u64,
    expires: u64,
}

impl Store {
    fn serve(&mut self, holder: usize, request: Action, now: Millis) -> Answer {
        let now = now + self.skew;
        let ours = self.owner == Some(holder) && self.expires > now;
        match request {
            Action::Claim(_) if self.expires <= now => {
                self.owner = Some(holder);
                self.epoch += 1;
            }
            Action::Renew(_, epoch) if ours && epoch == self.epoch => {}
            _ => return Answer::Refused,
        }
        self.expires = now + TERMS.length;
        Answer::Held { epoch: self.epoch }
    }

    fn accepts(&self, holder: usize, epoch: u64, now: Millis) -> bool {
        self.owner == Some(holder) && self.epoch == epoch && self.expires > now + self.skew
    }
}

/// What can happen next. The number chooses among what is under way.
#[derive(Debug, Clone)]
enum Step {
    Pass(Millis),
    Poll(usize),
    /// A request reaches the store.
    Serve(usize),
    /// An answer reaches its holder.
    Deliver(usize),
    /// A request or an answer is lost, and its holder told so.
    Lose(usize),
    /// The store's clock is stepped forwards: leases end early.
    Skew(Millis),
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_000_u64).prop_map(Step::Pass),
        1 => (0..40_000_u64).prop_map(Step::Pass),
        8 => (0..2_usize).prop_map(Step::Poll),
        8 => (0..4_usize).prop_map(Step::Serve),
        8 => (0..4_usize).prop_map(Step::Deliver),
        2 => (0..4_usize).prop_map(Step::Lose),
        1 => (0..20_000_u64).prop_map(Step::Skew),
        1 => (0..2_usize).prop_map(Step::Restart),
    ]
}

#[derive(Debug)]
struct Sent {
    holder: usize,
    life: u32,
    request: Action,
    answer: Option<Answer>,
}

struct World {
    now: Millis,
    store: Store,
    holders: [Lease; 2],
    /// Each holder's own clock runs as fast as the true one, from another beginning.
    beginnings: [Millis; 2],
    lives: [u32; 2],
    /// Under which epoch the holder's effects run.
    effects: [Option<u64>; 2],
    /// When the holder sent the last request that was granted to it.
    granted: [Option<Millis>; 2],
    wire: Vec<Sent>,
    skewed: bool,
}

impl World {
    fn new() -> Self {
        let beginnings = [0, 1_000_000];
        Self {
            now: 0,
            store: Store::default(),
            holders: beginnings.map(|beginning| Lease::new(TERMS, beginning)),
            beginnings,
            lives: [0; 2],
            effects: [None; 2],
            granted: [None; 2],
            wire: Vec::new(),
            skewed: false,
        }
    }

    fn local(&self, holder: usize) -> Millis {
        self.now + self.beginnings[holder]
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(time) => self.now += time,
            Step::Poll(holder) => self.poll(holder),
            Step::Serve(which) => {
                let now = self.now;
                if let Some(sent) = self.wire.iter_mut().filter(|sent| sent.answer.is_none()).nth(which) {
                    sent.answer = Some(self.store.serve(sent.holder, sent.request, now));
                }
            }
            Step::Deliver(which) => self.deliver(which, false),
            Step::Lose(which) => self.deliver(which, true),
            Step::Skew(time) => {
                self.store.skew += time;
                self.skewed = true;
            }
            Step::Restart(holder) => {
                self.holders[holder] = Lease::new(TERMS, self.local(holder));
                self.lives[holder] += 1;
                self.effects[holder] = None;
                self.granted[holder] = None;
            }
        }
    }

    fn poll(&mut self, holder: usize) {
        let now = self.local(holder);
        while let Some(action) = self.holders[holder].poll(now) {
            match action {
                Action::Claim(_) | Action::Renew(..) => {
                    self.wire.push(Sent { holder, life: self.lives[holder], request: action, answer: None });
                }
                Action::Begin(epoch) => assert_eq!(self.effects[holder].replace(epoch), None),
                Action::Pause(epoch) => assert_eq!(self.effects[holder].take(), Some(epoch)),
                Action::Release(_) => panic!("nobody gave it up"),
                // It tries again, as somebody who finds the record free later.
                Action::End => self.holders[holder] = Lease::new(TERMS, now + 1),
            }
        }
        assert_eq!(self.effects[holder], self.holders[holder].held(now), "effects run when it is held, and only then");
    }

    fn deliver(&mut self, which: usize, lose: bool) {
        let Some(place) = self
            .wire
            .iter()
            .enumerate()
            .filter(|(_, sent)| lose || sent.answer.is_some())
            .map(|(place, _)| place)
            .nth(which)
        else {
            return;
        };
        let sent = self.wire.remove(place);
        if sent.life != self.lives[sent.holder] {
            return;
        }
        let (Action::Claim(ticket) | Action::Renew(ticket, _)) = sent.request else { return };
        let answer = sent.answer.filter(|_| !lose).unwrap_or(Answer::Silence);
        if matches!(answer, Answer::Held { .. }) {
            let granted = &mut self.granted[sent.holder];
            *granted = (*granted).max(Some(ticket.sent));
        }
        let now = self.local(sent.holder);
        self.holders[sent.holder].answer(ticket, answer, now);
    }

    fn check(&self) {
        let held = [0, 1].map(|holder| self.holders[holder].held(self.local(holder)));
        for holder in [0, 1] {
            if let Some(epoch) = held[holder] {
                let sent = self.granted[holder].expect("nobody holds what was not granted");
                assert!(self.local(holder) < sent + TERMS.length, "held beyond its end");
                assert!(self.skewed || self.store.accepts(holder, epoch, self.now), "held, but the store says no");
            }
        }
        if let [Some(one), Some(other)] = held {
            assert!(self.skewed, "two hold it although no clock is wrong");
            assert_ne!(one, other, "two hold it under one epoch");
            let accepted = [(0, one), (1, other)].map(|(holder, epoch)| self.store.accepts(holder, epoch, self.now));
            assert_ne!(accepted, [true, true], "the fence lets both through");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn one_holder_at_a_time(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
    }

    /// With answers within a second, whoever has it keeps it, however the polls fall.
    #[test]
    fn kept_while_the_store_answers(delays in prop::collection::vec((0..1_000_u64, 0..1_000_u64, 0..3_000_u64), 1..100)) {
        let mut world = World::new();
        world.poll(0);
        for (there, back, late) in delays {
            world.step(&Step::Pass(there));
            world.step(&Step::Serve(0));
            world.step(&Step::Pass(back));
            world.step(&Step::Deliver(0));
            world.poll(0);
            assert!(world.effects[0].is_some());
            let wake = world.holders[0].wake().expect("it goes on");
            world.now = world.now.max(wake) + late;
            world.poll(0);
            assert_eq!(world.effects[0], Some(1));
        }
    }
}
