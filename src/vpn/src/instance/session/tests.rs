use super::super::client::Found;
use super::*;
use crate::sample;

const MARK: u32 = 1_111_222_333;

/// A session and what it wrote, asked and was told.
struct Table {
    session: Session,
    written: String,
    asked: Vec<Question>,
    surveyed: Vec<Row>,
    left: Vec<u64>,
    joined: Vec<u64>,
    now: u64,
}

impl Table {
    fn new(kept: bool) -> Self {
        let session = Session::new(kept, MARK, 0);
        let mut table = Self {
            session,
            written: String::new(),
            asked: Vec::new(),
            surveyed: Vec::new(),
            left: Vec::new(),
            joined: Vec::new(),
            now: 0,
        };
        table.act();
        table
    }

    /// A session that serves, without clients.
    fn serving() -> Self {
        let mut table = Self::new(false);
        table.hear(">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\n");
        table.settle(">STATE:1,CONNECTED,SUCCESS,10.201.0.1,,,,\n");
        table.hear("TITLE\tx\nEND\n");
        table.adopt(Vec::new());
        table.written.clear();
        table
    }

    /// Answers what a session sends at its beginning.
    fn settle(&mut self, then: &str) {
        self.hear("ERROR: unknown command, enter 'help' for more options\n");
        self.hear(&format!("SUCCESS: env_filter_level={MARK}\nSUCCESS: env_filter_level=0\n"));
        self.hear("SUCCESS: hold flag set to OFF\nSUCCESS: hold release succeeded\n");
        self.hear("SUCCESS: real-time state notification set to ON\n1,CONNECTING,,,,,,\nEND\n");
        self.hear(then);
    }

    fn hear(&mut self, text: &str) {
        self.session.receive(text.as_bytes(), self.now);
        self.act();
    }

    fn act(&mut self) {
        for act in self.session.acts() {
            match act {
                Act::Write(bytes) => self.written += &String::from_utf8(bytes).expect("text"),
                Act::Ask(question) => self.asked.push(*question),
                Act::Survey(rows) => self.surveyed = rows,
                Act::Left(client) => self.left.push(client.number),
                Act::Joined(client) => self.joined.push(client),
                Act::Changed => {}
            }
        }
    }

    fn adopt(&mut self, found: Vec<Found>) {
        self.session.adopt(found, 30, 1_000);
        self.act();
    }

    fn answer(&mut self, client: u64, key: u64, verdict: Verdict) {
        self.session.answer(client, key, verdict);
        self.act();
    }

    fn tick(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        self.session.tick(self.now);
        self.act();
    }

    fn wrote(&mut self, text: &str) -> bool {
        let found = self.written.contains(text);
        self.written.clear();
        found
    }
}

fn allowed(address: Option<&str>) -> Verdict {
    Verdict::Allowed {
        user: sample::id(1),
        organization: sample::id(100),
        address: address.map(|text| text.parse().expect("an address")),
        options: vec!["ifconfig-push 10.201.0.2 255.255.255.0".into()],
        proof: None,
    }
}

fn notice(word: &str) -> String {
    format!(">CLIENT:{word}\n>CLIENT:ENV,untrusted_ip=192.0.2.9\n>CLIENT:ENV,untrusted_port=5\n>CLIENT:ENV,END\n")
}

fn row(client: u64, address: Option<&str>, name: &str, since: i64) -> Row {
    let address = address.map(|text| text.parse().expect("an address"));
    Row { client, common_name: name.into(), real_address: "192.0.2.9:5".into(), address, since }
}

fn ours(row: Row) -> Found {
    Found { row, who: Ok((sample::id(1), sample::id(100))) }
}

/// A session with one connected client, number 7.
fn connected() -> Table {
    let mut table = Table::serving();
    table.hear(&notice("CONNECT,7,1"));
    table.answer(7, 1, allowed(Some("10.201.0.2")));
    table.hear("SUCCESS: client-auth command succeeded\n>CLIENT:ADDRESS,7,10.201.0.2,1\n");
    table.hear(&notice("ESTABLISHED,7"));
    table.written.clear();
    table
}

#[test]
fn a_client_comes_and_goes() {
    let mut table = Table::serving();
    table.hear(&notice("CONNECT,7,1"));
    assert_eq!((table.asked[0].client, table.asked[0].key, table.asked[0].renewal), (7, 1, false));
    table.answer(7, 1, allowed(Some("10.201.0.2")));
    assert!(table.wrote("client-auth 7 1\nifconfig-push 10.201.0.2 255.255.255.0\nEND\n"));
    assert_eq!(table.session.connected().count(), 0);
    table.hear(&notice("ESTABLISHED,7"));
    assert_eq!(table.joined, [7]);
    let client = table.session.connected().next().expect("a client");
    assert_eq!(client.real_address, "192.0.2.9:5");
    table.hear(&notice("REAUTH,7,3"));
    assert!(table.asked[1].renewal);
    table.answer(7, 3, allowed(None));
    assert!(table.wrote("client-auth-nt 7 3\n"));
    table.hear(&notice("DISCONNECT,7"));
    assert_eq!(table.left, [7]);
    assert!(table.session.idle());
}

