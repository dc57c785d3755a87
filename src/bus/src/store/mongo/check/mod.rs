//! Whether a database can be used, step by step. The first steps are tried at every server that the URI names; nothing is
//! written. Serving connects in the same way ([`super::connect`]).

mod content;
mod judge;
mod rights;

use std::net::SocketAddr;

use culvert_model::HostId;
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};

use super::base::Base;
use super::connect::{self, ConnectError, Step};
use super::probe::{self, Spoken};

/// What came of a step, at one server or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// Whether it went well.
    pub good: bool,
    /// What was found; or what is the matter, and what to do. One line, without the password.
    pub text: String,
}

/// Tries all steps in order, and tells what came of each. What cannot be tried because of an earlier one is not told.
///
/// A server of the URI that is away does no harm as long as the set has its primary.
///
/// # Errors
///
/// Why the database cannot be used.
pub async fn check(uri: &str, tell: impl FnMut(Finding) + Send) -> Result<(), ConnectError> {
    let mut teller = Teller(tell);
    match steps(uri, &mut teller).await {
        Ok(()) => Ok(()),
        Err(End::Told(error)) => Err(error),
        Err(End::New(error)) => {
            teller.bad(&error);
            Err(error)
        }
    }
}

/// Why there are no more steps.
enum End {
    /// It was told already.
    Told(ConnectError),
    /// It is to be told.
    New(ConnectError),
}

impl From<ConnectError> for End {
    fn from(error: ConnectError) -> Self {
        Self::New(error)
    }
}

struct Teller<F>(F);

impl<F: FnMut(Finding)> Teller<F> {
    fn good(&mut self, step: Step, text: impl Into<String>) {
        (self.0)(Finding { step, good: true, text: text.into() });
    }

    fn bad(&mut self, error: &ConnectError) {
        (self.0)(Finding { step: error.step, good: false, text: error.text() });
    }

    /// Those at which the step went well.
    fn sift<T>(
        &mut self,
        step: Step,
        tried: Vec<(ServerAddress, Result<T, ConnectError>)>,
        text: impl Fn(&ServerAddress, &T) -> String,
    ) -> Result<Vec<(ServerAddress, T)>, End> {
        let (mut good, mut first) = (Vec::new(), None);
        for (server, result) in tried {
            match result {
                Ok(found) => {
                    self.good(step, text(&server, &found));
                    good.push((server, found));
                }
                Err(error) => {
                    self.bad(&error);
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if good.is_empty() => Err(End::Told(error)),
            _ => Ok(good),
        }
    }
}

async fn steps<F: FnMut(Finding) + Send>(uri: &str, teller: &mut Teller<F>) -> Result<(), End> {
    let options = connect::options(uri, HostId::new()).await?;
    teller.good(Step::Uri, judge::uri(&options));
    let servers = servers(&options, teller).await?;
    // In a set that was never initiated nobody can be let in, which is not the user's fault.
    if let Some((_, first)) = servers.first()
        && first.hello.get_bool("isreplicaset").unwrap_or(false)
    {
        probe::belongs(&first.hello, &options)?;
    }
    log_in(&servers, &options, teller).await?;
    let members = topology(servers, &options, teller).await?;
    let connected = connect::connect_with(options).await?;
    let database = connected.client.database(&connected.database);
    teller.good(Step::Topology, "the primary answers");
    teller.good(Step::Version, judge::version(&database).await?);
    teller.good(Step::Clock, judge::clock(&members));
    let base = Base::new(connected.client, database, HostId::new());
    teller.good(Step::Content, content::look(&base).await?);
    Ok(())
}

/// The URI's servers that can be spoken to.
async fn servers<F: FnMut(Finding)>(
    options: &ClientOptions,
    teller: &mut Teller<F>,
) -> Result<Vec<(ServerAddress, Spoken)>, End> {
    let tried = join_all(options.hosts.iter().map(async |it| (it.clone(), probe::resolve(it).await))).await;
    let found = teller.sift(Step::Resolve, tried, |server, addresses| format!("{server} is {}", list(addresses)))?;
    let reach = async |(server, addresses): &(ServerAddress, Vec<SocketAddr>)| {
        (server.clone(), probe::reach(server, addresses).await)
    };
    let tried = join_all(found.iter().map(reach)).await;
    let reached = teller.sift(Step::Connect, tried, |server, ()| format!("{server} takes connections"))?;
    let speak = async |(server, ()): &(ServerAddress, ())| (server.clone(), probe::speak(server, options).await);
    let tried = join_all(reached.iter().map(speak)).await;
    let encrypts = connect::encrypts(options);
    teller.sift(Step::Tls, tried, |server, _| judge::encryption(server, encrypts))
}

fn list(addresses: &[SocketAddr]) -> String {
    let mut addresses: Vec<String> = addresses.iter().map(|it| it.ip().to_string()).collect();
    addresses.dedup();
    if addresses.is_empty() { "a socket of this machine".into() } else { addresses.join(", ") }
}

/// Logs in at one server, and looks at what its user may do.
async fn log_in<F: FnMut(Finding)>(
    servers: &[(ServerAddress, Spoken)],
    options: &ClientOptions,
    teller: &mut Teller<F>,
) -> Result<(), End> {
    let holds_data = |(_, spoken): &&(ServerAddress, Spoken)| !spoken.hello.get_bool("arbiterOnly").unwrap_or(false);
    let Some((server, _)) = servers.iter().find(holds_data) else {
        let why = "the URI names arbiters only";
        return Err(ConnectError::new(Step::Authentication, why, "name members that hold data").into());
    };
    let client = Client::with_options(probe::alone(server, options)).map_err(|error| connect::of_options(&error))?;
    let result = rights::look(&client, options).await;
    client.shutdown().immediate(true).await;
    let (login, rights) = result?;
    teller.good(Step::Authentication, login);
    teller.good(Step::Rights, rights?);
    Ok(())
}

/// Looks at all members of the set, also those that the URI does not name.
async fn topology<F: FnMut(Finding)>(
    servers: Vec<(ServerAddress, Spoken)>,
    options: &ClientOptions,
    teller: &mut Teller<F>,
) -> Result<Vec<(ServerAddress, Spoken)>, End> {
    servers.iter().try_for_each(|(_, spoken)| probe::belongs(&spoken.hello, options))?;
    let names = servers.first().map(|(_, spoken)| names(&spoken.hello)).unwrap_or_default();
    let known: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
    let unnamed = names.iter().filter(|it| !known.contains(it)).filter_map(|it| ServerAddress::parse(it).ok());
    let looked = join_all(unnamed.map(async |it| (probe::ask(&it, options).await, it))).await;
    let mut members = servers;
    for (spoken, server) in looked {
        match spoken {
            Ok(spoken) => members.push((server, spoken)),
            Err(error) => teller.bad(&ConnectError::new(
                Step::Topology,
                format!("the set's member {server} is away ({})", error.text()),
                "members must be reachable under the names that rs.conf() has for them",
            )),
        }
    }
    teller.good(Step::Topology, judge::members(&names, &known, &members));
    Ok(members)
}

/// The set's members, as they know each other.
fn names(hello: &Document) -> Vec<String> {
    let lists = ["hosts", "passives"].into_iter().filter_map(|list| hello.get_array(list).ok());
    lists.flatten().filter_map(Bson::as_str).map(Into::into).collect()
}

/// The command that tells who is logged in, and what they may do.
fn status() -> Document {
    doc! { "connectionStatus": 1, "showPrivileges": true }
}
