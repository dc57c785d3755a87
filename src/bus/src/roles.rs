//! Which process may do what with which records, in one table. What is not in it is refused.

use culvert_model::{Kind, Role};
use culvert_wire::bus::{Request, Write};

/// What a role may do with a kind, as letters; who only removes secrets need not see them:
///
/// - `r` read: get, find, count, check, and hear of changes
/// - `s` read by id, and only what belongs to a server's certificate
/// - `i` insert, `u` update and add, `d` delete and sweep
/// - `c` claim, renew, release
type Rights = &'static str;

/// A line of the table.
struct Line {
    kind: Kind,
    /// Whether the bus remembers the records for as long as the database is away. Never secrets.
    cached: bool,
    api: Rights,
    pools: Rights,
    queue: Rights,
    tasks: Rights,
    vpn: Rights,
}

const fn line(kind: Kind, cached: &str, api: Rights, pools: Rights, queue: Rights, tasks: Rights, vpn: Rights) -> Line {
    Line { kind, cached: !cached.is_empty(), api, pools, queue, tasks, vpn }
}

#[rustfmt::skip]
const TABLE: &[Line] = &[
    //                           cached    api      pools  queue   tasks    vpn
    // The buses keep it, past this table.
    line(Kind::Cluster,         "cached", "r",     "",    "",     "",      ""),
    line(Kind::Host,            "cached", "riud",  "r",   "r",    "rud",   "ru"),
    line(Kind::Admin,           "cached", "riud",  "",    "",     "",      ""),
    line(Kind::AdminSecret,     "",       "riud",  "",    "",     "",      ""),
    line(Kind::Session,         "cached", "riud",  "",    "",     "d",     ""),
    line(Kind::Settings,        "cached", "riud",  "r",   "r",    "r",     "r"),
    line(Kind::Organization,    "cached", "riud",  "r",   "ru",   "r",     "r"),
    // The api removes an organisation's CA key along with it, but never sees it.
    line(Kind::CaKey,           "",       "d",     "",    "rid",  "",      ""),
    line(Kind::User,            "",       "riud",  "",    "",     "rd",    "ru"),
    line(Kind::UserSecret,      "",       "riud",  "",    "",     "d",     "r"),
    line(Kind::Certificate,     "",       "riud",  "r",   "riud", "rud",   "r"),
    // The api puts keys into profiles; vpn gets the keys of servers and no user's.
    line(Kind::CertificateKey,  "",       "rd",    "",    "id",   "d",     "s"),
    line(Kind::Server,          "cached", "riud",  "",    "",     "r",     "r"),
    line(Kind::ServerKey,       "",       "riud",  "",    "",     "",      "r"),
    line(Kind::Instance,        "",       "riudc", "",    "",     "riudc", "riudc"),
    line(Kind::Address,         "",       "riud",  "",    "",     "rd",    "riud"),
    line(Kind::Connection,      "",       "rd",    "",    "",     "rd",    "riud"),
    line(Kind::Output,          "",       "riud",  "",    "",     "rd",    "riud"),
    line(Kind::Job,             "",       "riud",  "riud","riudc","riudc", ""),
    line(Kind::Task,            "",       "riud",  "",    "",     "riudc", ""),
    line(Kind::Nonce,           "",       "rid",   "",    "",     "rd",    ""),
    line(Kind::Log,             "",       "rid",   "i",   "i",    "rid",   "i"),
    line(Kind::Tls,             "",       "riud",  "r",   "riud", "r",     ""),
    line(Kind::TlsKey,          "",       "riud",  "",    "iud",  "",      ""),
    line(Kind::ProfileLink,     "",       "riud",  "",    "",     "d",     ""),
];

fn rights(role: Role, kind: Kind) -> Rights {
    let Some(line) = TABLE.iter().find(|line| line.kind == kind) else { return "" };
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
    TABLE.iter().any(|line| line.kind == kind && line.cached)
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
    let allowed = match request {
        Request::Get { kind, .. } if may(*kind, 's') => return Verdict::IfOfServer,
        Request::Get { kind, .. } => may(*kind, 'r'),
        Request::Find(find) | Request::Count(find) => may(find.kind, 'r'),
        Request::Write { writes, .. } => writes.iter().all(|write| may(write.target().0, right(write))),
        Request::Claim { kind, .. } | Request::Renew { kind, .. } | Request::Release { kind, .. } => may(*kind, 'c'),
        Request::Sweep { kind, .. } => may(*kind, 'd'),
        Request::Subscribe(kinds) => kinds.iter().all(|kind| may(*kind, 'r')),
        Request::Standing | Request::Restart => role == Role::Api,
        Request::Here => Kind::ALL.iter().any(|kind| !rights(role, *kind).is_empty()),
    };
    if allowed { Verdict::Allowed } else { Verdict::Denied }
}

const fn right(write: &Write) -> char {
    match write {
        Write::Insert { .. } => 'i',
        Write::Update { .. } | Write::Add { .. } => 'u',
        Write::Delete { .. } => 'd',
        Write::Check { .. } => 'r',
    }
}

#[cfg(test)]
mod tests {
    use culvert_wire::bus::{Claim, Find, Guard};

    use super::*;

    const SECRETS: [Kind; 7] = [
        Kind::AdminSecret,
        Kind::CaKey,
        Kind::UserSecret,
        Kind::CertificateKey,
        Kind::ServerKey,
        Kind::TlsKey,
        Kind::ProfileLink,
    ];

