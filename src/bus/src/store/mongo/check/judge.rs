//! What to say of the things that a check found.

use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::time::timeout;

use crate::store::mongo::connect::{self, ConnectError, Step};
use crate::store::mongo::probe::{OLDEST, Spoken};

/// The oldest version that will do, as [`OLDEST`], and the one that is tried with every change to Culvert.
const OLDEST_NUMBERS: (u32, u32) = (4, 4);
const TRIED: &str = "6.0";

/// Clocks that are further apart than this, in milliseconds, are worth a word.
const APART: i64 = 1000;

/// How long a question may take.
const ASKING: Duration = Duration::from_secs(3);

/// What the URI is about.
pub fn uri(options: &ClientOptions) -> String {
    let servers = many(options.hosts.len(), "server", "servers");
    let set = options.repl_set_name.as_ref().map(|set| format!(" of the replica set {set}")).unwrap_or_default();
    format!("the database {} on {servers}{set}", connect::database(options))
}

/// What is to be said of a server that speaks.
pub fn encryption(server: &ServerAddress, encrypts: bool) -> String {
    if encrypts {
        return format!("{server} speaks TLS, and its certificate is good");
    }
    let here = match server {
        ServerAddress::Tcp { host, .. } => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
        }
        _ => true,
    };
    if here {
        return format!("{server} is on this machine: no TLS, and none needed");
    }
    format!(
        "{server} speaks; warning: without TLS, whoever is on the way reads and changes everything: add tls=true to the URI \
         once the servers speak it"
    )
}

/// The set and its members.
pub fn members(names: &[String], known: &[String], members: &[(ServerAddress, Spoken)]) -> String {
    let set = members.first().and_then(|(_, spoken)| spoken.hello.get_str("setName").ok()).unwrap_or_default();
    let is = |what| move |(_, it): &&(ServerAddress, Spoken)| it.hello.get_bool(what).unwrap_or(false);
    let primary = match members.iter().find(is("isWritablePrimary")) {
        Some((server, _)) => format!("{server} is primary"),
        None => "none says that it is primary".into(),
    };
    let secondaries = many(members.iter().filter(is("secondary")).count(), "secondary answers", "secondaries answer");
    let mut text = match names.len() {
        1 => format!("the replica set {set} has one member: if it is lost, nothing is left"),
        count => format!("the replica set {set} has {count} members with data: {primary}, {secondaries}"),
    };
    let strangers: Vec<&str> = known.iter().filter(|it| !names.contains(it)).map(String::as_str).collect();
    if !strangers.is_empty() {
        text += &format!(
            "; warning: it does not know {} by that name: write its own names into the URI, {}",
            strangers.join(", "),
            names.join(",")
        );
    }
    text
}

