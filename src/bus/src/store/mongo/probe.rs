//! Why no primary answers: each server of the URI is asked by itself, step by step.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::connect::{ConnectError, Step, check, encrypts, of_options};

/// How long each step may take.
const STEP: Duration = Duration::from_millis(1500);

/// How long connecting may take, TLS included: less than a step, so that the reason is told.
const HANDSHAKE: Duration = Duration::from_millis(1000);

/// The most servers that are asked.
const SERVERS: usize = 5;

/// Where mongod listens if nothing else is said.
const PORT: u16 = 27017;

/// The oldest version that the driver speaks to.
pub const OLDEST: &str = "4.4";

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
        match ask(server, options).await {
            Ok(spoken) => return of_member(&spoken.hello, options).await,
            Err(error) => first = first.or(Some(error)),
        }
    }
    let nobody = || ConnectError::new(Step::Uri, "it names no server", "write at least one HOST:PORT");
    let last = first.unwrap_or_else(nobody);
    Diagnosis { hopeless: (last.step != Step::Connect).then(|| last.clone()), last }
}

/// What a server says of itself.
pub async fn ask(server: &ServerAddress, options: &ClientOptions) -> Result<Spoken, ConnectError> {
    reach(server, &resolve(server).await?).await?;
    speak(server, options).await
}

/// The addresses of a server's name. A socket in the file system has none.
pub async fn resolve(server: &ServerAddress) -> Result<Vec<SocketAddr>, ConnectError> {
    let ServerAddress::Tcp { host, port } = server else { return Ok(Vec::new()) };
    let resolving = format!("the address of {host} was not found");
    let remedy = "check the name in the URI and this host's name servers";
    match timeout(STEP, lookup_host((host.as_str(), port.unwrap_or(PORT)))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(ConnectError::new(Step::Resolve, format!("{resolving}: {error}"), remedy)),
        Err(_) => Err(ConnectError::new(Step::Resolve, format!("{resolving} in time"), remedy)),
    }
}

/// Whether there is anybody at these addresses of a server.
pub async fn reach(server: &ServerAddress, addresses: &[SocketAddr]) -> Result<(), ConnectError> {
    if matches!(server, ServerAddress::Unix { .. }) {
        return Ok(());
    }
    match timeout(STEP, TcpStream::connect(addresses)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ConnectError::new(
            Step::Connect,
            format!("{server} cannot be reached: {error}"),
            "check that mongod runs there, listens on that address (--bind_ip) and that no firewall is between",
        )),
        Err(_) => Err(ConnectError::new(
            Step::Connect,
            format!("{server} does not answer"),
            "check the route to it and that no firewall is between",
        )),
    }
}

/// A server's own word.
#[derive(Debug)]
pub struct Spoken {
    /// Its answer to `hello`.
    pub hello: Document,
    /// So many milliseconds its clock is before this machine's; give or take `slack`.
    pub ahead: i64,
    /// Half of the time that the answer took, in milliseconds.
    pub slack: i64,
}

/// Asks one server alone, without logging in.
pub async fn speak(server: &ServerAddress, options: &ClientOptions) -> Result<Spoken, ConnectError> {
    let mut alone = alone(server, options);
    alone.credential = None;
    let client = Client::with_options(alone).map_err(|error| of_options(&error))?;
    let asked = timeout(STEP * 2, async {
        let admin = client.database("admin");
        // The first one takes the time that it takes to connect.
        admin.run_command(doc! { "hello": 1 }).await?;
        let (sent, wall) = (Instant::now(), now());
        let hello = admin.run_command(doc! { "hello": 1 }).await?;
        let slack = sent.elapsed().as_millis() as i64 / 2;
        let there = hello.get_datetime("localTime").map_or(wall, |time| time.timestamp_millis());
        Ok(Spoken { hello, ahead: there - wall - slack, slack })
    });
    let asked = asked.await;
    client.shutdown().immediate(true).await;
    match asked {
        Ok(spoken) => spoken.map_err(|error| of_hello(server, options, &error)),
        Err(_) => Err(silent(server)),
    }
}

