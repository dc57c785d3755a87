//! The committed corpora, and mutations of them, through all targets.

use std::fs;
use std::path::{Path, PathBuf};

use culvert_model::{HostId, Id, Kind};
use culvert_targets::{TARGETS, Target};
use culvert_wire::bus::{
    Answer, Call, Change, Claim, Fault, Find, Guard, Key, Lease, Position, Refusal, Reply, Request, Row, Write,
};
use culvert_wire::encode;
use culvert_wire::errand::{Errand, Place, Report, write};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[path = "../../kit/samples.rs"]
#[allow(dead_code, reason = "the kit serves other suites, too")]
mod samples;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name)
}

fn inputs((name, _): &Target) -> Vec<Vec<u8>> {
    let files = fs::read_dir(corpus(name)).expect("every target has a corpus");
    let inputs: Vec<_> = files.map(|file| fs::read(file.expect("a file").path()).expect("it can be read")).collect();
    assert!(!inputs.is_empty(), "{name} has a corpus");
    inputs
}

#[test]
fn the_corpora() {
    for target in &TARGETS {
        inputs(target).iter().for_each(|input| target.1(input));
    }
}

/// One change to some bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Set(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<usize>();
    let words = prop_oneof![
        Just(b"null".to_vec()),
        Just(b"[]".to_vec()),
        Just(b"18446744073709551616".to_vec()),
        Just(b"-1".to_vec()),
        Just(b"1e999".to_vec()),
        Just(b"\"".to_vec()),
        Just(br#""\ud800""#.to_vec()),
        Just(vec![0xff; 8]),
    ];
    prop_oneof![
        (place, any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        place.prop_map(Mutation::Cut),
        (place, words).prop_map(|(at, word)| Mutation::Insert(at, word)),
        (place, 1..64_usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: Mutation) {
    let place = |at: usize| at % (bytes.len() + 1);
    match mutation {
        Mutation::Set(at, byte) if !bytes.is_empty() => {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        Mutation::Set(..) => {}
        Mutation::Cut(at) => {
            let at = place(at);
            bytes.truncate(at);
        }
        Mutation::Insert(at, word) => {
            let at = place(at);
            bytes.splice(at..at, word);
        }
        Mutation::Repeat(at, length) => {
            let at = place(at);
            let again: Vec<u8> = bytes[at..].iter().take(length).copied().collect();
            bytes.splice(at..at, again);
        }
    }
}

#[test]
fn mutations_of_the_corpora() {
    for target in &TARGETS {
        let inputs = inputs(target);
        let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
        let mutated = (any::<prop::sample::Index>(), prop::collection::vec(mutation(), 1..6));
        let run = TestRunner::new(config).run(&mutated, |(which, mutations)| {
            let mut bytes = inputs[which.index(inputs.len())].clone();
            mutations.into_iter().for_each(|mutation| mutate(&mut bytes, mutation));
            target.1(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{}: {error}", target.0));
    }
}

/// The good half of the corpora: `cargo test -p culvert-targets --test replay -- --ignored` writes it anew after a message
/// or a record has changed.
#[test]
#[ignore = "writes the corpora"]
fn the_corpora_are_made() {
    let put = |name: &str, file: &str, bytes: Vec<u8>| {
        fs::create_dir_all(corpus(name)).expect("a folder can be made");
        fs::write(corpus(name).join(file), bytes).expect("it can be written");
    };
    let mut streamed = vec![3];
    for (number, request) in requests().into_iter().enumerate() {
        let bytes = encode(&Call { number: number as u64, request }).expect("it has a form");
        streamed.extend((bytes.len() as u32).to_be_bytes());
        streamed.extend(&bytes);
        put("call", &format!("good-{number}"), bytes);
    }
    put("stream", "good-0", streamed);
    put("stream", "too-long", vec![0, 0xff, 0xff, 0xff, 0xff, 0]);
    for (number, reply) in replies().into_iter().enumerate() {
        put("answer", &format!("good-{number}"), encode(&Answer { number: 7, reply }).expect("it has a form"));
    }
    let mut errands = Vec::new();
    for errand in errands_sent() {
        write(&mut errands, &errand).expect("there is room");
    }
    put("errand", "good-errands", errands);
    let mut reports = Vec::new();
    let step = Report::Step { name: "a".into(), good: true, text: "b".into() };
    for report in [step, Report::Progress { what: "a".into(), done: 1, total: 2 }, Report::Failed("c".into())] {
        write(&mut reports, &report).expect("there is room");
    }
    put("errand", "good-reports", reports);
    put("helper", "good-0", encode(&culvert_wire::helper::Request::List).expect("it has a form"));
    for (number, kind) in Kind::ALL.iter().enumerate() {
        let body = samples::sample(*kind).to_string().into_bytes();
        put("record", kind.name(), [&[number as u8], &body[..]].concat());
        put("record", &format!("{}-list", kind.name()), [&[number as u8][..], b"[]"].concat());
    }
}

fn requests() -> Vec<Request> {
    let (kind, id) = (Kind::User, "65f000000000000000000001".to_owned());
    let claim = Claim { owner: "a".into(), epoch: 2 };
    let guard = Guard { revision: Some(3), claim: Some(claim.clone()) };
    let find = Find {
        kind,
        index: "by_organization".into(),
        equal: vec![Key::Text(id.clone())],
        from: Some(Key::Text("a".into())),
        to: Some(Key::Text("b".into())),
        after: Some(Position { keys: vec![Key::Null, Key::Int(-1)], id: id.clone() }),
        descending: true,
        limit: 10,
    };
    let body = samples::sample(kind).to_string().into_bytes();
    let writes = vec![
        Write::Insert { kind, id: id.clone(), body: body.clone() },
        Write::Update { kind, id: id.clone(), guard: guard.clone(), body },
        Write::Delete { kind, id: id.clone(), guard: guard.clone() },
        Write::Add { kind, id: id.clone(), field: "last_active".into(), delta: -1 },
        Write::Check { kind, id: id.clone(), guard },
    ];
    vec![
        Request::Get { kind, id: id.clone() },
        Request::Find(find.clone()),
        Request::Count(find),
        Request::Write { id: u128::MAX, writes },
        Request::Claim { kind, id: id.clone(), revision: Some(1), owner: "a".into(), lease: 1000 },
        Request::Renew { kind, id: id.clone(), claim: claim.clone(), lease: 1000 },
        Request::Release { kind, id: id.clone(), claim: claim.clone() },
        Request::Sweep { kind: Kind::Log, index: "by_time".into(), before: 5 },
        Request::Subscribe(vec![kind, Kind::Server]),
        Request::Here,
        Request::Pass { kind, id, claim, owner: "b".into(), lease: 1000 },
    ]
}

fn replies() -> Vec<Result<Reply, Fault>> {
    let host: HostId = "0123456789abcdef0123456789abcdef".parse().expect("an id");
    let lease = Lease { host, owner: "a".into(), epoch: 1, left: 2 };
    let body = samples::sample(Kind::Host).to_string().into_bytes();
    let row = Row { id: "x".into(), revision: 1, body, lease: Some(lease.clone()) };
    let change = Change {
        id: Id::from_bytes([7; 12]),
        kind: Kind::User,
        record: "x".into(),
        revision: 1,
        scope: Some("o".into()),
        at: 1,
    };
    vec![
        Ok(Reply::Rows {
            rows: vec![row.clone()],
            next: Some(Position { keys: Vec::new(), id: "x".into() }),
            cached: true,
        }),
        Ok(Reply::Count(1)),
        Ok(Reply::Written { revisions: vec![1, 0] }),
        Ok(Reply::Refused { write: 1, why: Refusal::NotHeld { lease: Some(lease) } }),
        Ok(Reply::Claimed { row }),
        Ok(Reply::Changed(change)),
        Ok(Reply::Here { host, now: 1 }),
        Err(Fault::Invalid("why".into())),
    ]
}

fn errands_sent() -> Vec<Errand> {
    let place = Place::Mongo("mongodb://h/".into());
    vec![
        Errand::Check { uri: "mongodb://h/".into() },
        Errand::Migrate { place: place.clone(), dry: true },
        Errand::Damaged { place: Place::Embedded },
        Errand::Repair { place, kind: "users".into(), id: "x".into(), body: Some("{}".into()) },
    ]
}
