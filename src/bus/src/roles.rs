//! Which process may do what with which records, in one table. What is not in it is refused.

use culvert_model::{Kind, Role};
use culvert_wire::bus::{Request, Write};

/// What a role may do with a kind, as letters; who only writes or removes secrets need not see them:
///
/// - `r` read what is no secret: get, find, count, check, and hear of changes
/// - `s` read a secret: get, find, count, check
/// - `k` read a secret by id, and only what belongs to a server's certificate
/// - `i` insert, `u` update and add, `d` delete and sweep
/// - `c` claim, renew, pass, release
/// - `a` adopt: bind this machine to another record of the kind
type Rights = &'static str;

/// How careful the bus is with a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// A key, a password's hash, or whatever lets in who has it. Read under a right of its own, never remembered, never
    /// announced.
    Secret,
    /// Remembered for as long as the database is away.
    Cached,
    /// Neither.
    Plain,
}

use Care::{Cached, Plain, Secret};

/// A line of the table.
struct Line {
    kind: Kind,
    care: Care,
    api: Rights,
    pools: Rights,
    queue: Rights,
    tasks: Rights,
    vpn: Rights,
}

const fn line(kind: Kind, care: Care, api: Rights, pools: Rights, queue: Rights, tasks: Rights, vpn: Rights) -> Line {
    Line { kind, care, api, pools, queue, tasks, vpn }
}

#[rustfmt::skip]
const TABLE: &[Line] = &[
    //                                   api      pools  queue   tasks    vpn
    // The buses keep it, past this table.
    line(Kind::Cluster,         Cached, "r",     "",    "",     "",      ""),
    line(Kind::Host,            Cached, "riuda", "r",   "r",    "rud",   "ru"),
    // The buses write it, past this table.
    line(Kind::Usage,           Plain,  "rd",    "",    "",     "rd",    ""),
    // Its token is the public half of the credentials: a name, which opens nothing without the secret.
    line(Kind::Admin,           Cached, "riud",  "",    "",     "",      ""),
    line(Kind::AdminSecret,     Secret, "siud",  "",    "",     "",      ""),
    // Under the hash of the cookie's token, which can't be found from it; the console must stay readable in an outage.
    line(Kind::Session,         Cached, "riud",  "",    "",     "d",     ""),
    line(Kind::Settings,        Cached, "riud",  "r",   "r",    "r",     "r"),
    line(Kind::Organization,    Cached, "riud",  "r",   "ru",   "r",     "r"),
    line(Kind::OrganizationSecret, Secret, "siud", "",  "",     "d",     ""),
    // The api removes an organisation's CA key along with it, but never sees it.
    line(Kind::CaKey,           Secret, "d",     "",    "sid",  "d",     ""),
    line(Kind::User,            Plain,  "riud",  "",    "riu",  "rd",    "ru"),
    line(Kind::UserSecret,      Secret, "siud",  "",    "d",    "d",     "s"),
    line(Kind::Certificate,     Plain,  "riud",  "r",   "riud", "rud",   "r"),
    // The api puts keys into profiles; vpn gets the keys of servers and no user's.
    line(Kind::CertificateKey,  Secret, "sd",    "",    "id",   "d",     "k"),
    line(Kind::Revocation,      Cached, "riud",  "",    "ri",   "rid",   "r"),
    line(Kind::Crl,             Plain,  "rd",    "",    "riu",  "rd",    "r"),
    // Known to everybody who connects.
    line(Kind::DhParams,        Plain,  "rud",   "r",   "riud", "rud",   ""),
    line(Kind::Server,          Cached, "riud",  "",    "ru",   "ru",    "r"),
    line(Kind::Networks,        Plain,  "riu",   "",    "riu",  "",      ""),
    line(Kind::ServerKey,       Secret, "siud",  "",    "",     "d",     "s"),
    line(Kind::Instance,        Plain,  "riudc", "",    "",     "riudc", "riudc"),
    line(Kind::Address,         Plain,  "riud",  "",    "riud", "riud",  "riud"),
    line(Kind::Connection,      Plain,  "rd",    "",    "",     "rd",    "riud"),
    line(Kind::Output,          Plain,  "riud",  "",    "",     "rd",    "riud"),
    line(Kind::Job,             Plain,  "riud",  "riud","riudc","riudc", ""),
    line(Kind::Task,            Plain,  "riud",  "",    "",     "riudc", ""),
    // Used up by being written.
    line(Kind::Nonce,           Plain,  "rid",   "",    "",     "rd",    ""),
    line(Kind::Log,             Plain,  "rid",   "i",   "i",    "rid",   "i"),
    line(Kind::Tls,             Plain,  "riud",  "r",   "riud", "r",     ""),
    line(Kind::TlsKey,          Secret, "siud",  "",    "iud",  "",      ""),
    // Whoever has its code gets the user's keys.
    line(Kind::ProfileLink,     Secret, "siud",  "",    "",     "d",     ""),
];

