//! From bytes to events: lines, and blocks of them.

use super::Environment;
use super::event::{Event, Notice, Row, State};
use super::lines::{Line, Lines};

/// The most entries of an environment.
pub const ENTRIES: usize = 256;

/// The parser's place in the stream.
#[derive(Debug, Default)]
pub struct Parser {
    lines: Lines,
    /// The notice whose environment is being read.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    notice: Notice,
    client: u64,
    key: u64,
    environment: Environment,
    damaged: bool,
}

impl Open {
    fn close(self) -> Event {
        let Self { notice, client, key, environment, damaged } = self;
        Event::Client { notice, client, key, environment, damaged }
    }
}

impl Parser {
    /// The events that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for line in self.lines.push(bytes) {
            self.line(&line, &mut events);
        }
        events
    }

    /// Whether everything that was pushed has become an event.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.open.is_none() && !self.lines.inside()
    }

    fn line(&mut self, line: &Line, events: &mut Vec<Event>) {
        let Some(rest) = line.text.strip_prefix('>') else {
            events.push(answer(&line.text));
            return;
        };
        let (kind, rest) = rest.split_once(':').unwrap_or((rest, ""));
        if kind == "CLIENT" {
            self.client(rest, line.cut, events);
            return;
        }
        events.push(match kind {
            "INFO" => Event::Info,
            "HOLD" => Event::Hold,
            "FATAL" => Event::Fatal(rest.to_owned()),
            "STATE" => state(rest, false).unwrap_or(Event::Other),
            _ => Event::Other,
        });
    }

    fn client(&mut self, rest: &str, cut: bool, events: &mut Vec<Event>) {
        let (word, rest) = rest.split_once(',').unwrap_or((rest, ""));
        if word == "ENV" {
            self.entry(rest, cut, events);
            return;
        }
        // A block that another interrupts lost its end: whoever it was about is not let in on the strength of it.
        if let Some(mut lost) = self.open.take() {
            lost.damaged = true;
            events.push(lost.close());
        }
        let mut fields = rest.split(',');
        let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok());
        let notice = match word {
            "CONNECT" => Notice::Connect,
            "REAUTH" => Notice::Reauth,
            "ESTABLISHED" => Notice::Established,
            "DISCONNECT" => Notice::Disconnect,
            "CR_RESPONSE" => Notice::Response,
            "ADDRESS" => {
                let client = number();
                let address = fields.next().and_then(|field| field.parse().ok());
                events.push(match (client, address) {
                    (Some(client), Some(address)) => Event::Address { client, address },
                    _ => Event::Other,
                });
                return;
            }
            _ => return events.push(Event::Other),
        };
        let key = matches!(notice, Notice::Connect | Notice::Reauth | Notice::Response);
        let (Some(client), Some(key)) = (number(), if key { number() } else { Some(0) }) else {
            return events.push(Event::Other);
        };
        self.open = Some(Open { notice, client, key, environment: Environment::default(), damaged: cut });
    }

    fn entry(&mut self, entry: &str, cut: bool, events: &mut Vec<Event>) {
        // The rest of a block whose beginning somebody else read.
        let Some(open) = &mut self.open else { return };
        if entry == "END" {
            events.extend(self.open.take().map(Open::close));
            return;
        }
        match entry.split_once('=') {
            Some(_) if cut || open.environment.len() == ENTRIES => open.damaged = true,
            Some((name, value)) => open.environment.insert(name, value),
            None => open.damaged |= cut,
        }
    }
}

/// A line that is no notice: of an answer.
fn answer(text: &str) -> Event {
    if let Some(rest) = text.strip_prefix("SUCCESS:") {
        Event::Success(rest.trim().to_owned())
    } else if let Some(rest) = text.strip_prefix("ERROR:") {
        Event::Error(rest.trim().to_owned())
    } else if text == "END" {
        Event::End
    } else if let Some(rest) = text.strip_prefix("CLIENT_LIST\t") {
        row(rest).map_or(Event::Other, Event::Row)
    } else {
        state(text, true).unwrap_or(Event::Other)
    }
}

/// `time,STATE,...`
fn state(text: &str, answer: bool) -> Option<Event> {
    let (time, rest) = text.split_once(',')?;
    time.parse::<u64>().ok()?;
    let word = rest.split(',').next()?;
    Some(Event::State { state: State::from_word(word), answer })
}

/// The columns of `status 3`: common name, real address, virtual address, virtual IPv6 address, bytes received, bytes
/// sent, since (text), since (number), user name, client number, peer number, cipher.
fn row(text: &str) -> Option<Row> {
    let columns: Vec<&str> = text.split('\t').collect();
    let client = columns.get(9)?.parse().ok()?;
    Some(Row {
        client,
        common_name: (*columns.first()?).to_owned(),
        real_address: without_protocol(columns.get(1)?).to_owned(),
        address: columns.get(2)?.parse().ok(),
        since: columns.get(7)?.parse().ok()?,
    })
}

/// Some releases put the protocol in front: `udp4:192.0.2.1:40000`.
fn without_protocol(address: &str) -> &str {
    match address.split_once(':') {
        Some((protocol, rest)) if protocol.starts_with("udp") || protocol.starts_with("tcp") => rest,
        _ => address,
    }
}

#[cfg(test)]
mod tests;
