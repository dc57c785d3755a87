//! What the hosts believe and decide, held against what is true.

use culvert_lease::Last;

use crate::LEASE;
use crate::ask::Ask;
use crate::host::Host;
use crate::world::World;

impl World {
    /// Nobody takes another's claim too soon; and with right clocks, who writes holds what it writes under.
    pub fn judge_decisions(&mut self, host: usize, asks: &[(u64, Ask)]) {
        let Host { process: Some(process), dawn, dark, .. } = &mut self.hosts[host] else { return };
        let (taking, dawn, dark) = (std::mem::take(&mut process.taking), *dawn, *dark);
        for taking in taking {
            let seen = self.store.seen(taking.claim, self.now);
            let another = taking.last.map_or(seen.host != Some(host) && !seen.released, |last| last == Last::Another);
            let host = &self.hosts[host];
            let early = dawn.is_some_and(|dawn| host.local(self.now) - host.local(dawn) < LEASE);
            if another && early && dark.is_none() {
                let epoch = seen.key.epoch;
                self.judge.broke(format!("claim {}: {epoch} is taken too soon after an outage", taking.claim));
            }
        }
        for (_, ask) in asks {
            if let Ask::Work(work) = ask
                && self.honest
                && !self.store.accepts(work.claim, host, work.key, self.now)
            {
                self.judge.broke(format!(
                    "claim {}: who writes under {} does not hold it, and no clock is wrong",
                    work.claim, work.key.epoch
                ));
            }
        }
    }

    /// With right clocks, nobody believes to hold what another is granted.
    pub fn judge_grant(&mut self, claim: usize) {
        let now = self.now;
        let believes = |host: &Host| host.process.as_ref().and_then(|process| process.believes(claim, host.local(now)));
        if let Some(epoch) = self.hosts.iter().find_map(believes) {
            let seen = self.store.seen(claim, now);
            self.judge.broke(format!(
                "claim {claim}: {} is granted while somebody believes to hold it under {epoch}, and no clock is wrong",
                seen.key.epoch
            ));
        }
    }
}
