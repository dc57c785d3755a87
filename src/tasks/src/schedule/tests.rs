//! The schedule of one task, and of several hosts that share it through a store.

use culvert_records::Lease;
use proptest::prelude::*;

use super::*;
use crate::duty::DUTIES;

const NOW: Millis = 1_790_000_000_000;

fn duty() -> &'static Duty {
    &DUTIES[0]
}

fn task(due: Millis) -> Stored<Task> {
    let id = duty().name.to_string();
    let record =
        Task { id, due, attempts: 0, finished: None, succeeded: None, duration: None, host: None, result: None };
    Stored { record, revision: 1, lease: None }
}

fn held(mut task: Stored<Task>, host: HostId, attempts: u16, left: Millis) -> Stored<Task> {
    task.record.attempts = attempts;
    task.lease = Some(Lease { host, owner: "tasks".into(), epoch: 3, left });
    task
}

#[test]
fn waits_until_it_is_due() {
    let host = HostId::new();
    assert_eq!(step(duty(), &task(NOW + 1_200), host, NOW, 0, None), Step::Wait(1_200));
    assert_eq!(step(duty(), &task(NOW), host, NOW, 0, None), Step::Reserve);
    assert_eq!(step(duty(), &task(NOW + 3_600_000), host, NOW, 0, None), Step::Reserve, "the clock was set back");
    assert_eq!(step(duty(), &held(task(NOW), HostId::new(), 1, 900), host, NOW, 99_999, None), Step::Wait(900));
}

#[test]
fn who_sees_a_run_waits_for_the_next_slot() {
    let (host, period) = (HostId::new(), duty().period);
    let seen = held(task(NOW), HostId::new(), 1, 10 * period);
    for late in [0, 1, 700, period - 1] {
        assert_eq!(step(duty(), &seen, host, NOW + late, 0, None), Step::Wait(period - late));
    }
    assert_eq!(step(duty(), &seen, host, NOW + period, 0, None), Step::Wait(period), "it takes longer than its period");
}

/// A run that began at `NOW` and took so long.
fn ran(duration: Millis) -> Stored<Task> {
    let mut ran = task(NOW + duty().period);
    (ran.record.finished, ran.record.duration) = (Some(NOW + duration), Some(duration));
    ran
}

#[test]
fn what_was_changed_since_is_looked_at_when_it_has_rested() {
    let (host, long, ran, now) = (HostId::new(), ran(200), ran(10), NOW + 500);
    assert_eq!(began(&ran.record), Some(NOW));
    assert_eq!(began(&task(NOW).record), None);
    assert_eq!(step(duty(), &ran, host, now, 0, None), Step::Wait(duty().period - 500));
    assert_eq!(step(duty(), &ran, host, now, 0, Some(NOW)), Step::Wait(10 + REST - 500));
    assert_eq!(step(duty(), &ran, host, NOW + 10 + REST, 0, Some(NOW)), Step::Reserve);
    assert_eq!(step(duty(), &long, host, now, 0, Some(NOW)), Step::Wait(200 + 200 * RESTS - 500));
    let sooner = Stored { record: Task { due: now + 10, ..ran.record.clone() }, ..ran.clone() };
    assert_eq!(step(duty(), &sooner, host, now, 0, Some(NOW)), Step::Wait(10), "it is due anyway");
    assert_eq!(step(duty(), &held(ran, host, 1, 900), host, NOW + 60_000, 0, Some(NOW)), Step::Wait(900));
}

#[test]
fn after_an_outage_whoever_began_comes_first() {
    let [host, other] = [HostId::new(), HostId::new()];
    let contact = duty().timeout;
    assert_eq!(step(duty(), &held(task(NOW), other, 1, 0), host, NOW, contact - 1_000, None), Step::Wait(1_000));
    assert_eq!(step(duty(), &held(task(NOW), other, 1, 0), host, NOW, contact, None), Step::Reserve);
    assert_eq!(step(duty(), &held(task(NOW), host, 1, 0), host, NOW, 0, None), Step::Reserve);
    assert_eq!(step(duty(), &held(task(NOW), other, 0, 0), host, NOW, 0, None), Step::Reserve, "it was given back");
}

