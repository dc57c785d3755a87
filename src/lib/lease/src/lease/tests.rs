//! One holder step by step, then two holders and a store through anything that can happen between them.

mod world;

use proptest::prelude::*;
use world::{Step, World, step};

use super::*;

const TERMS: Terms = Terms::of(15_000);

/// What the store's clock shows when all begins, so that it can be stepped back.
const BEGINNING: Millis = 1_000_000_000;

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
