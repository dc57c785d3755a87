//! The list of routes as a whole: no path is claimed twice, none by something that is not of its type.

use culvert_contract::{Access, Endpoint, Method, Missed, ROUTES, UserRead, find, methods};
use proptest::prelude::*;

#[test]
fn every_route_is_found_by_its_paths_and_by_no_other() {
    for route in ROUTES {
        assert!(!route.examples().is_empty());
        for path in route.examples() {
            let found = find(route.method, &path).unwrap_or_else(|missed| panic!("{path}: {missed:?}"));
            assert_eq!(found.route.name, route.name, "{path}");
            assert_eq!(found.path, path, "what goes inward is what was signed");
        }
    }
}

#[test]
fn no_two_routes_claim_a_path() {
    for (index, route) in ROUTES.iter().enumerate() {
        assert_eq!(route.name as usize, index, "a name is the index of a table of handlers");
        for other in ROUTES.iter().filter(|other| other.method == route.method && other.name != route.name) {
            for path in other.examples() {
                assert!(!route.claims(&path), "{path} is claimed by {:?} and {:?}", route.name, other.name);
            }
        }
    }
}

#[test]
fn a_path_with_anything_foreign_in_it_is_unknown() {
    for route in ROUTES {
        for path in route.examples() {
            for foreign in ["/", "//", "/..", "%00", "%2e", "?", ".", "é", ";a=b", " ", "\\"] {
                let longer = format!("{path}{foreign}");
                assert_eq!(methods(&longer), Missed::Unknown, "{longer}");
            }
            for at in 1..path.len() {
                let mut foreign = path.clone();
                foreign.replace_range(at..=at, "!");
                assert_eq!(methods(&foreign), Missed::Unknown, "{foreign}");
            }
        }
    }
}

#[test]
fn identifiers_are_lower_case_and_of_one_length() {
    for id in ["", "1", "5F0000000000000000000001", "5f000000000000000000000", "5f00000000000000000000011"] {
        assert_eq!(methods(&format!("/organization/{id}")), Missed::Unknown, "{id}");
    }
    assert_eq!(methods("/server/5f0000000000000000000001/operation/explode"), Missed::Unknown);
}

#[test]
fn percent_encoding_is_undone_before_the_path_is_looked_at() {
    let found = find(Method::Get, "/%73tate").expect("it is /state");
    assert_eq!(found.path, "/state");
    assert_eq!(methods("/%7"), Missed::Unknown);
}

#[test]
fn a_known_path_with_a_wrong_method_says_which_are_right() {
    let Err(Missed::WrongMethod(allow)) = find(Method::Post, "/settings") else { panic!("there is no such route") };
    assert_eq!(allow.header(), "GET, PUT");
}

#[test]
fn nobody_changes_anything_without_proof() {
    for route in ROUTES {
        let harmless = route.method == Method::Get;
        let may = match route.access {
            Access::None => harmless || route.pattern == "/auth/session",
            Access::Session => harmless,
            Access::Capability => route.pattern.contains("{code}"),
            Access::Admin | Access::SuperUser => true,
        };
        assert!(may, "{:?}", route.name);
    }
}

#[test]
fn paths_are_typed() {
    let path = "/user/5f0000000000000000000001/5f0000000000000000000002";
    let parameters = UserRead::parse_path(path).expect("it is one of the route");
    assert_eq!(UserRead::path(&parameters), path);
    assert!(UserRead::parse_path("/user/5f0000000000000000000001").is_none());
}

proptest! {
    #[test]
    fn what_is_found_is_found_again(path in "/[a-z0-9/%._-]{0,80}") {
        for method in [Method::Get, Method::Post, Method::Put, Method::Delete] {
            if let Ok(found) = find(method, &path) {
                let again = find(method, &found.path).expect("what is rebuilt is known");
                prop_assert_eq!(again.route.name, found.route.name);
                prop_assert_eq!(again.path, found.path);
            }
        }
    }
}
