//! `culvert store check`, each step failing for real.

use std::net::SocketAddr;

use culvert_bus::store::mongo::{Finding, Mongo, Step, check};
use culvert_model::{HostId, Kind};
use mongodb::bson::doc;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::mongod::ReplicaSet;
use crate::secure::Secure;
use crate::{conformance, open};

/// What a check of a URI tells, and how it ends.
async fn checked(uri: &str) -> (Vec<Finding>, Option<Step>) {
    let mut findings = Vec::new();
    let end = check(uri, |finding| findings.push(finding)).await.err();
    for finding in &findings {
        println!("{} {}: {}", if finding.good { "ok    " } else { "FAILED" }, finding.step, finding.text);
        assert!(!finding.text.contains("geheim") && !finding.text.contains("ge%2F") && !finding.text.contains('\n'));
    }
    println!();
    if let Some(error) = &end {
        let last = findings.last().expect("it is told");
        assert!(findings.iter().any(|it| !it.good && it.step == error.step), "{error}");
        assert!(!last.good || error.step < last.step, "nothing is tried behind it: {last:?}");
    }
    (findings, end.map(|error| error.step))
}

/// The check must fail at this step, whose text has these words.
async fn fails(uri: &str, step: Step, words: &[&str]) -> Vec<Finding> {
    let (findings, failed) = checked(uri).await;
    assert_eq!(failed, Some(step), "{findings:?}");
    let text = &findings.iter().find(|it| !it.good && it.step == step).expect("it is told").text;
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    findings
}

fn steps(findings: &[Finding]) -> Vec<Step> {
    let mut steps: Vec<Step> = findings.iter().filter(|it| it.good).map(|it| it.step).collect();
    steps.dedup();
    steps
}

const ALL: [Step; 10] = [
    Step::Uri,
    Step::Resolve,
    Step::Connect,
    Step::Tls,
    Step::Authentication,
    Step::Rights,
    Step::Topology,
    Step::Version,
    Step::Clock,
    Step::Content,
];

/// How many of the steps went well before one failed.
fn before(findings: &[Finding], step: Step) -> bool {
    let expected: Vec<Step> = ALL.into_iter().take_while(|it| *it != step).collect();
    steps(findings) == expected
}

#[tokio::test]
async fn a_good_database_passes_and_is_left_as_it_was() {
    let secure = Secure::start(3).expect("a replica set");
    let (findings, failed) = checked(&secure.uri()).await;
    assert_eq!(failed, None);
    assert_eq!(steps(&findings), ALL);
    assert!(findings.iter().all(|it| it.good && !it.text.contains("warning")), "{findings:?}");
    assert!(findings.last().is_some_and(|it| it.text.contains("no cluster yet")));
    let root = secure.uri_of("reader", "geheim");
    secure.make_user("reader", "geheim", "read", "culvert").expect("the kit may");
    let client = mongodb::Client::with_uri_str(&root).await.expect("a client");
    let made = client.database("culvert").list_collection_names().await.expect("it may read");
    assert_eq!(made, Vec::<String>::new(), "a check makes nothing");
    // The same user is not enough.
    let findings = fails(&root, Step::Rights, &["reader", "insert", "readWrite on culvert"]).await;
    assert!(before(&findings, Step::Rights));

    let host = HostId::new();
    let store = Mongo::connect(&secure.uri(), host).await.expect("the store opens");
    let subject = conformance::Subject { store, host };
    subject.make(Kind::Host, &host.to_string(), &json!({ "name": "a" })).await;
    let (findings, _) = checked(&secure.uri()).await;
    assert!(findings.last().is_some_and(|it| it.text.contains("a cluster of 1 host, 0 of which")), "{findings:?}");

    let address = secure.set.address(0);
    let findings =
        fails(&secure.uri().replacen("ge%2Fheim", "geheimer", 1), Step::Authentication, &["authSource"]).await;
    assert!(before(&findings, Step::Authentication));
    let nobody = format!("mongodb://{address}/culvert?tls=true&tlsCAFile={}", secure.ca().display());
    fails(&nobody, Step::Authentication, &["demands a user", "USER:PASSWORD"]).await;
    let findings = fails(&format!("mongodb://{address}/culvert"), Step::Tls, &["tls=true"]).await;
    assert!(before(&findings, Step::Tls));
    fails(&format!("mongodb://{address}/culvert?tls=true"), Step::Tls, &["UnknownIssuer", "tlsCAFile"]).await;
    let other = nobody.replacen("127.0.0.1", "localhost", 1);
    fails(&other, Step::Tls, &["not valid for", "localhost"]).await;
    let missing = format!("mongodb://{address}/culvert?tls=true&tlsCAFile=/nowhere/ca.pem");
    fails(&missing, Step::Tls, &["/nowhere/ca.pem", "/etc/ssl/certs"]).await;
}

