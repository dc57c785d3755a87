//! The world: hosts, the network, the store, and what happens to them, in the order of one true clock that nobody sees.

use std::collections::BTreeMap;

use culvert_lease::Millis;

use crate::ask::{Ask, Reply};
use crate::dice::Dice;
use crate::fault::Event;
use crate::host::Host;
use crate::judge::Judge;
use crate::process::Process;
use crate::rule::Rule;
use crate::store::Store;
use crate::{CALM, LEASE, SILENCE, TROUBLE};

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was wrong, if anything.
    pub verdict: Option<String>,
    pub events: u64,
    pub grants: u64,
    pub lapses: u64,
    pub published: u64,
    pub fenced: BTreeMap<&'static str, u64>,
}

pub struct World {
    pub now: Millis,
    pub dice: Dice,
    pub rule: Rule,
    /// Whether all clocks are right.
    pub honest: bool,
    pub claims: usize,
    pub hosts: Vec<Host>,
    pub store: Store,
    pub down: bool,
    pub judge: Judge,
    events: BTreeMap<(Millis, u64), Event>,
    numbers: u64,
    ids: u64,
    /// Whether faults still happen.
    pub calm: bool,
    trace: bool,
}

impl World {
    pub fn new(seed: u64, rule: Rule, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let honest = dice.once_in(2);
        let claims = 1 + dice.below(3) as usize;
        let count = 2 + if dice.once_in(4) { dice.below(19) } else { dice.below(4) };
        let mut hosts = Vec::new();
        for _ in 0..count {
            let speed = if honest { 1_000_000 } else { 980_000 + dice.below(40_001) };
            let beginning = dice.below(1 << 40);
            hosts.push(Host {
                life: 0,
                process: None,
                beginning,
                speed,
                frozen: 0,
                cut: None,
                wake: Millis::MAX,
                dark: None,
                dawn: None,
            });
        }
        let mut world = Self {
            now: 0,
            dice,
            rule,
            honest,
            claims,
            hosts,
            store: Store::new(rule, claims),
            down: false,
            judge: Judge::new(claims),
            events: BTreeMap::new(),
            numbers: 0,
            ids: 0,
            calm: false,
            trace,
        };
        world.store.skew = 1_000_000_000;
        for host in 0..world.hosts.len() {
            let at = world.dice.below(3_000);
            world.at(at, Event::Start(host));
        }
        world.plan();
        world
    }

    /// This will happen then.
    pub fn at(&mut self, time: Millis, event: Event) {
        self.numbers += 1;
        self.events.insert((time, self.numbers), event);
    }

    /// Runs to the end, or until something is wrong.
    pub fn run(mut self) -> Outcome {
        let mut events = 0;
        self.until(TROUBLE, &mut events);
        // The faults have ended, and what is under way comes to its end.
        self.calm = true;
        self.hosts.iter_mut().filter_map(|host| host.process.as_mut()).for_each(|process| process.keeps = true);
        let left = (0..self.claims).map(|claim| self.store.seen(claim, self.now).left).max().unwrap_or(0);
        let settled = TROUBLE + left.max(LEASE) + CALM;
        self.until(settled, &mut events);
        let published = self.judge.published;
        let holders: Vec<u64> = (0..self.claims).map(|claim| self.holder(claim)).collect();
        self.until(settled + CALM, &mut events);
        for (claim, epoch) in holders.into_iter().enumerate() {
            if self.holder(claim) != epoch {
                self.judge.broke(format!("claim {claim}: it changed its holder although all is calm"));
            }
        }
        if self.judge.published < published + self.claims as u64 {
            self.judge.broke("the holders do not get on with their work although all is calm".into());
        }
        if self.store.litter() > 100 * self.claims {
            self.judge.broke("stages that nobody published are not removed".into());
        }
        Outcome {
            verdict: self.judge.verdict().map(String::from),
            events,
            grants: self.judge.grants,
            lapses: self.hosts.iter().filter_map(|host| Some(host.process.as_ref()?.lapses)).sum(),
            published: self.judge.published,
            fenced: std::mem::take(&mut self.judge.fenced),
        }
    }

    /// The epoch under which somebody holds the claim, and believes so.
    fn holder(&mut self, claim: usize) -> u64 {
        let (seen, now) = (self.store.seen(claim, self.now), self.now);
        let holder = seen.host.map(|host| &self.hosts[host]);
        let believes = holder.and_then(|host| host.process.as_ref()?.believes(claim, host.local(now)));
        if seen.left == 0 || believes != Some(seen.key.epoch) {
            self.judge.broke(format!("claim {claim}: nobody holds it although all has been calm for long enough"));
        }
        seen.key.epoch
    }

