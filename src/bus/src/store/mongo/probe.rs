//! Why no primary answers: each server of the URI is asked by itself, step by step.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::connect::{ConnectError, Step, check, encrypts};

/// How long each step may take.
const STEP: Duration = Duration::from_millis(1500);

/// The most servers that are asked.
const SERVERS: usize = 5;

/// What is the matter.
pub struct Diagnosis {
    /// What waiting does not mend.
    pub hopeless: Option<ConnectError>,
    /// What to say when there is no more time.
    pub last: ConnectError,
}

/// Asks the URI's servers.
pub async fn diagnose(options: &ClientOptions) -> Diagnosis {
    let mut first = None;
    for server in options.hosts.iter().take(SERVERS) {
        match probe(server, options).await {
            Ok(hello) => return of_member(&hello, options).await,
            Err(error) => first = first.or(Some(error)),
        }
    }
    let nobody = || ConnectError::new(Step::Uri, "it names no server", "write at least one HOST:PORT");
    let last = first.unwrap_or_else(nobody);
    Diagnosis { hopeless: (last.step != Step::Connect).then(|| last.clone()), last }
}

/// What a server says of itself.
async fn probe(server: &ServerAddress, options: &ClientOptions) -> Result<Document, ConnectError> {
    reach(server).await?;
    let alone = ClientOptions::builder()
        .hosts(vec![server.clone()])
        .direct_connection(true)
        .tls(options.tls.clone())
        .server_selection_timeout(STEP)
        .connect_timeout(STEP)
        .build();
    let client = Client::with_options(alone).map_err(|error| of_hello(server, options, &error))?;
    let asked = timeout(STEP * 2, async { client.database("admin").run_command(doc! { "hello": 1 }).await }).await;
    client.shutdown().immediate(true).await;
    match asked {
        Ok(hello) => hello.map_err(|error| of_hello(server, options, &error)),
        Err(_) => Err(ConnectError::new(
            Step::Connect,
            format!("{server} does not answer"),
            "check that a MongoDB server listens there and is not frozen",
        )),
    }
}

/// Whether there is anybody at the address.
async fn reach(server: &ServerAddress) -> Result<(), ConnectError> {
    let ServerAddress::Tcp { host, port } = server else { return Ok(()) };
    let port = port.unwrap_or(27017);
    let resolving = format!("the address of {host} was not found");
    let remedy = "check the name in the URI and this host's name servers";
    let addresses: Vec<_> = match timeout(STEP, lookup_host((host.as_str(), port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(ConnectError::new(Step::Resolve, format!("{resolving}: {error}"), remedy)),
        Err(_) => return Err(ConnectError::new(Step::Resolve, format!("{resolving} in time"), remedy)),
    };
    match timeout(STEP, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ConnectError::new(
            Step::Connect,
            format!("{host}:{port} cannot be reached: {error}"),
            "check that mongod runs there, listens on that address (--bind_ip) and that no firewall is between",
        )),
        Err(_) => Err(ConnectError::new(
            Step::Connect,
            format!("{host}:{port} does not answer"),
            "check the route to it and that no firewall is between",
        )),
    }
}

fn of_hello(server: &ServerAddress, options: &ClientOptions, error: &Error) -> ConnectError {
    let why = reason(error);
    if encrypts(options) {
        return ConnectError::new(
            Step::Tls,
            format!("{server} cannot be spoken to over TLS: {why}"),
            "check that the server speaks TLS, that tlsCAFile names the CA of its certificate, and that the certificate is \
             for the name in the URI",
        );
    }
    ConnectError::new(
        Step::Tls,
        format!("{server} closes the connection: {why}"),
        "if the server demands TLS, add tls=true to the URI, and tlsCAFile=FILE unless a public CA signed its certificate",
    )
}

/// The innermost reason in the driver's long text about all servers.
fn reason(error: &Error) -> String {
    let text = match error.kind.as_ref() {
        ErrorKind::ServerSelection { message, .. } => message.clone(),
        kind => kind.to_string(),
    };
    let inner = text.rsplit_once("Error: Kind: ").map_or(text.as_str(), |(_, inner)| inner);
    inner.split(", labels:").next().unwrap_or(inner).to_owned()
}

/// A server answers, but the driver finds no primary.
async fn of_member(hello: &Document, options: &ClientOptions) -> Diagnosis {
    if let Err(error) = check(hello) {
        return Diagnosis { hopeless: Some(error.clone()), last: error };
    }
    let name = hello.get_str("setName").unwrap_or_default();
    if let Some(wanted) = options.repl_set_name.as_deref().filter(|wanted| *wanted != name) {
        let why = format!("the URI names the replica set {wanted}, but this is {name}");
        let error = ConnectError::new(Step::Topology, why, format!("write replicaSet={name}"));
        return Diagnosis { hopeless: Some(error.clone()), last: error };
    }
    let members = hello.get_array("hosts").cloned().unwrap_or_default();
    for member in members.iter().filter_map(|member| member.as_str()).take(SERVERS) {
        let Ok(address) = ServerAddress::parse(member) else { continue };
        if let Err(error) = reach(&address).await {
            let why = format!(
                "the replica set {name} has no primary that can be reached, and of its member {member}: {error}"
            );
            let remedy = "members must be reachable under the names that rs.conf() has for them";
            return Diagnosis { hopeless: None, last: ConnectError::new(Step::Topology, why, remedy) };
        }
    }
    let why = format!("the replica set {name} has no primary");
    let remedy = "start a majority of its members and look at rs.status()";
    Diagnosis { hopeless: None, last: ConnectError::new(Step::Topology, why, remedy) }
}