#[test]
fn a_run_may_say_when_it_is_due_again() {
    let due_after = |again| {
        let done = Outcome::Done(Done { text: "done".into(), again: Some(again) });
        after(duty(), &Task { attempts: 1, ..task(NOW).record }, done, HostId::new(), NOW, NOW + 70).0.due
    };
    assert_eq!(due_after(1_234), NOW + 70 + 1_234);
    assert_eq!(due_after(duty().period * 2), NOW + 70 + duty().period, "never later than its period");
}

#[test]
fn three_attempts_then_a_report() {
    let host = HostId::new();
    let failed = |attempts| {
        let task = Task { attempts, ..task(NOW).record };
        after(duty(), &task, Outcome::Failed("why".into()), host, NOW, NOW + 70)
    };
    for attempts in 1..ATTEMPTS {
        let (next, report) = failed(attempts);
        assert_eq!((next.due, next.attempts, report), (NOW + 1_070, attempts, None));
    }
    let (next, report) = failed(ATTEMPTS);
    assert_eq!((next.due, next.attempts), (NOW + duty().period, 0));
    assert!(report.is_some_and(|report| report.contains("why") && report.contains(duty().name)));
    let (next, report) =
        after(duty(), &Task { attempts: 3, ..task(NOW).record }, Outcome::Abandoned, host, NOW, NOW + 1);
    assert!(next.attempts == 0 && next.due > NOW && report.is_some());
}

proptest! {
    #[test]
    fn the_beat_is_kept(late in 0..10_000_000_u64, duration in 0..100_000_u64) {
        let task = task(NOW);
        let now = NOW + late + duration;
        let done = Outcome::Done(Done::of("done"));
        let (next, report) = after(duty(), &task.record, done, HostId::new(), NOW + late, now);
        prop_assert!(next.due > now && next.due <= now + duty().period);
        prop_assert_eq!((next.due - NOW) % duty().period, 0);
        prop_assert_eq!((next.duration, report), (Some(duration), None));
    }

    /// Three hosts look at random times; some runs are never ended. Whatever happens, nobody begins what another has,
    /// and no run stays undone for longer than its attempts take.
    #[test]
    fn one_at_a_time_and_never_forgotten(
        looks in prop::collection::vec((0..3_usize, 1..2_000_u64, 0..4_u8), 200..400),
    ) {
        let hosts = [HostId::new(), HostId::new(), HostId::new()];
        let (mut now, mut stored) = (NOW, task(NOW));
        let (mut expires, mut ended) = (0, NOW);
        for (who, passed, luck) in looks {
            now += passed;
            if let Some(lease) = &mut stored.lease {
                lease.left = u64::saturating_sub(expires, now);
            }
            match step(duty(), &stored, hosts[who], now, duty().timeout, None) {
                Step::Wait(wait) => prop_assert!(wait > 0 && (stored.record.due > now || expires > now)),
                Step::Reserve => {
                    prop_assert!(expires <= now && stored.record.due <= now);
                    let epoch = stored.lease.as_ref().map_or(1, |lease| lease.epoch + 1);
                    expires = now + duty().timeout;
                    stored.lease = Some(Lease { host: hosts[who], owner: "tasks".into(), epoch, left: duty().timeout });
                    let outcome = if stored.record.attempts >= ATTEMPTS {
                        Outcome::Abandoned
                    } else {
                        stored.record.attempts += 1;
                        match luck {
                            0 => continue,
                            1 => Outcome::Failed("luck".into()),
                            _ => Outcome::Done(Done::of("done")),
                        }
                    };
                    stored.record = after(duty(), &stored.record, outcome, hosts[who], now, now).0;
                    expires = now;
                    if stored.record.attempts == 0 {
                        ended = now;
                    }
                }
            }
            let longest = duty().period + u64::from(ATTEMPTS + 1) * (duty().timeout + AGAIN + 2_000) + 2_000;
            prop_assert!(now - ended <= longest, "undone for {} ms", now - ended);
        }
    }
}
