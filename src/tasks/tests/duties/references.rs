//! What servers refer to and is gone.

use culvert_model::record::{Certificate, CertificateState, Host, Log, Organization, Purpose, Server};
use culvert_model::{HostId, Id};

use crate::kit::{Broken, made, organization, server, touch};
use crate::orphans::certificate;

async fn host(broken: &Broken) -> HostId {
    let host = made(|host: &mut Host| host.id = HostId::new());
    broken.put(&host).await;
    host.id
}

async fn of_server(broken: &Broken, organization: Id, state: CertificateState) -> Id {
    let certificate = Certificate { purpose: Purpose::Server, state, ..certificate(organization) };
    broken.put(&certificate).await;
    certificate.id
}

#[tokio::test]
async fn they_are_forgotten() {
    let broken = Broken::new();
    let [staff, guests] = [organization(), organization()];
    let [damaged, gone] = [Id::new(), Id::new()];
    broken.put(&staff).await;
    broken.put(&guests).await;
    broken.put_damaged::<Organization>(damaged).await;
    let (here, unreadable, lost) = (host(&broken).await, HostId::new(), HostId::new());
    broken.put_damaged::<Host>(unreadable).await;
    let taken = of_server(&broken, staff.id, CertificateState::Taken).await;

    let whole = Server { certificate: Some(taken), hosts: vec![here], online: true, ..server(&[staff.id, guests.id]) };
    // Who refers to something that is gone, and what is left of that.
    let fewer = Server { organizations: vec![gone, staff.id], hosts: vec![lost, here, unreadable], ..whole.clone() };
    let left = Server { organizations: vec![staff.id], hosts: vec![here, unreadable], ..fewer.clone() };
    let nobody = Server { organizations: vec![gone], ..whole.clone() };
    let nowhere = Server { hosts: vec![lost], ..whole.clone() };
    let unknown = Server { organizations: vec![damaged, staff.id], ..whole.clone() };
    let cases = [
        (whole.clone(), whole.clone()),
        (fewer, left),
        (nobody.clone(), Server { organizations: Vec::new(), certificate: None, online: false, ..nobody }),
        (nowhere.clone(), Server { hosts: Vec::new(), online: false, ..nowhere }),
        (unknown.clone(), unknown),
    ];
    let mut expected = Vec::new();
    for (before, after) in cases {
        let id = Id::new();
        broken.put(&Server { id, ..before }).await;
        expected.push(Server { id, ..after });
    }
    assert_eq!(broken.says("server-references").await, "3 servers mended");
    for server in expected {
        assert_eq!(broken.get::<Server>(server.id).await.record, server);
    }
    assert_eq!(broken.all::<Log>().await.iter().filter(|log| log.message.contains("was mended")).count(), 3);
    assert_eq!(broken.says("server-references").await, "0 servers mended");
}

#[tokio::test]
async fn a_certificate_that_is_gone_is_replaced() {
    let broken = Broken::new();
    let [staff, guests] = [organization(), organization()];
    broken.put(&staff).await;
    broken.put(&guests).await;
    let here = host(&broken).await;
    let foreign = of_server(&broken, guests.id, CertificateState::Taken).await;
    let with = |certificate| Server { certificate, hosts: vec![here], ..server(&[staff.id]) };
    let servers = [with(Some(Id::new())), with(Some(foreign)), with(None)];
    for server in &servers {
        broken.put(server).await;
    }
    let has = async |server: &Server| broken.get::<Server>(server.id).await.record.certificate;
    assert_eq!(broken.says("server-references").await, "2 servers mended", "the third has none as before");
    for server in &servers {
        assert_eq!(has(server).await, None);
    }
    let spare = of_server(&broken, staff.id, CertificateState::Ready).await;
    // Somebody else takes it in just this moment.
    let mut taken = broken.get::<Certificate>(spare).await.record;
    taken.state = CertificateState::Taken;
    broken.before_the_next(vec![touch(&taken)]);
    assert_eq!(broken.says("server-references").await, "0 servers mended");
    for _ in 0..3 {
        of_server(&broken, staff.id, CertificateState::Ready).await;
    }
    assert_eq!(broken.says("server-references").await, "3 servers mended");
    let mut theirs = Vec::new();
    for server in &servers {
        let id = has(server).await.expect("one of the pool");
        assert_eq!(broken.get::<Certificate>(id).await.record.state, CertificateState::Taken);
        theirs.push(id);
    }
    theirs.sort();
    theirs.dedup();
    assert_eq!(theirs.len(), 3);
}

#[tokio::test]
async fn who_is_changed_meanwhile_is_left_alone() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let here = host(&broken).await;
    let before = Server { hosts: vec![here], ..server(&[Id::new()]) };
    broken.put(&before).await;
    let after = Server { organizations: vec![staff.id], ..before.clone() };
    broken.before_the_next(vec![touch(&after)]);
    assert_eq!(broken.says("server-references").await, "0 servers mended");
    assert_eq!(broken.get::<Server>(before.id).await.record, after);
}