#[test]
fn a_refused_client_hears_why() {
    let mut table = Table::serving();
    table.hear(&notice("CONNECT,7,1"));
    table.answer(7, 1, Verdict::Denied(Denial::Disabled));
    assert!(table.wrote("client-deny 7 1 \"Your user is disabled"));
    table.hear(&notice("CONNECT,8,1"));
    table.answer(8, 1, Verdict::Later);
    assert!(table.wrote("client-kill 8\n"));
    assert_eq!(table.left, [7, 8]);
}

#[test]
fn an_answer_for_a_client_that_is_gone_is_undone() {
    let mut table = Table::serving();
    table.hear(&notice("CONNECT,7,1"));
    table.hear(&notice("DISCONNECT,7"));
    table.left.clear();
    table.answer(7, 1, allowed(Some("10.201.0.2")));
    assert!(!table.written.contains("client-auth"));
    assert_eq!(table.left, [7]);
}

#[test]
fn whoever_may_not_stay_is_cut_off_at_once_and_until_gone() {
    let mut table = connected();
    assert!(table.session.recheck(|_, _| Ok(())).is_empty());
    assert_eq!(table.session.recheck(|_, _| Err(Denial::Disabled)).len(), 1);
    table.act();
    assert!(table.wrote("client-kill 7 HALT\n"));
    assert_eq!((table.left.as_slice(), table.session.connected().count()), (&[7][..], 0));
    table.tick(1_000);
    assert!(table.wrote("client-kill 7 HALT\n"));
    table.hear(&notice("DISCONNECT,7"));
    table.tick(1_000);
    assert!(!table.wrote("client-kill"));
}

#[test]
fn a_renewal_that_is_refused_ends_the_client() {
    let mut table = connected();
    table.hear(&notice("REAUTH,7,3"));
    table.answer(7, 3, Verdict::Denied(Denial::PinWrong));
    assert!(table.wrote("client-deny 7 3 \"The PIN is wrong\" \"The PIN is wrong\"\n"));
    assert_eq!(table.left, [7]);
    table.tick(1_000);
    assert!(table.wrote("client-kill 7 HALT\n"));
}

#[test]
fn another_user_under_the_same_number_is_turned_away() {
    let mut table = connected();
    table.hear(&notice("REAUTH,7,3"));
    let other = Verdict::Allowed {
        user: sample::id(2),
        organization: sample::id(100),
        address: None,
        options: Vec::new(),
        proof: None,
    };
    table.answer(7, 3, other);
    assert!(table.wrote("client-kill 7\n"));
}

#[test]
fn a_wrong_address_is_noticed() {
    let mut table = Table::serving();
    table.hear(&notice("CONNECT,7,1"));
    table.answer(7, 1, allowed(Some("10.201.0.2")));
    table.written.clear();
    table.hear(">CLIENT:ADDRESS,7,10.201.0.99,1\n");
    assert!(table.wrote("client-kill 7\n"));
}

#[test]
fn a_kept_connection_is_taken_over() {
    let mut table = Table::new(true);
    assert!(table.written.starts_with("\nEND\nenv-filter"));
    // The end of a notice, answers to another controller's commands, and a client that came meanwhile.
    table.hear("7\n>CLIENT:ENV,END\nSUCCESS: client-auth command succeeded\nEND\n");
    table.hear(&notice("CONNECT,9,1"));
    table.settle("");
    table.hear(">STATE:1,CONNECTED,SUCCESS,10.201.0.1,,,,\n");
    table.answer(9, 1, allowed(Some("10.201.0.9")));
    table.written.clear();
    let name = sample::id(1).to_string();
    let line = |row: &Row| {
        let address = row.address.map(|address| address.to_string()).unwrap_or_default();
        format!(
            "CLIENT_LIST\t{}\t{}\t{address}\t\t1\t1\tx\t{}\tUNDEF\t{}\t0\tx\n",
            row.common_name, row.real_address, row.since, row.client
        )
    };
    let rows = [
        row(3, Some("10.201.0.3"), &name, 900),
        row(4, None, &name, 990),
        row(5, Some("10.201.0.5"), "stranger", 900),
        row(6, None, "UNDEF", 999),
        row(9, None, &name, 990),
    ];
    table.hear(&(rows.iter().map(line).collect::<String>() + "END\n"));
    assert_eq!(table.surveyed, rows);
    let found = rows.into_iter().map(|row| match row.client {
        5 => Found { row, who: Err(Denial::UnknownCertificate) },
        _ => ours(row),
    });
    table.adopt(found.collect());
    assert!(table.session.serving());
    let connected: Vec<u64> = table.session.connected().map(|client| client.number).collect();
    assert_eq!(connected, [3]);
    let lines: Vec<&str> = table.written.lines().collect();
    assert!(lines.contains(&"client-kill 4") && lines.contains(&"client-kill 5 HALT"));
    assert!(!lines.iter().any(|line| line.starts_with("client-kill 6") || line.starts_with("client-kill 9")));
    // 100 s at a key every 30 s: at most eleven keys.
    let rescued: Vec<&&str> = lines.iter().filter(|line| line.starts_with("client-auth-nt 3 ")).collect();
    assert_eq!(rescued.len(), 11);
}

