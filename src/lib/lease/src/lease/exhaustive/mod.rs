//! Every state that two or three holders, what is under way between them and the store, and the store can get into; with a
//! wrong clock of the store, those of three holders within a dozen steps.
//!
//! The holders run the real [`Lease`], with a lease of two ticks. Times are moved and epochs ranked so that there are
//! finitely many states, and no bound on how long or how often anything happens; the one bound is that at most two messages
//! are under way at a time. Messages are lost, come late, in any order, and in part twice; a process is not run for as long
//! as it may be, also between its decision and the message; it is killed; leases run out, and with a wrong clock of the
//! store end early or late at any time.

mod serve;
mod state;

use state::{Holder, Message, NOW, State, TERMS, What};
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::{Action, Answer};

const NEWER: &str = "only the newer holder's writes are seen";
const HOLDS: &str = "with right clocks, who believes to hold does";

/// How a holder has effects that others see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In a transaction that writes the claim's record, which a result in that record alone is, too.
    Together,
    /// In a target that carries the epoch.
    Target,
    /// By stages, and one write of the claim's record that publishes them.
    Stages,
}

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Right,
    /// The transaction only reads the claim; what is published is not guarded; the target is read without a fence.
    Unfenced,
    /// The end of the lease is counted from the answer.
    LateClock,
    /// It is taken to be held until the store refuses a renewal.
    NeverLapses,
}

#[derive(Debug, Clone)]
struct World {
    holders: usize,
    way: Way,
    rule: Rule,
    /// Whether the store's clock may be stepped.
    steps: bool,
    /// The most messages of one holder.
    wire: usize,
    /// Whether processes are killed, give leases back, and tire of waiting.
    ends: bool,
    /// What may become of a message, besides that it is lost.
    fates: &'static [Fate],
}

/// What becomes of a message that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Once,
    /// It may still come again.
    Again,
    /// It is answered at once, and the answer arrives.
    Heard,
    /// It is answered at once, and the answer is lost.
    Unheard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Tick,
    Poll(usize),
    /// A holder decides to write, or to prepare it.
    Decide(usize),
    /// A holder gives the lease back.
    Give(usize),
    /// It waits no longer for what it asked.
    Tire(usize),
    Kill(usize),
    Arrive(Message, Fate),
    Lose(Message),
    /// The store's clock is stepped to where this is left of the lease.
    Clock(u64),
}

impl World {
    fn believes(&self, holder: &Holder) -> Option<u64> {
        match self.rule {
            Rule::NeverLapses => holder.begun,
            _ => holder.lease.held(NOW),
        }
    }

    fn poll(&self, state: &mut State, number: usize) {
        let holder = &mut state.holders[number];
        while let Some(action) = holder.lease.poll(NOW) {
            let what = match action {
                Action::Claim(ticket) => What::Claim(ticket, None),
                Action::Renew(ticket, epoch) => What::Renew(ticket, epoch),
                Action::Release(epoch) => What::Release(epoch),
                Action::Begin(epoch) => {
                    holder.begun = Some(epoch);
                    continue;
                }
                Action::Pause(_) => {
                    if self.rule != Rule::NeverLapses {
                        holder.begun = None;
                    }
                    continue;
                }
                // It is looked at again with the next tick.
                Action::End => return *holder = Holder::new(NOW + 1),
            };
            state.wire.push(Message { holder: number, what });
        }
    }

