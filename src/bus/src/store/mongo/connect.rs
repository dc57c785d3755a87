//! Connecting: the options that our deadlines need, and one clear line for people when it does not work.

use std::fmt;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ConnectionString, ReadPreference, SelectionCriteria, Tls};
use tokio::time::{Instant, sleep, timeout};

use culvert_model::HostId;

use super::attempt::SELECTION;
use super::base::{APP, CONNECTIONS};
use super::schema::SchemaError;
use super::{home, probe};

/// How long to look for a primary at start: an election takes 12 s at worst with a database's default settings.
const GREETING: Duration = Duration::from_secs(15);

/// How long one look may take.
const LOOK: Duration = Duration::from_millis(2000);

/// Looking up a `mongodb+srv` name.
const RESOLVING: Duration = Duration::from_secs(5);

/// The fastest that the driver's monitors can be.
const HEARTBEAT: Duration = Duration::from_millis(500);
const CONNECTING: Duration = Duration::from_millis(1000);

/// What to do about files that cannot be used. The bus reaches few places of the file system.
const TLS_FILES: &str = "check the files that tlsCAFile and tlsCertificateKeyFile name: the user culvert-bus must be able \
                         to read them, below /etc/ssl/certs";

/// The database, if the URI names none.
const DATABASE: &str = "culvert";

/// What failed on the way to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Reading the URI.
    Uri,
    /// Finding the addresses of its names.
    Resolve,
    /// Reaching a server there.
    Connect,
    /// Encrypting the connection.
    Tls,
    /// Logging in.
    Authentication,
    /// What the database's user may do.
    Rights,
    /// What kind of servers these are.
    Topology,
    /// Whether they are of a version that is known to do.
    Version,
    /// How their clock and this machine's go together.
    Clock,
    /// What is in the database.
    Content,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uri => "the URI",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Authentication => "authentication",
            Self::Rights => "rights",
            Self::Topology => "topology",
            Self::Version => "version",
            Self::Clock => "clock",
            Self::Content => "content",
        })
    }
}

/// The database cannot be used. Says in one line at which step, why, and what to do; never the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// What failed.
    pub step: Step,
    why: String,
    remedy: String,
}

impl ConnectError {
    /// A step that failed.
    #[must_use]
    pub fn new(step: Step, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { step, why: one_line(&why.into()), remedy: remedy.into() }
    }

    /// What is the matter.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What is the matter and what to do, without the step.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}; {}", self.why, self.remedy)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MongoDB, {}: {}; {}", self.step, self.why, self.remedy)
    }
}

impl std::error::Error for ConnectError {}

/// A client whose primary has answered, and its database's name.
pub struct Connected {
    /// The client.
    pub client: Client,
    /// The database's name.
    pub database: String,
    /// What its monitors see.
    pub seen: tokio::sync::watch::Receiver<Option<home::Home>>,
}

/// Connects to a replica set.
///
/// # Errors
///
/// Says what failed.
pub async fn connect(uri: &str, host: HostId) -> Result<Connected, ConnectError> {
    connect_with(options(uri, host).await?).await
}

/// The options that a URI comes to.
///
/// # Errors
///
/// Says what is wrong with it.
pub async fn options(uri: &str, host: HostId) -> Result<ClientOptions, ConnectError> {
    let mut options = read(uri).await?;
    fit(&mut options, host);
    Ok(options)
}

/// The name of the database that records are kept in.
#[must_use]
pub fn database(options: &ClientOptions) -> String {
    options.default_database.clone().unwrap_or_else(|| DATABASE.into())
}

/// Connects with such options.
///
/// # Errors
///
/// Says what failed.
pub async fn connect_with(mut options: ClientOptions) -> Result<Connected, ConnectError> {
    let database = database(&options);
    let (handler, seen) = home::watch();
    options.sdam_event_handler = Some(handler);
    let client = Client::with_options(options.clone()).map_err(|error| of_options(&error))?;
    greet(&client, &options).await?;
    Ok(Connected { client, database, seen })
}

/// What is wrong with a URI whatever the network says: trying again will not help.
///
/// # Errors
///
/// Says what is wrong.
pub fn check_uri(uri: &str) -> Result<(), ConnectError> {
    let uri = uri.trim();
    if !uri.starts_with("mongodb://") && !uri.starts_with("mongodb+srv://") {
        let why = "it begins neither with mongodb:// nor with mongodb+srv://";
        return Err(ConnectError::new(
            Step::Uri,
            why,
            "write mongodb://USER:PASSWORD@HOST:PORT/DATABASE?replicaSet=NAME",
        ));
    }
    // The driver would take a part of such a password for something else, and name it.
    if let (Some(at), Some(delimiter)) =
        (uri.rfind('@'), uri.find("//").and_then(|it| uri[it + 2..].find(['/', '?', '#'])))
        && delimiter + uri.find("//").unwrap_or(0) + 2 < at
    {
        let why = "the user's name or password holds a character that means something else there";
        return Err(ConnectError::new(
            Step::Uri,
            why,
            "write / ? # [ ] @ : % in them as %2F %3F %23 %5B %5D %40 %3A %25",
        ));
    }
    ConnectionString::parse(uri).map(drop).map_err(|error| of_uri(uri, &error))
}