fn line_of(kind: Kind) -> Option<&'static Line> {
    TABLE.iter().find(|line| line.kind == kind)
}

/// What a role may do with records of a kind, in the letters of the table.
#[must_use]
pub fn rights(role: Role, kind: Kind) -> &'static str {
    let Some(line) = line_of(kind) else { return "" };
    match role {
        Role::Api => line.api,
        Role::Pools => line.pools,
        Role::Queue => line.queue,
        Role::Tasks => line.tasks,
        Role::Vpn => line.vpn,
        // The proxy has nothing to do with records, and the bus does not ask itself.
        Role::Proxy | Role::Bus => "",
    }
}

/// Whether the bus remembers records of this kind for as long as the database is away.
#[must_use]
pub fn cached(kind: Kind) -> bool {
    line_of(kind).is_some_and(|line| line.care == Cached)
}

/// Whether records of this kind are secrets: who has one can do what it stands for.
#[must_use]
pub fn secret(kind: Kind) -> bool {
    line_of(kind).is_some_and(|line| line.care == Secret)
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done.
    Allowed,
    /// It may be done if the certificate of the same id is a server's.
    IfOfServer,
    /// It may not.
    Denied,
}

/// Whether a role may ask that.
#[must_use]
pub fn judge(role: Role, request: &Request) -> Verdict {
    let may = |kind: Kind, right: char| rights(role, kind).contains(right);
    let reads = |kind: Kind| may(kind, if secret(kind) { 's' } else { 'r' });
    let allowed = match request {
        Request::Get { kind, .. } if may(*kind, 'k') => return Verdict::IfOfServer,
        Request::Get { kind, .. } => reads(*kind),
        Request::Find(find) | Request::Count(find) => reads(find.kind),
        Request::Write { writes, .. } | Request::WriteAgain { writes, .. } => {
            writes.iter().all(|write| match right(write) {
                Some(right) => may(write.target().0, right),
                None => reads(write.target().0),
            })
        }
        Request::Claim { kind, .. }
        | Request::Renew { kind, .. }
        | Request::Pass { kind, .. }
        | Request::Release { kind, .. } => may(*kind, 'c'),
        Request::Sweep { kind, .. } => may(*kind, 'd'),
        // Nobody hears of secrets.
        Request::Subscribe(kinds) => kinds.iter().all(|kind| may(*kind, 'r')),
        Request::Standing | Request::Restart => role == Role::Api,
        Request::Adopt { .. } => may(Kind::Host, 'a'),
        Request::Here => Kind::ALL.iter().any(|kind| !rights(role, *kind).is_empty()),
    };
    if allowed { Verdict::Allowed } else { Verdict::Denied }
}

/// The right that a write takes; none if it is a look.
const fn right(write: &Write) -> Option<char> {
    match write {
        Write::Insert { .. } => Some('i'),
        Write::Update { .. } | Write::Add { .. } => Some('u'),
        Write::Delete { .. } => Some('d'),
        Write::Check { .. } | Write::Unheld { .. } => None,
    }
}

#[cfg(test)]
mod tests;
