//! What happens, and the plan of everything bad.

use culvert_lease::Millis;

use crate::ask::{Ask, Reply};
use crate::store::Transaction;
use crate::world::World;
use crate::{LEASE, TROUBLE};

/// What happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A process looks at its clock.
    Wake(usize),
    /// What a process decided on leaves it.
    Send {
        host: usize,
        life: u32,
        id: u64,
        ask: Ask,
    },
    /// A request reaches the store.
    Arrive {
        host: usize,
        life: u32,
        id: u64,
        ask: Ask,
    },
    /// A transaction comes to its end.
    Commit {
        transaction: Transaction,
        life: u32,
    },
    /// An answer reaches its host.
    Answer {
        host: usize,
        life: u32,
        id: u64,
        reply: Reply,
    },
    /// A process is killed, and started again later.
    Kill(usize),
    Start(usize),
    /// A process is stopped for so long, as by a signal.
    Freeze(usize, Millis),
    /// Nothing comes through between a host and the store; or its requests do, but no answer.
    Cut(usize, Cut),
    Mend(usize),
    /// The store's primary ends; another begins, with a clock that is so much different.
    Down,
    Up(i64),
    /// The store's clock is stepped.
    Step(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Both,
    Answers,
}

impl World {
    /// Everything bad that will happen, and its end.
    pub fn plan(&mut self) {
        let count = 4 + self.dice.below(4 * self.hosts.len() as u64);
        for _ in 0..count {
            let (at, last) = (self.dice.below(TROUBLE - 1_000), self.dice.below(3 * LEASE));
            let end = (at + last).min(TROUBLE - 1);
            let host = self.dice.below(self.hosts.len() as u64) as usize;
            match self.dice.below(8) {
                0 | 1 => {
                    self.at(at, Event::Kill(host));
                    self.at(end, Event::Start(host));
                }
                2 | 3 => self.at(at, Event::Freeze(host, end - at)),
                4 | 5 => {
                    let cut = if self.dice.once_in(3) { Cut::Answers } else { Cut::Both };
                    self.at(at, Event::Cut(host, cut));
                    self.at(end, Event::Mend(host));
                }
                6 => {
                    let step = self.step();
                    self.at(at, Event::Down);
                    self.at(end, Event::Up(step));
                }
                _ => {
                    let step = self.step();
                    self.at(at, Event::Step(step));
                }
            }
        }
    }

    fn step(&mut self) -> i64 {
        if self.honest { 0 } else { self.dice.below(4 * LEASE) as i64 - 2 * LEASE as i64 }
    }
}
