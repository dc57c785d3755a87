//! What a message does that arrives.

use super::super::{Action, Answer, Lease};
use super::state::{Message, NOW, State, TERMS, What};
use super::{Fate, Rule, Way, World};

impl World {
    /// At the store, or at its holder.
    pub fn arrive(&self, state: &mut State, Message { holder, what }: Message, fate: Fate) {
        let copy = if let What::Claim(ticket, None) = what {
            let answer = self.serve_claim(state, holder, None);
            let granted = if let Answer::Held { epoch } = answer { Some(epoch) } else { None };
            state.wire.push(Message { holder, what: What::Answer(ticket, answer) });
            What::Claim(ticket, granted)
        } else {
            self.serve(state, holder, what);
            what
        };
        match fate {
            Fate::Once => {}
            Fate::Again => state.wire.push(Message { holder, what: copy }),
            Fate::Heard | Fate::Unheard => {
                let answers: Vec<_> = state.wire.extract_if(.., |message| message.what.is_answer()).collect();
                answers
                    .into_iter()
                    .filter(|_| fate == Fate::Heard)
                    .for_each(|Message { holder, what }| self.serve(state, holder, what));
            }
        }
    }

    fn serve_claim(&self, state: &mut State, holder: usize, granted: Option<u64>) -> Answer {
        let store = &mut state.store;
        if granted == Some(store.epoch) {
            return Answer::Held { epoch: store.epoch };
        }
        if store.left > 0 {
            return Answer::Refused;
        }
        (store.owner, store.epoch, store.left) = (Some(holder), store.epoch + 1, TERMS.length);
        Answer::Held { epoch: store.epoch }
    }

    fn serve(&self, state: &mut State, holder: usize, what: What) {
        let right = self.rule != Rule::Unfenced;
        let accepts = |state: &State, epoch: u64| {
            let store = &state.store;
            store.owner == Some(holder) && store.epoch == epoch && store.left > 0
        };
        let answer = |state: &mut State, what| {
            state.wire.push(Message { holder, what });
        };
        match what {
            What::Claim(ticket, granted) => {
                let granted = self.serve_claim(state, holder, granted);
                answer(state, What::Answer(ticket, granted));
            }
            What::Renew(ticket, epoch) if accepts(state, epoch) => {
                state.store.left = TERMS.length;
                answer(state, What::Answer(ticket, Answer::Held { epoch }));
            }
            What::Renew(ticket, epoch) => {
                let since = if state.store.epoch == epoch { Answer::Expired } else { Answer::Refused };
                answer(state, What::Answer(ticket, since));
            }
            What::Release(epoch) if accepts(state, epoch) => state.store.left = 0,
            What::Release(_) => {}
            What::Answer(ticket, given) => {
                let lease = &mut state.holders[holder].lease;
                lease.answer(ticket, given, NOW);
                if let (Answer::Held { epoch }, Rule::LateClock) = (given, self.rule) {
                    *lease = late(epoch);
                }
            }
            What::Prepare(epoch) if self.way == Way::Stages => {
                state.store.stages.push(epoch);
                answer(state, What::Prepared(epoch));
            }
            What::Prepare(epoch) if state.store.target <= epoch => {
                if right {
                    state.store.target = epoch;
                }
                state.store.told = state.store.told.max(epoch);
                answer(state, What::Prepared(epoch));
            }
            What::Prepare(_) => {}
            What::Prepared(epoch) => {
                let holder = &mut state.holders[holder];
                holder.ready = holder.begun.filter(|begun| *begun == epoch).or(holder.ready);
            }
            What::Write(epoch, begun) => match self.way {
                Way::Together if !begun => {
                    if accepts(state, epoch) {
                        answer(state, What::Write(epoch, true));
                    }
                }
                // It conflicts with whoever has written the claim since.
                Way::Together if !right || state.store.epoch == epoch => self.seen(state, epoch),
                Way::Together => {}
                Way::Target if state.store.target <= epoch => {
                    state.store.target = epoch;
                    if epoch < state.store.told {
                        state.broken = Some("an older holder wrote what a newer one had read");
                    }
                }
                Way::Target => {}
                Way::Stages if !right || accepts(state, epoch) => {
                    if state.store.stages.contains(&epoch) {
                        state.store.stages.retain(|it| *it != epoch);
                        self.seen(state, epoch);
                    }
                }
                Way::Stages => {}
            },
        }
    }

    fn seen(&self, state: &mut State, epoch: u64) {
        if epoch != state.store.epoch {
            state.broken = Some("an older holder's write was seen");
        }
    }
}

/// A lease that is counted from its answer.
fn late(epoch: u64) -> Lease {
    let mut lease = Lease::new(TERMS, NOW);
    if let Some(Action::Claim(ticket)) = lease.poll(NOW) {
        lease.answer(ticket, Answer::Held { epoch }, NOW);
    }
    lease
}
