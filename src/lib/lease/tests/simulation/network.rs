//! The network between hosts and store.

use culvert_lease::Millis;

use crate::LEASE;
use crate::ask::{Ask, Reply};
use crate::fault::{Cut, Event};
use crate::world::World;

impl World {
    /// Through the network to the store.
    pub fn post(&mut self, host: usize, life: u32, id: u64, ask: Ask) {
        if self.hosts[host].cut == Some(Cut::Both) {
            return;
        }
        for delay in self.journeys() {
            self.at(self.now + delay, Event::Arrive { host, life, id, ask });
        }
    }

    pub fn reply(&mut self, host: usize, life: u32, id: u64, reply: Reply) {
        if self.hosts[host].cut.is_some() {
            return;
        }
        for delay in self.journeys() {
            self.at(self.now + delay, Event::Answer { host, life, id, reply: reply.clone() });
        }
    }

    /// How long each copy of a message is on its way: one in most cases, now and then none or two, or a slow one.
    fn journeys(&mut self) -> Vec<Millis> {
        if self.calm {
            return vec![1 + self.dice.below(20)];
        }
        let copies = match self.dice.below(40) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        (0..copies)
            .map(|_| if self.dice.once_in(30) { self.dice.below(LEASE) } else { 1 + self.dice.below(20) })
            .collect()
    }

    pub fn serve(&mut self, host: usize, life: u32, id: u64, ask: Ask) {
        if self.down {
            if self.dice.once_in(2) {
                self.reply(host, life, id, Reply::Away);
            }
            return;
        }
        let grants = self.judge.grants;
        match self.store.serve(host, id, ask, self.now, &mut self.judge) {
            Ok(reply) => self.reply(host, life, id, reply),
            Err(Some(transaction)) => {
                let most = if !self.calm && self.dice.once_in(10) { 2 * LEASE } else { 20 };
                let at = self.now + 1 + self.dice.below(most);
                self.at(at, Event::Commit { transaction, life });
            }
            Err(None) => {}
        }
        if let Ask::Claim(claim, _) = ask
            && self.judge.grants > grants
            && self.honest
        {
            self.judge_grant(claim);
        }
    }
}