    fn until(&mut self, end: Millis, events: &mut u64) {
        while self.judge.verdict().is_none()
            && let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 < end)
        {
            self.now = entry.key().0;
            let event = entry.remove();
            *events += 1;
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        if let Event::Wake(host) | Event::Send { host, .. } | Event::Answer { host, .. } = event
            && self.hosts[host].frozen > self.now
        {
            // Happens when it goes on, in any order.
            let at = self.hosts[host].frozen + self.dice.below(3);
            if matches!(event, Event::Wake(_)) {
                self.hosts[host].wake = at;
            }
            return self.at(at, event);
        }
        if self.trace && !matches!(event, Event::Wake(_)) {
            eprintln!("{:>7} {event:?}", self.now);
        }
        match event {
            Event::Wake(host) if self.hosts[host].wake == self.now => self.turn(host),
            Event::Wake(_) => {}
            Event::Send { host, life, id, ask } => {
                if self.hosts[host].life == life {
                    self.post(host, life, id, ask);
                }
            }
            Event::Arrive { host, life, id, ask } => self.serve(host, life, id, ask),
            Event::Commit { transaction, life } => {
                if self.store.is_under_way(&transaction) {
                    let reply = self.store.commit(&transaction, self.now, &mut self.judge);
                    self.reply(transaction.host, life, transaction.id, reply);
                }
            }
            Event::Answer { host, life, id, reply } => self.answer(host, life, id, &reply),
            Event::Kill(host) => {
                self.hosts[host].process = None;
                self.hosts[host].life += 1;
            }
            Event::Start(host) => {
                let now = self.hosts[host].local(self.now);
                if self.hosts[host].process.is_none() {
                    self.hosts[host].process = Some(Process::new(host, self.rule, self.claims, now));
                    self.turn(host);
                }
            }
            Event::Freeze(host, time) => self.hosts[host].frozen = self.now + time,
            Event::Cut(host, cut) => self.hosts[host].cut = Some(cut),
            Event::Mend(host) => self.hosts[host].cut = None,
            Event::Down => self.down = true,
            Event::Up(step) => {
                self.down = false;
                self.store.restart();
                self.store.skew += step;
            }
            Event::Step(step) => self.store.skew += step,
        }
        self.watch();
    }

    /// Who is out of contact.
    fn watch(&mut self) {
        for host in &mut self.hosts {
            match (self.down || host.cut.is_some(), host.dark) {
                (true, None) => host.dark = Some(self.now),
                (false, Some(since)) => {
                    host.dark = None;
                    if host.local(self.now) - host.local(since) > SILENCE {
                        host.dawn = Some(self.now);
                    }
                }
                _ => {}
            }
        }
    }

    /// A process does what is due.
    fn turn(&mut self, host: usize) {
        let local = self.hosts[host].local(self.now);
        let Some(process) = &mut self.hosts[host].process else { return };
        let asks = process.turn(local, &mut self.dice, &mut self.ids);
        self.decided(host, asks);
    }

    fn answer(&mut self, host: usize, life: u32, id: u64, reply: &Reply) {
        let local = self.hosts[host].local(self.now);
        if self.hosts[host].life != life {
            return;
        }
        let Some(process) = &mut self.hosts[host].process else { return };
        let asks = process.answer(id, reply, local, &mut self.dice, &mut self.ids);
        self.decided(host, asks);
        self.turn(host);
    }

    /// What was decided leaves a moment later; now and then the process is stopped in between.
    fn decided(&mut self, host: usize, asks: Vec<(u64, Ask)>) {
        self.judge_decisions(host, &asks);
        let life = self.hosts[host].life;
        for (id, ask) in asks {
            self.at(self.now + 1, Event::Send { host, life, id, ask });
            if !self.calm && self.dice.once_in(50) {
                self.hosts[host].frozen = (self.now + self.dice.below(3 * LEASE)).min(TROUBLE);
            }
        }
        let Some(process) = &self.hosts[host].process else { return };
        let wake = self.hosts[host].instant(process.wake()).max(self.now + 1);
        if wake != self.hosts[host].wake {
            self.hosts[host].wake = wake;
            self.at(wake, Event::Wake(host));
        }
    }
}
