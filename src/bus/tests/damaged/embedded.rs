//! In a file.

use std::path::Path;

use culvert_bus::store::embedded::Embedded;
use culvert_model::{HostId, Kind};
use rusqlite::Connection;

use super::samples::{id, sample};
use super::{Harm, Patient};

/// What is done to the file, with the record's kind as `?1` and its id as `?2`.
const HARMS: [(&str, bool, &str); 15] = [
    ("is no JSON", false, "UPDATE records SET body = x'7b22' WHERE kind = ?1 AND id = ?2"),
    ("is no UTF-8", false, "UPDATE records SET body = x'7b226964223a22ff227d' WHERE kind = ?1 AND id = ?2"),
    ("is no object", false, "UPDATE records SET body = x'5b5d' WHERE kind = ?1 AND id = ?2"),
    ("is empty", false, "UPDATE records SET body = x'' WHERE kind = ?1 AND id = ?2"),
    ("lacks its fields", false, "UPDATE records SET body = x'7b7d' WHERE kind = ?1 AND id = ?2"),
    ("has wrong types", false, "UPDATE records SET body = CAST('{\"id\":[[]]}' AS BLOB) WHERE kind = ?1 AND id = ?2"),
    (
        "is nested deep",
        false,
        "UPDATE records SET body = CAST(replace(hex(zeroblob(5000)), '00', '[') AS BLOB) WHERE kind = ?1 AND id = ?2",
    ),
    ("is text", true, "UPDATE records SET body = '{}' WHERE kind = ?1 AND id = ?2"),
    ("is a number", true, "UPDATE records SET body = 7 WHERE kind = ?1 AND id = ?2"),
    ("is huge", true, "UPDATE records SET body = zeroblob(2200000) WHERE kind = ?1 AND id = ?2"),
    ("has no revision", true, "UPDATE records SET revision = 'x' WHERE kind = ?1 AND id = ?2"),
    ("has a negative revision", true, "UPDATE records SET revision = -5 WHERE kind = ?1 AND id = ?2"),
    ("has a lease of nobody", true, "INSERT INTO leases VALUES (?1, ?2, 'nobody', 'a', 1, 1)"),
    (
        "has a lease without epoch",
        true,
        "INSERT INTO leases VALUES (?1, ?2, '0123456789abcdef0123456789abcdef', 'a', x'00', 1)",
    ),
    (
        "has a lease without end",
        true,
        "INSERT INTO leases VALUES (?1, ?2, '0123456789abcdef0123456789abcdef', x'ff', 1, 'never')",
    ),
];

fn harm(path: &Path, kind: Kind, sql: &str) {
    let connection = Connection::open(path).expect("another program may open it");
    connection.execute(sql, (kind.name(), id(&sample(kind)))).expect("it is SQL");
}

#[tokio::test]
async fn every_kind_in_every_way() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("store.sqlite");
    let host = HostId::new();
    let patient = Patient::new(Embedded::open(&path, host).expect("it opens"), host);
    for kind in Kind::ALL.iter().copied() {
        for (name, seen, sql) in HARMS {
            let what = Harm { name, seen };
            patient.make(kind).await;
            harm(&path, kind, sql);
            patient.examine(kind, &what).await;
            harm(&path, kind, sql);
            patient.remove(kind, &what).await;
            patient.empty(kind).await;
        }
    }
}

/// The indexes are made anew, as after an update that declares another one, with damaged records there.
#[tokio::test]
async fn the_store_opens_with_damaged_records() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("store.sqlite");
    let host = HostId::new();
    let patient = Patient::new(Embedded::open(&path, host).expect("it opens"), host);
    for (kind, (.., sql)) in Kind::ALL.iter().copied().zip(HARMS.iter().cycle()) {
        patient.make(kind).await;
        harm(&path, kind, sql);
    }
    drop(patient);
    let connection = Connection::open(&path).expect("nobody else has it");
    connection.execute("UPDATE facts SET value = 'others' WHERE name = 'indexes'", []).expect("it is SQL");
    drop(connection);
    let patient = Patient::new(Embedded::open(&path, host).expect("it opens"), host);
    for (kind, (name, seen, _)) in Kind::ALL.iter().copied().zip(HARMS.iter().cycle()) {
        patient.lists(kind, id(&sample(kind)), &Harm { name, seen: *seen }).await;
    }
}
