//! The table holds what it promises, and the document says the same.

use culvert_wire::bus::Guard;

use super::*;

fn get(kind: Kind) -> Request {
    Request::Get { kind, id: "x".into() }
}

fn secrets() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| secret(*kind))
}

/// Who reads records of this kind, all or some.
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
            assert!(rights.chars().all(|right| "rskiudca".contains(right)), "{}", line.kind.name());
        }
    }
}

#[test]
fn secrets_are_read_under_a_right_of_their_own() {
    for line in TABLE {
        for rights in [line.api, line.pools, line.queue, line.tasks, line.vpn] {
            let wrong = if line.care == Secret { "r" } else { "sk" };
            assert!(!rights.contains(|right| wrong.contains(right)), "{}: {rights}", line.kind.name());
        }
    }
    for kind in secrets() {
        assert!(!cached(kind), "{}", kind.name());
        assert!(!kind.announced(), "{}", kind.name());
    }
}

/// What must be a secret does not follow from the table: whoever adds a kind that looks like one decides here.
#[test]
fn what_is_named_like_a_secret_is_one() {
    for kind in Kind::ALL {
        let named = ["secret", "key", "link"].iter().any(|word| kind.name().contains(word));
        assert_eq!(secret(*kind), named, "{}", kind.name());
    }
}

#[test]
fn secrets_are_read_by_who_needs_them() {
    assert_eq!(readers(Kind::CaKey), [Role::Queue]);
    for role in [Role::Pools, Role::Tasks] {
        assert!(secrets().all(|kind| !readers(kind).contains(&role)), "{role}");
    }
    assert_eq!(readers(Kind::AdminSecret), [Role::Api]);
    assert_eq!(readers(Kind::TlsKey), [Role::Api]);
    assert_eq!(readers(Kind::ProfileLink), [Role::Api]);
    assert_eq!(readers(Kind::UserSecret), [Role::Api, Role::Vpn]);
    assert_eq!(readers(Kind::ServerKey), [Role::Api, Role::Vpn]);
    assert_eq!(readers(Kind::CertificateKey), [Role::Api, Role::Vpn]);
    assert_eq!(judge(Role::Vpn, &get(Kind::CertificateKey)), Verdict::IfOfServer);
}

#[test]
fn the_document_says_who_reads_which_secret() {
    let document = include_str!("../../../../docs/processes.md");
    let (_, behind) =
        document.split_once("<!-- checked by src/bus/src/roles/tests.rs -->\n").expect("the table's mark");
    let told: Vec<String> = behind.lines().skip(2).take_while(|line| line.starts_with('|')).map(String::from).collect();
    let table: Vec<String> = secrets()
        .map(|kind| {
            let who = readers(kind).into_iter().map(|role| match judge(role, &get(kind)) {
                Verdict::IfOfServer => format!("`{role}`: those of servers"),
                _ => format!("`{role}`"),
            });
            format!("| `{}` | {} |", kind.name(), who.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let told: Vec<String> = told.iter().map(|line| first_and_last(line)).collect();
    assert_eq!(told, table);
}

/// A row without its middle column, which is for people alone.
fn first_and_last(row: &str) -> String {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    format!("| {} | {} |", cells.first().unwrap_or(&""), cells.last().unwrap_or(&""))
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
        let writes = |role: &Role| rights(*role, kind).contains(['i', 'u', 'd']);
        Role::ALL.into_iter().filter(writes).collect::<Vec<_>>()
    };
    assert_eq!(writers(Kind::Cluster), []);
    assert_eq!(writers(Kind::Admin), [Role::Api]);
    // The queue moves networks and renews certificates; tasks remove what is gone.
    assert_eq!(writers(Kind::Server), [Role::Api, Role::Queue, Role::Tasks]);
    assert_eq!(writers(Kind::Settings), [Role::Api]);
    assert_eq!(writers(Kind::User), [Role::Api, Role::Queue, Role::Tasks, Role::Vpn]);
    // The queue removes those of users who are never made.
    assert_eq!(writers(Kind::UserSecret), [Role::Api, Role::Queue, Role::Tasks]);
    // What an organisation or a server has left behind under its id, unseen.
    assert_eq!(writers(Kind::OrganizationSecret), [Role::Api, Role::Tasks]);
    assert_eq!(writers(Kind::ServerKey), [Role::Api, Role::Tasks]);
    assert_eq!(writers(Kind::Organization), [Role::Api, Role::Queue]);
}