/// The options for one server alone, whatever it is.
#[must_use]
pub fn alone(server: &ServerAddress, options: &ClientOptions) -> ClientOptions {
    let mut alone = options.clone();
    alone.hosts = vec![server.clone()];
    alone.direct_connection = Some(true);
    alone.repl_set_name = None;
    alone.server_selection_timeout = Some(STEP);
    alone.connect_timeout = Some(HANDSHAKE);
    alone.sdam_event_handler = None;
    alone
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

fn silent(server: &ServerAddress) -> ConnectError {
    ConnectError::new(
        Step::Connect,
        format!("{server} takes the connection and then says nothing"),
        "check that a MongoDB server listens there and is not frozen",
    )
}

fn of_hello(server: &ServerAddress, options: &ClientOptions, error: &Error) -> ConnectError {
    let why = reason(error);
    if why.contains("requires at least") || why.contains("wire version") {
        let remedy = format!("install MongoDB {OLDEST} or later there");
        return ConnectError::new(Step::Version, format!("{server} is too old: {why}"), remedy);
    }
    if why.contains("timed out") || why.contains("deadline has elapsed") || why.contains("timeout") {
        return silent(server);
    }
    if !encrypts(options) {
        return ConnectError::new(
            Step::Tls,
            format!("{server} closes the connection: {why}"),
            "if the server demands TLS, add tls=true to the URI, and tlsCAFile=FILE unless a public CA signed its \
             certificate",
        );
    }
    let remedy = if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        "name the file with the CA of its certificate by tlsCAFile in the URI; without that, public CAs are believed"
    } else if why.contains("not valid for") || why.contains("NotValidForName") {
        "write a name that the certificate is for into the URI, and into rs.conf(); or give the server a certificate for \
         this one"
    } else if why.contains("Expired") || why.contains("expired") || why.contains("NotValidYet") {
        "give the server a certificate that is valid now, and check this machine's clock"
    } else {
        "check that the server speaks TLS: otherwise remove tls=true from the URI"
    };
    ConnectError::new(Step::Tls, format!("{server} cannot be spoken to over TLS: {why}"), remedy)
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
    if let Err(error) = belongs(hello, options) {
        return Diagnosis { hopeless: Some(error.clone()), last: error };
    }
    let name = hello.get_str("setName").unwrap_or_default();
    let members = hello.get_array("hosts").cloned().unwrap_or_default();
    let members = members.iter().filter_map(|member| ServerAddress::parse(member.as_str()?).ok());
    let reach = async |member: ServerAddress| reach(&member, &resolve(&member).await?).await;
    let reached = join_all(members.map(reach)).await;
    let away: Vec<&str> = reached.iter().filter_map(|it| it.as_ref().err().map(ConnectError::why)).collect();
    let (why, remedy) = if away.is_empty() {
        let why = format!("the replica set {name} has no primary, though all of its members take connections");
        (why, "look at rs.status()")
    } else {
        let (count, all) = (away.len(), reached.len());
        let why = format!("the replica set {name} has no primary; {count} of its {all} members: {}", away.join(", "));
        (why, "start a majority of them; they must be reachable under the names that rs.conf() has for them")
    };
    Diagnosis { hopeless: None, last: ConnectError::new(Step::Topology, why, remedy) }
}

/// Whether a server is a member of the replica set that the URI is about.
pub fn belongs(hello: &Document, options: &ClientOptions) -> Result<(), ConnectError> {
    check(hello)?;
    let name = hello.get_str("setName").unwrap_or_default();
    match options.repl_set_name.as_deref().filter(|wanted| *wanted != name) {
        None => Ok(()),
        Some(wanted) => {
            let why = format!("the URI names the replica set {wanted}, but this is {name}");
            Err(ConnectError::new(Step::Topology, why, format!("write replicaSet={name}")))
        }
    }
}
