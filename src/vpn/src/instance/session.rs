//! One management connection: events in, commands out. Pure: what OpenVPN said, what was decided and what time it is
//! come in by calls; what is to be written or asked comes out of [`Session::acts`].

mod adopt;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use culvert_model::Id;

use super::client::{Client, Stage};
use crate::authority::{Denial, Question, Verdict};
use crate::management::{Command, Environment, Event, Label, Notice, Parser, Row, State};

/// How long after one list of the clients the next one is asked for, in milliseconds.
const SURVEY: u64 = 60_000;

/// How long the list may take to come before it is asked for again, in milliseconds.
const RETRY: u64 = 1_000;

/// What the session wants done.
#[derive(Debug)]
pub enum Act {
    /// Write this block at once.
    Write(Vec<u8>),
    /// Decide about a client, and tell [`Session::answer`].
    Ask(Box<Question>),
    /// Look up who these clients are, and tell [`Session::adopt`].
    Survey(Vec<Row>),
    /// A client came or went.
    Changed,
    /// This client's tunnel works now.
    Joined(u64),
    /// This client is gone, or must be cut off.
    Left(Client),
}

/// How far the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// OpenVPN has not greeted us: somebody else may be attached.
    Greeting,
    /// Answers may be to commands of another controller.
    Marking,
    /// OpenVPN starts.
    Starting,
    /// It is not known yet who is connected.
    Surveying,
    /// Everything is known.
    Serving,
}

/// The state of one management connection.
#[derive(Debug)]
pub struct Session {
    parser: Parser,
    phase: Phase,
    mark: u32,
    answers: VecDeque<Label>,
    rows: Vec<Row>,
    /// What came behind a list waits until it is known who the listed clients are.
    behind: Option<VecDeque<Event>>,
    clients: BTreeMap<u64, Client>,
    /// Clients that are being asked again, and the number of the key for which.
    renewals: BTreeMap<u64, u64>,
    /// The last answer before ours was a success: it may have ended a half-written command.
    completed: bool,
    now: u64,
    due: u64,
    acts: Vec<Act>,
}

impl Session {
    /// A session on a connection that is new, or was kept by somebody while this process was away. `mark` is a number
    /// that no session before it had.
    #[must_use]
    pub fn new(kept: bool, mark: u32, now: u64) -> Self {
        let mut session = Self {
            parser: Parser::default(),
            phase: Phase::Greeting,
            mark,
            answers: VecDeque::new(),
            rows: Vec::new(),
            behind: None,
            clients: BTreeMap::new(),
            renewals: BTreeMap::new(),
            completed: false,
            now,
            due: now + SURVEY,
            acts: Vec::new(),
        };
        if kept {
            session.begin();
        }
        session
    }

    /// What is to be done, in order.
    pub fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Whether OpenVPN talks to us.
    #[must_use]
    pub fn greeted(&self) -> bool {
        self.phase != Phase::Greeting
    }