/// The URI's options.
async fn read(uri: &str) -> Result<ClientOptions, ConnectError> {
    let uri = uri.trim();
    check_uri(uri)?;
    match timeout(RESOLVING, ClientOptions::parse(uri)).await {
        Ok(Ok(options)) => Ok(options),
        Ok(Err(error)) => Err(of_uri(uri, &error)),
        Err(_) => {
            Err(ConnectError::new(Step::Resolve, "the name server does not answer", "check this host's name servers"))
        }
    }
}

fn of_uri(uri: &str, error: &Error) -> ConnectError {
    let ErrorKind::InvalidArgument { message, .. } = error.kind.as_ref() else {
        return ConnectError::new(
            Step::Resolve,
            format!("the name in the mongodb+srv URI was not found: {}", error.kind),
            "check the name and this host's name servers",
        );
    };
    let unknown = message.split_once(" is an invalid option").map(|(name, _)| name);
    let refused = unknown.or_else(|| message.contains("socketTimeoutMS").then_some("socketTimeoutMS"));
    match refused {
        Some(name) => {
            let options = uri.split_once('?').map_or("", |(_, options)| options);
            let written = options.split('&').map(|option| option.split('=').next().unwrap_or_default());
            let written = written.into_iter().find(|it| it.eq_ignore_ascii_case(name)).unwrap_or(name);
            ConnectError::new(Step::Uri, format!("the option {written} is not known"), "remove it from the URI")
        }
        None => ConnectError::new(Step::Uri, message.clone(), "correct the URI"),
    }
}

/// What our deadlines and promises need, whatever the URI says.
fn fit(options: &mut ClientOptions, host: HostId) {
    options.app_name = Some(format!("{APP}-{host}"));
    options.heartbeat_freq.get_or_insert(HEARTBEAT);
    options.connect_timeout.get_or_insert(CONNECTING);
    options.max_pool_size.get_or_insert(CONNECTIONS);
    let selection = options.server_selection_timeout.unwrap_or(SELECTION);
    options.server_selection_timeout = Some(selection.min(SELECTION));
    // With one server alone, nobody would be there after the next election.
    options.direct_connection = None;
    options.retry_reads = Some(true);
    options.retry_writes = Some(true);
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.read_concern = None;
    options.write_concern = None;
}

/// Waits until a primary answers.
async fn greet(client: &Client, options: &ClientOptions) -> Result<(), ConnectError> {
    let ends = Instant::now() + GREETING;
    let admin = client.database("admin");
    loop {
        let failed = match timeout(LOOK, async { admin.run_command(doc! { "hello": 1 }).await }).await {
            Ok(Ok(hello)) => return check(&hello),
            Ok(Err(error)) => match error.kind.as_ref() {
                ErrorKind::Authentication { .. } => return Err(of_authentication(&error)),
                ErrorKind::InvalidTlsConfig { .. } => return Err(of_options(&error)),
                _ => error,
            },
            Err(_) => Error::custom("no answer"),
        };
        // A set that is electing its primary gets the time for it; whatever cannot get better does not.
        let found = probe::diagnose(options).await;
        if let Some(error) = found.hopeless {
            return Err(error);
        }
        if Instant::now() > ends {
            tracing::debug!(error = %failed, "no primary");
            return Err(found.last);
        }
        sleep(HEARTBEAT).await;
    }
}

/// Whether the servers are a replica set.
pub fn check(hello: &Document) -> Result<(), ConnectError> {
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        let why = "this is a router of a sharded cluster, which Culvert does not work with";
        return Err(ConnectError::new(Step::Topology, why, "give the URI of a replica set"));
    }
    if hello.get_bool("isreplicaset").unwrap_or(false) {
        let why = "the server was started with --replSet, but its replica set was never initiated";
        return Err(ConnectError::new(Step::Topology, why, "run rs.initiate() in its shell"));
    }
    if hello.get_str("setName").is_err() {
        let why = "this is a standalone server, and Culvert needs a replica set";
        let remedy = "make it a replica set of one member: 1. start mongod with --replSet rs0, 2. run rs.initiate() in its shell";
        return Err(ConnectError::new(Step::Topology, why, remedy));
    }
    Ok(())
}