#[test]
fn a_half_written_command_of_another_controller_lets_nobody_in() {
    let mut table = Table::new(true);
    table.hear("SUCCESS: client-auth command succeeded\n");
    table.hear(&format!("SUCCESS: env_filter_level={MARK}\nSUCCESS: env_filter_level=0\n"));
    table.hear("SUCCESS: x\nSUCCESS: x\nSUCCESS: x\n1,CONNECTED,SUCCESS,10.201.0.1,,,,\nEND\n");
    table.written.clear();
    table.adopt(vec![ours(row(3, Some("10.201.0.3"), "x", 990)), ours(row(4, Some("10.201.0.4"), "x", 100))]);
    let connected: Vec<u64> = table.session.connected().map(|client| client.number).collect();
    assert_eq!(connected, [4], "the one that came long before is not in doubt");
    assert!(table.wrote("client-kill 3\n"));
}

#[test]
fn a_renewal_that_was_refused_before_the_list_came_stays_refused() {
    let mut table = Table::new(true);
    table.hear(&notice("REAUTH,3,4"));
    table.answer(3, 4, Verdict::Denied(Denial::PinWrong));
    table.settle(">STATE:1,CONNECTED,SUCCESS,10.201.0.1,,,,\n");
    table.written.clear();
    table.adopt(vec![ours(row(3, Some("10.201.0.3"), "x", 100))]);
    assert!(!table.written.contains("client-auth-nt 3"));
    table.tick(1_000);
    assert!(table.wrote("client-kill 3 HALT\n"));
}

#[test]
fn the_list_is_asked_for_again_until_it_comes() {
    let mut table = Table::new(false);
    assert!(!table.session.greeted());
    table.hear(">INFO:x\n>HOLD:Waiting for hold release:0\n");
    table.settle(">STATE:1,CONNECTED,SUCCESS,10.201.0.1,,,,\n");
    assert!(table.wrote("status 3\n"));
    table.hear("ERROR: The 'status' command is not supported by the current daemon mode\n");
    table.tick(1_000);
    assert!(table.wrote("status 3\n"));
    table.tick(1_000);
    assert!(!table.wrote("status 3\n"), "one at a time");
    table.hear("END\n");
    table.adopt(Vec::new());
    table.tick(SURVEY);
    assert!(table.wrote("status 3\n"), "and once a minute");
}

#[test]
fn what_comes_behind_a_list_is_heard_after_it() {
    let mut table = connected();
    table.tick(SURVEY);
    let name = sample::id(1);
    let list = format!("CLIENT_LIST\t{name}\t1.2.3.4:5\t10.201.0.2\t\t1\t1\tx\t1\tUNDEF\t7\t0\tx\nEND\n");
    table.hear(&(list + &notice("DISCONNECT,7") + &notice("CONNECT,8,1")));
    table.adopt(vec![ours(row(7, Some("10.201.0.2"), &name.to_string(), 900))]);
    assert_eq!(table.left, [7]);
    assert_eq!(table.asked.last().map(|question| question.client), Some(8));
    table.answer(8, 1, allowed(Some("10.201.0.2")));
    assert!(table.wrote("client-auth 8 1\n"));
}

#[test]
fn who_is_in_the_list_no_more_is_gone() {
    let mut table = connected();
    table.adopt(Vec::new());
    assert_eq!(table.left, [7]);
}

#[test]
fn a_client_that_another_controller_let_in_is_looked_up() {
    let mut table = Table::serving();
    table.hear(&notice("ESTABLISHED,12"));
    table.tick(1);
    assert!(table.wrote("status 3\n"));
}