    /// Whether OpenVPN serves and all its clients are known.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// Whether nothing is under way: no half-read notice, no open decision.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.parser.idle()
            && self.renewals.is_empty()
            && !self.clients.values().any(|client| client.stage == Stage::Asking)
    }

    /// The clients that are let in.
    pub fn connected(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().filter(|client| client.stage == Stage::Connected)
    }

    /// One client.
    #[must_use]
    pub fn client(&self, number: u64) -> Option<&Client> {
        self.clients.get(&number)
    }

    /// Takes in what OpenVPN wrote.
    pub fn receive(&mut self, bytes: &[u8], now: u64) {
        self.now = now;
        for event in self.parser.push(bytes) {
            match &mut self.behind {
                Some(behind) => behind.push_back(event),
                None => self.event(event),
            }
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: u64) {
        self.now = now;
        for number in self
            .clients
            .values()
            .filter(|client| client.stage == Stage::Condemned)
            .map(|client| client.number)
            .collect::<Vec<_>>()
        {
            self.send(&Command::Kill { client: number, halt: true });
        }
        let surveying = matches!(self.phase, Phase::Surveying | Phase::Serving);
        if surveying && now >= self.due && !self.answers.contains(&Label::Status) {
            self.survey();
        }
    }

    /// Takes in a decision.
    pub fn answer(&mut self, number: u64, key: u64, verdict: Verdict) {
        if self.renewals.get(&number) == Some(&key) {
            self.renewals.remove(&number);
            self.renewed(number, key, verdict);
            return;
        }
        let Some(client) =
            self.clients.get_mut(&number).filter(|client| client.stage == Stage::Asking && client.key == key)
        else {
            // It is gone: whatever was prepared for it is undone.
            if !self.clients.contains_key(&number) {
                self.acts.push(Act::Left(Client::gone(number)));
            }
            return;
        };
        match verdict {
            Verdict::Allowed { user, organization, address: Some(address), options, proof } => {
                client.admit(user, organization, address, proof);
                self.send(&Command::Allow { client: number, key, options });
            }
            Verdict::Denied(denial) => self.deny(number, key, denial),
            Verdict::Allowed { .. } | Verdict::Later => self.turn_away(number),
        }
    }

    /// Looks at every client again, by its user and the serial number of its certificate: whoever may not be connected
    /// any more is cut off.
    pub fn recheck(
        &mut self,
        mut verdict: impl FnMut(Id, Option<&str>) -> Result<(), Denial>,
    ) -> Vec<(Client, Denial)> {
        let mut cut = Vec::new();
        for client in self.clients.values_mut().filter(|client| client.admitted()) {
            if let Some(Err(denial)) = client.user.map(|user| verdict(user, client.serial.as_deref())) {
                client.stage = Stage::Condemned;
                cut.push((client.clone(), denial));
            }
        }
        for (client, _) in &cut {
            self.send(&Command::Kill { client: client.number, halt: true });
            self.renewals.remove(&client.number);
            self.acts.push(Act::Left(client.clone()));
        }
        if !cut.is_empty() {
            self.acts.push(Act::Changed);
        }
        cut
    }

    /// Whether the certificate of a client is not known: a controller before us let it in.
    #[must_use]
    pub fn forgetful(&self) -> bool {
        self.clients.values().any(|client| client.admitted() && client.serial.is_none())
    }

    /// Takes in the serial number of a client's certificate, if it is that user.
    pub fn recall(&mut self, number: u64, user: Id, serial: String) {
        if let Some(client) = self.clients.get_mut(&number).filter(|client| client.user == Some(user)) {
            client.serial.get_or_insert(serial);
        }
    }

    fn begin(&mut self) {
        self.phase = Phase::Marking;
        self.write(&Command::Finish);
        self.write(&Command::Mark(self.mark));
        // From the mark's first answer on, answers are ours; the first one itself is looked for.
        self.answers.extend(&Command::Mark(self.mark).answers()[1..]);
        self.send(&Command::Release);
        self.send(&Command::Watch);
    }

    fn write(&mut self, command: &Command) {
        self.acts.push(Act::Write(command.bytes()));
    }

    fn send(&mut self, command: &Command) {
        self.write(command);
        self.answers.extend(command.answers());
    }

    fn survey(&mut self) {
        self.due = self.now + if self.phase == Phase::Surveying { RETRY } else { SURVEY };
        self.rows.clear();
        self.send(&Command::Status);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Info if self.phase == Phase::Greeting => self.begin(),
            Event::Client { notice, client, key, environment, damaged } => {
                self.notice(notice, client, key, environment, damaged);
            }
            Event::Address { client, address } => self.addressed(client, address),
            Event::State { state, answer } if self.phase != Phase::Marking || !answer => self.state(state, answer),
            Event::Success(text) if self.phase == Phase::Marking => self.marking(Some(&text)),
            Event::Error(_) if self.phase == Phase::Marking => self.marking(None),
            Event::Success(_) | Event::Error(_) => drop(self.answers.pop_front()),
            Event::Row(row) if self.answers.front() == Some(&Label::Status) => self.rows.push(row),
            Event::End if self.phase != Phase::Marking => self.ended(),
            _ => {}
        }
    }

    /// Looks for the answer that is to our own mark.
    fn marking(&mut self, success: Option<&str>) {
        if success == Some(format!("env_filter_level={}", self.mark).as_str()) {
            self.phase = Phase::Starting;
        } else {
            self.completed = success.is_some();
        }
    }

    fn state(&mut self, state: State, answer: bool) {
        if answer && self.answers.front() != Some(&Label::State) {
            return;
        }
        if state == State::Connected && matches!(self.phase, Phase::Starting) {
            self.phase = Phase::Surveying;
            self.survey();
        }
    }

    fn ended(&mut self) {
        match self.answers.pop_front() {
            Some(Label::Status) => {
                let rows = std::mem::take(&mut self.rows);
                self.due = self.now + SURVEY;
                self.behind = Some(VecDeque::new());
                self.acts.push(Act::Survey(rows));
            }
            Some(Label::State) | None => {}
            // Not the end of a list: put it back.
            Some(Label::Plain) => self.answers.push_front(Label::Plain),
        }
    }

    fn notice(&mut self, notice: Notice, number: u64, key: u64, environment: Environment, damaged: bool) {
        match notice {
            Notice::Connect => {
                self.clients.insert(number, Client::asking(number, key, &environment));
                self.ask(number, key, false, environment, damaged);
            }
            Notice::Reauth => {
                if self.clients.get(&number).is_some_and(|client| client.stage == Stage::Condemned) {
                    return;
                }
                self.renewals.insert(number, key);
                self.ask(number, key, true, environment, damaged);
            }
            Notice::Established => match self.clients.get_mut(&number) {
                Some(client) if client.stage == Stage::Admitted => {
                    client.stage = Stage::Connected;
                    self.acts.push(Act::Joined(number));
                    self.acts.push(Act::Changed);
                }
                Some(_) => {}
                // A controller before us let it in: who it is, the list tells.
                None => self.due = self.now,
            },
            Notice::Disconnect => self.remove(number),
            Notice::Response => {}
        }
    }

    fn ask(&mut self, client: u64, key: u64, renewal: bool, environment: Environment, damaged: bool) {
        let proof = self.clients.get(&client).and_then(|client| client.proof.clone());
        self.acts.push(Act::Ask(Box::new(Question { client, key, renewal, environment, damaged, proof })));
    }

    /// OpenVPN must have given a client the address that we told it to.
    fn addressed(&mut self, number: u64, address: Ipv4Addr) {
        let wrong =
            self.clients.get(&number).is_some_and(|client| client.admitted() && client.address != Some(address));
        if wrong {
            self.send(&Command::Kill { client: number, halt: false });
        }
    }

    fn remove(&mut self, number: u64) {
        self.renewals.remove(&number);
        if let Some(client) = self.clients.remove(&number) {
            self.acts.push(Act::Left(client));
            self.acts.push(Act::Changed);
        }
    }

    fn deny(&mut self, client: u64, key: u64, denial: Denial) {
        self.send(&Command::Deny { client, key, reason: denial.text() });
        self.remove(client);
    }

    /// It is to come again by itself.
    fn turn_away(&mut self, client: u64) {
        self.send(&Command::Kill { client, halt: false });
        self.remove(client);
    }

    fn renewed(&mut self, number: u64, key: u64, verdict: Verdict) {
        let same = |user: Id| self.clients.get(&number).is_none_or(|client| client.user == Some(user));
        match verdict {
            Verdict::Allowed { user, proof, .. } if same(user) => {
                self.send(&Command::Renew { client: number, key });
                if let Some(client) = self.clients.get_mut(&number) {
                    client.key = key;
                    client.proof = proof.or_else(|| client.proof.take());
                }
            }
            Verdict::Denied(denial) => {
                self.send(&Command::Deny { client: number, key, reason: denial.text() });
                // It hears why; its old key would carry traffic for a while, so the rule goes now and the rest follows.
                let client = self.clients.entry(number).or_insert_with(|| Client::gone(number));
                client.stage = Stage::Condemned;
                self.acts.push(Act::Left(client.clone()));
                self.acts.push(Act::Changed);
            }
            Verdict::Allowed { .. } | Verdict::Later => self.turn_away(number),
        }
    }
}

#[cfg(test)]
mod tests;