    fn get(kind: Kind) -> Request {
        Request::Get { kind, id: "x".into() }
    }

    fn every_request(kind: Kind) -> Vec<Request> {
        let find = Find {
            kind,
            index: String::new(),
            equal: vec![],
            from: None,
            to: None,
            after: None,
            descending: false,
            limit: 1,
        };
        let claim = Claim { owner: "x".into(), epoch: 1 };
        let (id, guard, body) = ("x".to_string(), Guard::default(), b"{}".to_vec());
        let writes = [
            Write::Insert { kind, id: id.clone(), body: body.clone() },
            Write::Update { kind, id: id.clone(), guard: guard.clone(), body },
            Write::Delete { kind, id: id.clone(), guard: guard.clone() },
            Write::Add { kind, id: id.clone(), field: "n".into(), delta: 1 },
            Write::Check { kind, id: id.clone(), guard },
        ];
        let mut all: Vec<Request> =
            writes.into_iter().map(|write| Request::Write { id: 1, writes: vec![write] }).collect();
        all.extend([
            get(kind),
            Request::Find(find.clone()),
            Request::Count(find),
            Request::Claim { kind, id: id.clone(), revision: None, owner: "x".into(), lease: 1 },
            Request::Renew { kind, id: id.clone(), claim: claim.clone(), lease: 1 },
            Request::Release { kind, id, claim },
            Request::Sweep { kind, index: "x".into(), before: 1 },
            Request::Subscribe(vec![kind]),
        ]);
        all
    }

    fn readers(kind: Kind) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| judge(*role, &get(kind)) != Verdict::Denied).collect()
    }

    #[test]
    fn every_kind_has_one_line_of_known_letters() {
        for kind in Kind::ALL {
            assert_eq!(TABLE.iter().filter(|line| line.kind == *kind).count(), 1, "{}", kind.name());
        }
        for line in TABLE {
            for rights in [line.api, line.pools, line.queue, line.tasks, line.vpn] {
                assert!(rights.chars().all(|right| "rsiudc".contains(right)), "{}", line.kind.name());
            }
        }
    }

    #[test]
    fn secrets_are_read_by_who_needs_them() {
        assert_eq!(readers(Kind::CaKey), [Role::Queue]);
        for role in [Role::Pools, Role::Tasks] {
            assert!(SECRETS.iter().all(|kind| !readers(*kind).contains(&role)), "{role}");
        }
        assert_eq!(readers(Kind::AdminSecret), [Role::Api]);
        assert_eq!(readers(Kind::TlsKey), [Role::Api]);
        assert_eq!(readers(Kind::ProfileLink), [Role::Api]);
        assert_eq!(readers(Kind::UserSecret), [Role::Api, Role::Vpn]);
        assert_eq!(readers(Kind::ServerKey), [Role::Api, Role::Vpn]);
        assert_eq!(readers(Kind::CertificateKey), [Role::Api, Role::Vpn]);
        assert_eq!(judge(Role::Vpn, &get(Kind::CertificateKey)), Verdict::IfOfServer);
        for kind in SECRETS {
            assert!(!cached(kind), "{}", kind.name());
            assert!(!kind.announced(), "{}", kind.name());
        }
    }

    #[test]
    fn vpn_cannot_list_keys() {
        for request in every_request(Kind::CertificateKey) {
            let expected = if matches!(request, Request::Get { .. }) { Verdict::IfOfServer } else { Verdict::Denied };
            assert_eq!(judge(Role::Vpn, &request), expected, "{request:?}");
        }
    }

    #[test]
    fn the_proxy_may_nothing() {
        for role in [Role::Proxy, Role::Bus] {
            assert_eq!(judge(role, &Request::Here), Verdict::Denied);
            for request in Kind::ALL.iter().flat_map(|kind| every_request(*kind)) {
                assert_eq!(judge(role, &request), Verdict::Denied, "{request:?}");
            }
        }
    }

    #[test]
    fn a_batch_needs_every_right() {
        let delete = |kind| Write::Delete { kind, id: "x".into(), guard: Guard::default() };
        let batch = |kinds: &[Kind]| Request::Write { id: 1, writes: kinds.iter().copied().map(delete).collect() };
        assert_eq!(judge(Role::Tasks, &batch(&[Kind::Log, Kind::Nonce])), Verdict::Allowed);
        assert_eq!(judge(Role::Tasks, &batch(&[Kind::Log, Kind::Admin])), Verdict::Denied);
        let subscription = Request::Subscribe(vec![Kind::User, Kind::Job]);
        assert_eq!(judge(Role::Vpn, &subscription), Verdict::Denied);
    }

    #[test]
    fn who_changes_what() {
        let writers = |kind| {
            let write = |role: &Role| {
                every_request(kind).iter().any(|request| {
                    matches!(request, Request::Write { writes, .. } if !matches!(writes[0], Write::Check { .. }))
                        && judge(*role, request) == Verdict::Allowed
                })
            };
            Role::ALL.into_iter().filter(write).collect::<Vec<_>>()
        };
        assert_eq!(writers(Kind::Admin), [Role::Api]);
        assert_eq!(writers(Kind::Server), [Role::Api]);
        assert_eq!(writers(Kind::Settings), [Role::Api]);
        assert_eq!(writers(Kind::User), [Role::Api, Role::Tasks, Role::Vpn]);
        assert_eq!(writers(Kind::UserSecret), [Role::Api, Role::Tasks]);
        assert_eq!(writers(Kind::Organization), [Role::Api, Role::Queue]);
    }
}
