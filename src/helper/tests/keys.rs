//! Key material that the queue makes, in a real openvpn at both ends. Needs what the suite `tunnel` needs.

mod kit;

use culvert_keys::{Control, Made, Recipe};
use culvert_model::{KeyKind, group};
use culvert_wire::helper::{Reply, Request};
use kit::Lab;

#[test]
fn every_kind_of_key() {
    let kinds = [
        (KeyKind::Rsa3072, "3072 bits RSA"),
        (KeyKind::P256, "256 bits ECprime256v1"),
        (KeyKind::P384, "384 bits ECsecp384r1"),
        (KeyKind::Ed25519, "256 bits ED25519"),
    ];
    for (kind, name) in kinds {
        let mut lab = Lab::of(kind);
        lab.start_helper();
        assert_eq!(lab.ask(Request::Start(Box::new(lab.request(|_| {})))).0, Reply::Done);
        lab.attach();
        lab.connect_client();
        assert!(lab.client_says(name), "{name}");
    }
}

#[test]
fn a_client_that_knows_no_elliptic_curves() {
    let own = match (Recipe::DhParams { bits: 2048 }).make(&Control::default()) {
        Ok(Made::DhParams(own)) => own,
        _ => panic!("the recipe is one of parameters"),
    };
    // In TLS 1.2 this exchange goes with RSA keys only.
    let mut lab = Lab::of(KeyKind::Rsa2048);
    lab.start_helper();
    let suite = ["--tls-version-max", "1.2", "--tls-cipher", "TLS-DHE-RSA-WITH-AES-256-GCM-SHA384"];
    for dh in [None, group(2048), group(3072), group(4096), Some(own)] {
        let (reply, output) = lab.ask(Request::Start(Box::new(lab.request(|start| start.dh.clone_from(&dh)))));
        assert_eq!(reply, Reply::Done);
        lab.attach();
        lab.start_client(&suite);
        if dh.is_some() {
            kit::until("the client is connected", || lab.client_says("Initialization Sequence Completed"));
            assert!(lab.client_says("cipher TLSv1.2 DHE-RSA-AES256-GCM-SHA384"));
        } else {
            let mut output = std::fs::File::from(output.expect("the end for reading"));
            kit::until("the client is refused", || kit::read(&mut output).contains("no shared cipher"));
            assert!(!lab.client_says("Initialization Sequence Completed"));
        }
        assert_eq!(lab.ask(Request::Stop(kit::slot())).0, Reply::Done);
    }
}
