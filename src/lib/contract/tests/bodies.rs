//! Bodies: what is encoded decodes to the same, and the contract's rules for null, absence and wrong types.

use culvert_contract::body::{PinChange, ServerChange, UserChange, UserNew};
use culvert_contract::{Body, Endpoint, ROUTES, SettingsUpdate};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9]{1,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        choice in any::<prop::sample::Index>(), values in prop::collection::vec(value(), 1..12), skip in any::<prop::sample::Index>()
    ) {
        let routes: Vec<_> = ROUTES.iter().filter(|route| route.takes_body).collect();
        let route = choice.get(&routes);
        let names = route.fields.iter().map(ToString::to_string);
        let start = if route.fields.is_empty() { 0 } else { skip.index(route.fields.len()) };
        let object: Map<_, _> = names.skip(start).zip(values).collect();
        for body in [Value::Object(object.clone()), Value::Array(vec![Value::Object(object)])] {
            if let Ok(encoded) = route.reencode(&serde_json::to_vec(&body).expect("JSON")) {
                prop_assert_eq!(route.reencode(&encoded), Ok(encoded));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for route in ROUTES {
            if let Ok(encoded) = route.reencode(&bytes) {
                prop_assert_eq!(route.reencode(&encoded), Ok(encoded));
            }
        }
    }
}

#[test]
fn null_absence_and_nothing_known_are_all_zero() {
    let zero = UserNew::default();
    for body in ["null", "{}", r#"{"colour": "red"}"#, r#"{"name": null, "groups": null}"#, "{} trailing"] {
        assert_eq!(UserNew::decode(body.as_bytes()), Ok(zero.clone()), "{body}");
    }
    assert_eq!(
        zero.encode(),
        ROUTES
            .iter()
            .find(|route| route.pattern == "/user/{organization}" && route.takes_body)
            .expect("listed")
            .reencode(b"{}")
            .expect("zero")
    );
}

#[test]
fn keys_match_in_any_case_and_the_exact_one_counts() {
    let name = |body: &str| UserNew::decode(body.as_bytes()).expect("it fits").name;
    assert_eq!(name(r#"{"NAME": "a"}"#), "a");
    assert_eq!(name(r#"{"NAME": "a", "name": "b"}"#), "b");
    assert_eq!(name(r#"{"name": "b", "Name": "a"}"#), "b");
    assert_eq!(name(r#"{"name": "a", "name": "b"}"#), "b");
}

#[test]
fn a_fault_names_the_field() {
    let fault = |body: Value| UserNew::decode(body.to_string().as_bytes()).expect_err("it does not fit").to_string();
    assert_eq!(fault(json!({"name": 5})), "name: expected text");
    assert_eq!(fault(json!({"disabled": "yes"})), "disabled: expected true or false");
    assert_eq!(fault(json!({"groups": "a"})), "groups: expected a list");
    assert_eq!(fault(json!({"groups": ["a", {}]})), "groups[1]: expected text");
    assert_eq!(
        fault(json!({"port_forwarding": [{"port": "1"}, {"port": 2}]})),
        "port_forwarding[1].port: expected text"
    );
    assert_eq!(fault(json!({"port_forwarding": [null]})), "port_forwarding[0]: expected an object");
    assert_eq!(fault(json!([])), "body: expected an object");
    assert_eq!(UserNew::decode(b"{").expect_err("cut").to_string(), "body: expected JSON");
    assert_eq!(UserNew::decode(b"").expect_err("empty").to_string(), "body: expected JSON");
    assert_eq!(Vec::<UserNew>::decode(br#"[{}, null]"#).expect_err("null user").to_string(), "[1]: expected an object");
    let port = |body: &str| ServerChange::decode(body.as_bytes()).map(|change| change.port);
    assert_eq!(port(r#"{"port": 1194}"#), Ok(1194));
    for body in [r#"{"port": 5.0}"#, r#"{"port": "5"}"#, r#"{"port": 1e3}"#, r#"{"port": 99999999999999999999}"#] {
        assert_eq!(port(body).expect_err("no whole number").to_string(), "port: expected a whole number", "{body}");
    }
}

#[test]
fn values_of_several_types() {
    let pin = |pin: Value| UserChange::decode(json!({ "pin": pin }).to_string().as_bytes()).map(|change| change.pin);
    assert_eq!(pin(json!(true)), Ok(PinChange::Keep));
    for none in [json!(false), json!(null), json!("")] {
        assert_eq!(pin(none), Ok(PinChange::Remove));
    }
    assert_eq!(pin(json!("123456")), Ok(PinChange::Set("123456".to_owned().into())));
    assert!(pin(json!(123_456)).is_err());
    let mss = |mss: Value| {
        ServerChange::decode(json!({ "mss_fix": mss }).to_string().as_bytes()).map(|change| change.mss_fix.0)
    };
    assert_eq!(mss(json!("1400")), Ok(Some(1400)));
    assert_eq!(mss(json!(1400)), Ok(Some(1400)));
    assert_eq!(mss(json!("0")), Ok(None));
    assert!(mss(json!("wide")).is_err() && mss(json!(-1)).is_err());
}

#[test]
fn secrets_are_not_printed() {
    type Change = <SettingsUpdate as Endpoint>::Body;
    let change = Change::decode(br#"{"password": "hunter2", "influxdb_token": "hunter3"}"#).expect("it fits");
    assert_eq!(change.password.reveal(), "hunter2");
    assert!(!format!("{change:?}").contains("hunter"));
}

/// Whoever sends a body need not have logged in: what becomes of it in memory must stay near what was sent.
#[test]
fn no_body_becomes_large_by_being_encoded_anew() {
    const LARGEST: usize = 64 << 10;
    for route in ROUTES.iter().filter(|route| route.takes_body) {
        let mut hostile = vec!["{},", "[],", "null,", "\"\",", "0,"];
        hostile.retain(|item| route.reencode(format!("[{}]", item.trim_end_matches(',')).as_bytes()).is_ok());
        for item in hostile {
            let sent = format!("[{}]", item.repeat(LARGEST / item.len()).trim_end_matches(','));
            let grown = route.reencode(sent.as_bytes()).map_or(0, |body| body.len());
            assert!(grown <= 4 * LARGEST, "{}: {} bytes become {grown}", route.pattern, sent.len());
        }
    }
}