/// So many of something.
pub fn many(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// The primary's version, and how old it behaves.
pub async fn version(database: &Database) -> Result<String, ConnectError> {
    let info = ask(database.run_command(doc! { "buildInfo": 1 })).await.and_then(Result::ok).unwrap_or_default();
    let version = info.get_str("version").unwrap_or_default();
    of_version(version)?;
    let admin = database.client().database("admin");
    let compatibility = ask(admin.run_command(doc! { "getParameter": 1, "featureCompatibilityVersion": 1 })).await;
    let compatibility = compatibility.and_then(Result::ok).and_then(|it| {
        let it = it.get_document("featureCompatibilityVersion").ok()?;
        it.get_str("version").ok().map(ToOwned::to_owned)
    });
    let mut text = format!("MongoDB {version}: {OLDEST} and later will do, {TRIED} is what Culvert is tried with");
    if let Some(old) = compatibility.filter(|it| !version.starts_with(it.as_str())) {
        text += &format!(
            "; warning: it still behaves as {old}: run setFeatureCompatibilityVersion once all members are of the new version"
        );
    }
    Ok(text)
}

async fn ask(question: impl IntoFuture<Output = Result<Document, Error>>) -> Option<Result<Document, Error>> {
    timeout(ASKING, question.into_future()).await.ok()
}

fn of_version(version: &str) -> Result<(), ConnectError> {
    let mut numbers = version.split('.').map(|it| it.parse::<u32>().ok());
    let numbers = (numbers.next().flatten(), numbers.next().flatten());
    let (Some(major), Some(minor)) = numbers else {
        let why = "the primary does not say of which version it is";
        return Err(ConnectError::new(Step::Version, why, "check that it is a MongoDB server"));
    };
    if (major, minor) < OLDEST_NUMBERS {
        let remedy = format!("install MongoDB {OLDEST} or later");
        return Err(ConnectError::new(Step::Version, format!("MongoDB {version} is too old"), remedy));
    }
    Ok(())
}

/// How the clocks go together.
pub fn clock(members: &[(ServerAddress, Spoken)]) -> String {
    let primary = members.iter().find(|(_, it)| it.hello.get_bool("isWritablePrimary").unwrap_or(false));
    let Some((_, primary)) = primary.or(members.first()) else { return "unknown".into() };
    let mut text = format!("the database's clock is {} this machine's", apart(primary.ahead));
    if primary.ahead.abs() - primary.slack > APART {
        text += "; warning: set both by NTP. Hosts, leases and whatever expires go by the database's clock and are safe; \
                 but certificates, one-time passwords and the times in logs go by this machine's";
    }
    let others: Vec<(i64, i64)> = members.iter().map(|(_, it)| (it.ahead, it.slack)).collect();
    let (least, most) = (others.iter().map(|it| it.0).min(), others.iter().map(|it| it.0).max());
    let slack = others.iter().map(|it| it.1).max().unwrap_or_default();
    let spread = most.unwrap_or_default() - least.unwrap_or_default();
    if spread - 2 * slack > APART {
        text += &format!(
            "; warning: the clocks of its members are {} apart: set them by NTP, or leases end early or late by that when \
             another becomes primary",
            seconds(spread)
        );
    }
    text
}

fn apart(ahead: i64) -> String {
    if ahead < 0 { format!("{} behind", seconds(ahead)) } else { format!("{} ahead of", seconds(ahead)) }
}

fn seconds(millis: i64) -> String {
    let millis = millis.abs();
    if millis < APART { format!("{millis} ms") } else { format!("{}.{} s", millis / 1000, millis % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, primary: bool, ahead: i64) -> (ServerAddress, Spoken) {
        let hello = doc! { "setName": "rs0", "isWritablePrimary": primary, "secondary": !primary };
        (ServerAddress::parse(name).expect("a name"), Spoken { hello, ahead, slack: 3 })
    }

    #[test]
    fn old_versions_are_refused() {
        for good in ["4.4.0", "6.0.5", "10.1.2-rc0"] {
            assert_eq!(of_version(good), Ok(()), "{good}");
        }
        for bad in ["4.2.24", "3.6", "", "six"] {
            assert!(of_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clocks_that_go_apart_are_told() {
        let near = clock(&[member("a", false, 40), member("b", true, -12)]);
        assert_eq!(near, "the database's clock is 12 ms behind this machine's");
        let far = clock(&[member("a", true, 3_600_250)]);
        assert!(far.starts_with("the database's clock is 3600.2 s ahead of this machine's; warning: "), "{far}");
        let split = clock(&[member("a", true, 0), member("b", false, 2500)]);
        assert!(split.contains("its members are 2.5 s apart"), "{split}");
    }

    #[test]
    fn names_that_the_set_does_not_know_are_told() {
        let names = ["a:1".to_owned(), "b:1".to_owned()];
        let both = [member("a:1", true, 0), member("b:1", false, 0)];
        let good = members(&names, &names, &both);
        assert_eq!(good, "the replica set rs0 has 2 members with data: a:1 is primary, 1 secondary answers");
        let odd = members(&names, &["localhost:1".into()], &both);
        assert!(odd.contains("does not know localhost:1") && odd.ends_with("a:1,b:1"), "{odd}");
        assert!(
            members(&names[..1], &names[..1], &both[..1]).ends_with("has one member: if it is lost, nothing is left")
        );
    }

    #[test]
    fn who_needs_tls_is_told() {
        let said = |name: &str| encryption(&ServerAddress::parse(name).expect("a name"), false);
        assert!(said("10.1.2.3:27017").contains("warning") && said("db.example.com").contains("warning"));
        assert!(!said("127.0.0.1").contains("warning") && !said("localhost:9").contains("warning"));
    }
}