    /// What a holder would send now.
    fn decision(&self, holder: &Holder) -> Option<What> {
        let epoch = self.believes(holder).filter(|epoch| holder.begun == Some(*epoch))?;
        let ready = self.way == Way::Together || holder.ready == Some(epoch);
        Some(if ready { What::Write(epoch, false) } else { What::Prepare(epoch) })
    }
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.holders).normal(NOW)]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Tick);
        for number in 0..self.holders {
            let holder = &state.holders[number];
            steps.push(Step::Poll(number));
            if self.decision(holder).is_some() {
                steps.push(Step::Decide(number));
            }
            if self.ends {
                steps.push(Step::Kill(number));
                steps.extend(holder.begun.map(|_| Step::Give(number)));
                steps.extend(holder.lease.asked.map(|_| Step::Tire(number)));
            }
        }
        for message in &state.wire {
            steps.push(Step::Lose(*message));
            steps.extend(self.fates.iter().map(|fate| Step::Arrive(*message, *fate)));
        }
        if self.steps {
            steps.extend((0..=TERMS.length).map(Step::Clock));
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let (mut state, mut now) = (last.clone(), NOW);
        match step {
            Step::Tick => {
                now += 1;
                state.store.left = state.store.left.saturating_sub(1);
            }
            Step::Poll(number) => self.poll(&mut state, number),
            Step::Decide(number) => {
                let what = self.decision(&state.holders[number])?;
                state.wire.push(Message { holder: number, what });
            }
            Step::Give(number) => {
                let given = state.holders[number].lease.release()?;
                state.holders[number] = Holder::new(NOW);
                state.wire.push(Message { holder: number, what: What::Release(given) });
            }
            Step::Tire(number) => {
                let lease = &mut state.holders[number].lease;
                lease.answer(lease.asked?, Answer::Silence, NOW);
            }
            Step::Kill(number) => state.holders[number] = Holder::new(NOW),
            Step::Arrive(message, fate) => {
                state.wire.retain(|it| *it != message);
                self.arrive(&mut state, message, fate);
            }
            Step::Lose(message) => state.wire.retain(|it| *it != message),
            Step::Clock(left) => state.store.left = left,
        }
        let state = state.normal(now);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NEWER, |_, state: &State| state.broken.is_none()),
            Property::always(HOLDS, |world: &Self, state: &State| {
                world.steps
                    || (0..world.holders).all(|number| {
                        world.believes(&state.holders[number]).is_none_or(|epoch| {
                            let store = &state.store;
                            store.owner == Some(number) && store.epoch == epoch && store.left > 0
                        })
                    })
            }),
            Property::sometimes("an older holder's write comes while a newer one works", |_, state: &State| {
                let older =
                    |message: &Message| matches!(message.what, What::Write(epoch, _) if epoch < state.store.epoch);
                state.wire.iter().any(older)
                    && state.holders.iter().any(|holder| holder.begun == Some(state.store.epoch))
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.wire.len() <= self.wire
    }
}

/// Every way for a message to arrive.
const ALL: &[Fate] = &[Fate::Once, Fate::Again];

/// Answers come at once or never.
const DIRECT: &[Fate] = &[Fate::Heard, Fate::Unheard];

impl World {
    const fn of(holders: usize, way: Way, rule: Rule) -> Self {
        Self { holders, way, rule, steps: false, wire: 2, ends: true, fates: DIRECT }
    }

    /// Visits every state, or those in reach of so many steps, and fails if one is wrong.
    fn explore(self, depth: usize) {
        let name = format!(
            "{} holders, {:?}, {}",
            self.holders,
            self.way,
            if self.steps { "clock steps" } else { "right clocks" }
        );
        let mut checker = self.checker();
        if depth > 0 {
            checker = checker.target_max_depth(depth);
        }
        let checker = checker.spawn_bfs().join();
        println!("{name}: {} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
        checker.assert_properties();
        assert!(checker.unique_state_count() > 50_000, "there is less to see than there was");
    }
}

#[test]
fn two_holders_in_every_state() {
    World { fates: ALL, ..World::of(2, Way::Together, Rule::Right) }.explore(0);
    World { steps: true, ..World::of(2, Way::Together, Rule::Right) }.explore(0);
    World::of(2, Way::Target, Rule::Right).explore(0);
    World { ends: false, ..World::of(2, Way::Stages, Rule::Right) }.explore(0);
}

#[test]
fn three_holders_in_every_state() {
    World { ends: false, ..World::of(3, Way::Together, Rule::Right) }.explore(0);
}

#[test]
fn three_holders_as_far_as_seconds_reach() {
    for way in [Way::Together, Way::Target, Way::Stages] {
        World { steps: true, ..World::of(3, way, Rule::Right) }.explore(12);
    }
}

/// Minutes, and gigabytes.
#[test]
#[ignore = "for whoever changes the protocol: cargo test -p culvert-lease --lib -- --ignored --nocapture"]
fn everything_that_minutes_reach() {
    for way in [Way::Together, Way::Target, Way::Stages] {
        World { fates: ALL, steps: true, ..World::of(2, way, Rule::Right) }.explore(0);
        World { steps: true, ..World::of(3, way, Rule::Right) }.explore(20);
        World { ends: way != Way::Stages, ..World::of(3, way, Rule::Right) }.explore(0);
    }
}

#[test]
fn wrong_rules_have_a_counterexample() {
    for (holders, way, rule, property) in [
        (2, Way::Together, Rule::Unfenced, NEWER),
        (2, Way::Target, Rule::Unfenced, NEWER),
        (2, Way::Stages, Rule::Unfenced, NEWER),
        (3, Way::Together, Rule::Unfenced, NEWER),
        (2, Way::Together, Rule::LateClock, HOLDS),
        (2, Way::Together, Rule::NeverLapses, HOLDS),
    ] {
        let world = World { fates: ALL, ..World::of(holders, way, rule) };
        let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let path = checker.discovery(property).unwrap_or_else(|| panic!("{way:?}, {rule:?}: none is found"));
        println!(
            "{holders} holders, {way:?}, {rule:?}: {} steps, of {} states",
            path.into_actions().len(),
            checker.unique_state_count()
        );
    }
}