#[tokio::test]
async fn servers_that_cannot_be_spoken_to() {
    fails("mongodb://u:geheim@no-such-host.invalid/", Step::Resolve, &["no-such-host.invalid", "name servers"]).await;
    fails("mongodb://u:geheim@localhost/?ssl_ca_certs=x", Step::Uri, &["ssl_ca_certs"]).await;
    let closed = closed().await;
    let findings = fails(&format!("mongodb://u:geheim@{closed}/"), Step::Connect, &["mongod runs there"]).await;
    assert!(before(&findings, Step::Connect));
    let silent = silent().await;
    fails(&format!("mongodb://u:geheim@{silent}/"), Step::Connect, &["says nothing", "frozen"]).await;
    fails(&format!("mongodb://u:geheim@{silent}/?tls=true"), Step::Connect, &["says nothing", "frozen"]).await;
    // One of several is enough to go on, and each is named.
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = format!("mongodb://{closed},no-such-host.invalid,{}/?replicaSet=rs0", set.address(0));
    let (findings, failed) = checked(&uri).await;
    assert_eq!(failed, None);
    let bad: Vec<Step> = findings.iter().filter(|it| !it.good).map(|it| it.step).collect();
    assert_eq!(bad, [Step::Resolve, Step::Connect]);
    assert!(findings.iter().any(|it| it.text.contains("nobody has to log in; warning")));
    fails(&format!("mongodb://{}/?tls=true", set.address(0)), Step::Tls, &["remove tls=true"]).await;
}

async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it has an address")
}

/// Takes connections and says nothing.
async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 512];
                while stream.read(&mut heard).await.is_ok_and(|count| count > 0) {}
            });
        }
    });
    address
}

#[tokio::test]
async fn servers_that_are_no_replica_set() {
    let alone = ReplicaSet::start_alone(false).expect("a server");
    let uri = format!("mongodb://{}/culvert", alone.address(0));
    let findings =
        fails(&uri, Step::Topology, &["standalone", "1. start mongod with --replSet rs0", "2. run rs.initiate()"])
            .await;
    assert!(before(&findings, Step::Topology));
    drop(alone);
    let waiting = ReplicaSet::start_alone(true).expect("a server");
    fails(&format!("mongodb://{}/culvert", waiting.address(0)), Step::Topology, &["rs.initiate()"]).await;
    drop(waiting);
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = format!("mongodb://{}/?replicaSet=other", set.address(0));
    fails(&uri, Step::Topology, &["the replica set other, but this is rs0", "replicaSet=rs0"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_without_its_majority() {
    let _turn = crate::outages::alone().await;
    let mut set = ReplicaSet::start(3).expect("a replica set");
    let primary = set.primary().expect("a primary");
    let uri = set.uri("culvert");
    set.kill((primary + 1) % 3).expect("it can be killed");
    let (findings, failed) = checked(&uri).await;
    assert_eq!(failed, None, "two of three are enough");
    assert_eq!(findings.iter().filter(|it| !it.good).map(|it| it.step).collect::<Vec<_>>(), [Step::Connect]);
    // The URI need not name the member that is away.
    let one = format!("mongodb://{}/culvert", set.address(primary));
    let (findings, failed) = checked(&one).await;
    assert_eq!(failed, None);
    assert!(findings.iter().any(|it| !it.good && it.step == Step::Topology && it.text.contains("is away")));
    set.kill(primary).expect("it can be killed");
    fails(&uri, Step::Topology, &["no primary", "2 of its 3 members", "majority"]).await;
}

#[tokio::test]
async fn what_stands_in_the_way() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let client = mongodb::Client::with_uri_str(&uri).await.expect("a client");
    let database = client.database("culvert");
    database.create_collection("theirs").await.expect("it can be made");
    let (findings, failed) = checked(&uri).await;
    assert_eq!(failed, None);
    assert!(findings.last().is_some_and(|it| it.text.contains("beside 1 collection of others")));
    database.create_collection("messages").await.expect("it can be made");
    fails(&uri, Step::Content, &["messages in culvert is not capped", "another database"]).await;
    database.collection::<mongodb::bson::Document>("messages").drop().await.expect("it can be dropped");
    let subject = open(&set).await;
    let importing = json!({ "id": "cluster", "state": "importing", "by": subject.host, "since": 1, "format": 1 });
    subject.make(Kind::Cluster, "cluster", &importing).await;
    let (findings, _) = checked(&uri).await;
    let text = &findings.last().expect("it is told").text;
    assert!(text.contains("moved in by") && text.contains(&subject.host.to_string()), "{text}");
    let broken = doc! { "$set": { "b": { "state": "nonsense" } } };
    database.collection::<mongodb::bson::Document>("cluster").update_one(doc! {}, broken).await.expect("it is there");
    fails(&uri, Step::Content, &["cannot be read"]).await;
}