/// The collections could not be made.
#[must_use]
pub fn of_schema(error: &SchemaError, database: &str) -> ConnectError {
    let error = match error {
        SchemaError::Foreign(text) => {
            return ConnectError::new(Step::Content, text.clone(), "then start Culvert again");
        }
        SchemaError::Database(error) => error,
    };
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => of_authentication(error),
        _ if demands_a_user(error) => nobody_named(),
        // Unauthorized
        ErrorKind::Command(command) if command.code == 13 => ConnectError::new(
            Step::Rights,
            // Behind this follows the whole command.
            command.message.split(" to execute command").next().unwrap_or_default(),
            format!("give the user the role readWrite on {database}"),
        ),
        ErrorKind::Command(command) if command.code == 11000 => ConnectError::new(
            Step::Content,
            format!("two records in {database} have what only one may have: {}", command.message),
            "remove one of them, or name another database in the URI",
        ),
        kind => ConnectError::new(
            Step::Content,
            format!("the collections could not be made: {kind}"),
            "look at the database's log, then start Culvert again",
        ),
    }
}

/// Nothing was done in time.
#[must_use]
pub fn late(what: &str) -> ConnectError {
    let remedy = "look whether a majority of the replica set's members is up, then start Culvert again";
    ConnectError::new(Step::Connect, format!("the database does not {what} in time"), remedy)
}

/// Whether the database lets nobody do what was asked who has not logged in.
#[must_use]
pub fn demands_a_user(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command)
        if command.code == 13 && command.message.contains("requires authentication"))
}

/// The database demands a user, and the URI names none.
#[must_use]
pub fn nobody_named() -> ConnectError {
    let why = "the database demands a user, and the URI names none";
    let remedy = "write mongodb://USER:PASSWORD@HOST:PORT/DATABASE?authSource=admin";
    ConnectError::new(Step::Authentication, why, remedy)
}

/// The user is not let in.
#[must_use]
pub fn of_authentication(error: &Error) -> ConnectError {
    ConnectError::new(
        Step::Authentication,
        format!("the database does not let the user in: {}", error.kind),
        "check the user's name, the password and authSource in the URI",
    )
}

/// The options cannot be used, or the files that they name.
#[must_use]
pub fn of_options(error: &Error) -> ConnectError {
    match error.kind.as_ref() {
        ErrorKind::InvalidTlsConfig { message, .. } => ConnectError::new(Step::Tls, message.clone(), TLS_FILES),
        ErrorKind::Io(error) => ConnectError::new(Step::Tls, error.to_string(), TLS_FILES),
        kind => ConnectError::new(Step::Uri, kind.to_string(), "correct the URI"),
    }
}

/// Whether the connection is to be encrypted.
#[must_use]
pub const fn encrypts(options: &ClientOptions) -> bool {
    matches!(options.tls, Some(Tls::Enabled(_)))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(uri: &str) -> String {
        let error = read(uri).await.expect_err("the URI is bad");
        assert!(!error.to_string().contains("geheim"), "{error}");
        error.to_string()
    }

    #[tokio::test]
    async fn unknown_options_are_named() {
        for option in ["ssl_ca_certs=x", "wTimeout=5", "socketTimeoutMS=5", "connect=direct", "compressors=zstd"] {
            let said = refused(&format!("mongodb://u:geheim@localhost/?{option}")).await;
            let name = option.split('=').next().expect("a name");
            assert!(said.starts_with(&format!("MongoDB, the URI: the option {name} is not known")), "{said}");
        }
    }

    #[tokio::test]
    async fn passwords_are_never_named() {
        for uri in [
            "mongodb://u:geheim?geheim=1@localhost/",
            "mongodb://u:geheim/geheim@localhost/?w=majority",
            "mongodb://u:geheim@geheim@localhost/",
            "mongodb://u:geheim%zz@localhost/",
            "mongodb://u:geheim:geheim@localhost/",
            "mongodb://u:geheim@/",
            "mongodb://u:geheim@localhost:99999/",
            "geheim",
        ] {
            refused(uri).await;
        }
    }

    #[tokio::test]
    async fn our_deadlines_win() {
        let uri = "mongodb://localhost/x?serverSelectionTimeoutMS=60000&readPreference=secondary&w=1&retryWrites=false";
        let mut options = read(uri).await.expect("the URI is good");
        fit(&mut options, HostId::new());
        assert_eq!(options.server_selection_timeout, Some(SELECTION));
        assert_eq!(options.retry_writes, Some(true));
        assert!(options.write_concern.is_none());
        assert_eq!(options.default_database.as_deref(), Some("x"));
    }

    #[test]
    fn only_replica_sets_will_do() {
        let standalone = check(&doc! { "isWritablePrimary": true }).expect_err("it is no set").to_string();
        assert!(standalone.contains("--replSet rs0") && standalone.contains("rs.initiate()"), "{standalone}");
        assert!(check(&doc! { "isreplicaset": true }).is_err() && check(&doc! { "msg": "isdbgrid" }).is_err());
        assert_eq!(check(&doc! { "setName": "rs0" }), Ok(()));
    }
}
