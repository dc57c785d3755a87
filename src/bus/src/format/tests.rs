//! What every table of steps must be, and that of this release is.

use culvert_model::record::Cluster;
use serde_json::json;

use super::*;

/// What is wrong with a release's table, if samples of the kinds in their first shape are these.
fn fault(release: &Release, sample: impl Fn(Kind) -> Option<Fields>) -> Option<String> {
    for kind in Kind::ALL.iter().copied().filter(|kind| release.changed(*kind)) {
        let name = kind.name();
        let formats: Vec<u32> = release.steps(kind).map(|step| step.format).collect();
        if !formats.is_sorted_by(|a, b| a < b) || formats.iter().any(|format| !(2..=release.format).contains(format)) {
            return Some(format!("{name} has steps that do not follow each other: {formats:?}"));
        }
        if kind == Kind::Cluster {
            return Some("every release must be able to read the cluster's record".into());
        }
        let mut older = sample(kind)?;
        for step in release.steps(kind) {
            let newer = (step.up)(older.clone());
            let back = (step.down)(newer.clone());
            let forth = (step.up)(back.clone());
            let indexed = kind.indexes().iter().flat_map(|index| index.fields.iter().copied());
            for field in indexed.chain(kind.scope()).chain(["id"]) {
                if older.contains_key(field)
                    && (older.get(field), back.get(field)) != (newer.get(field), newer.get(field))
                {
                    return Some(format!("{name}: {field} is in an index, and a step changes it"));
                }
            }
            if forth != newer {
                return Some(format!("{name}: a record does not come back from the older shape as it was"));
            }
            older = newer;
        }
    }
    None
}

fn id(fields: Fields) -> Fields {
    fields
}

fn renames(mut fields: Fields) -> Fields {
    let name = fields.remove("name").unwrap_or_default();
    fields.insert("title".into(), name);
    fields
}

fn release(format: u32, steps: &'static [Step]) -> Release {
    Release { format, version: "2.0.0", steps, check: |_, _| None }
}

fn user(_: Kind) -> Option<Fields> {
    json!({ "id": "1", "organization": "o", "name": "n" }).as_object().cloned()
}

#[test]
fn the_steps_of_this_release_are_good() {
    let first = |_| None;
    assert_eq!(fault(&Release::THIS, first), None);
    for kind in Kind::ALL.iter().copied() {
        assert_eq!(Release::THIS.version_in(kind, FORMAT), kind.version(), "{}", kind.name());
    }
}

#[test]
fn bad_tables_are_found() {
    const RENAMES: &[Step] = &[Step { kind: Kind::User, format: 2, up: renames, down: id }];
    const LATE: &[Step] = &[Step { kind: Kind::User, format: 3, up: id, down: id }];
    const TWICE: &[Step] = &[
        Step { kind: Kind::User, format: 2, up: id, down: id },
        Step { kind: Kind::User, format: 2, up: id, down: id },
    ];
    const OF_THE_CLUSTER: &[Step] = &[Step { kind: Kind::Cluster, format: 2, up: id, down: id }];
    const GOOD: &[Step] = &[Step { kind: Kind::User, format: 2, up: id, down: id }];
    assert!(fault(&release(2, RENAMES), user).is_some_and(|why| why.contains("name is in an index")));
    for steps in [LATE, TWICE, OF_THE_CLUSTER] {
        assert!(fault(&release(2, steps), user).is_some());
    }
    assert_eq!(fault(&release(2, GOOD), user), None);
}

#[test]
fn kinds_without_steps_are_not_looked_at() {
    assert_eq!(Release::THIS.raise(Kind::Cluster, b"\xff"), Ok(None));
    assert_eq!(Release::THIS.lower(Kind::Cluster, b"\xff", 1), Ok(None));
    assert_eq!(Cluster::ID, "cluster");
}

#[test]
fn a_version_from_nowhere_is_damage() {
    const STEPS: &[Step] = &[Step { kind: Kind::User, format: 2, up: id, down: id }];
    let release = release(2, STEPS);
    for body in [r#"{"v":3}"#, r#"{"v":0}"#, r#"{"v":-1}"#, r#"{"v":"x"}"#, "[]", ""] {
        assert!(release.raise(Kind::User, body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(release.raise(Kind::User, br#"{"v":2,"a":1}"#), Ok(Some(br#"{"a":1}"#.to_vec())));
    assert_eq!(release.lower(Kind::User, br#"{"a":1,"v":7}"#, 2), Ok(Some(br#"{"a":1,"v":2}"#.to_vec())));
    assert_eq!(release.lower(Kind::User, br#"{"a":1}"#, 1), Ok(Some(br#"{"a":1}"#.to_vec())));
}
