//! Who is logged in, and whether that is enough. Nothing is tried out: a check must not make a collection.

use std::collections::BTreeSet;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Bson, Document};
use mongodb::error::ErrorKind;
use mongodb::options::ClientOptions;
use tokio::time::timeout;

use super::status;
use crate::store::mongo::connect::{self, ConnectError, Step};

/// What the bus does in its database. All of it is in the role `readWrite`.
const NEEDED: [&str; 9] = [
    "find",
    "insert",
    "update",
    "remove",
    "createCollection",
    "dropCollection",
    "listCollections",
    "createIndex",
    "listIndexes",
];

/// How long each question may take.
const ASKING: Duration = Duration::from_millis(3000);

/// What is to be told of the login, and of the rights.
type Looked = (String, Result<String, ConnectError>);

/// Looks at what a server makes of the URI's user.
pub async fn look(client: &Client, options: &ClientOptions) -> Result<Looked, ConnectError> {
    let admin = client.database("admin");
    let status = match timeout(ASKING, async { admin.run_command(status()).await }).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(connect::of_authentication(&error)),
        Err(_) => return Err(connect::late("let the user in")),
    };
    let database = connect::database(options);
    let info = status.get_document("authInfo").cloned().unwrap_or_default();
    let users = strings(&info, "authenticatedUsers", |user| {
        let (name, source) = (user.get_str("user").ok()?, user.get_str("db").ok()?);
        Some(format!("{name} (of {source})"))
    });
    if users.is_empty() {
        return nobody(client, &database).await;
    }
    let users = users.join(", ");
    Ok((format!("the database lets in {users}"), judge(&info, &users, &database)))
}

/// Nobody logged in: that will do where nobody has to.
async fn nobody(client: &Client, database: &str) -> Result<Looked, ConnectError> {
    let asked = timeout(ASKING, async { client.database(database).list_collection_names().await }).await;
    match asked {
        Ok(Ok(_)) => {
            let text = "nobody has to log in; warning: whoever reaches the database may do anything there: start mongod \
                        with --keyFile or --auth, and make a user for Culvert";
            Ok((text.into(), Ok("everybody may do everything".into())))
        }
        Ok(Err(error)) if connect::demands_a_user(&error) => Err(connect::nobody_named()),
        Ok(Err(error)) => match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => Err(connect::of_authentication(&error)),
            kind => Err(ConnectError::new(
                Step::Authentication,
                format!("the database does not say what is in it: {kind}"),
                "look at the database's log",
            )),
        },
        Err(_) => Err(connect::late("say what is in it")),
    }
}

fn judge(info: &Document, users: &str, database: &str) -> Result<String, ConnectError> {
    let allowed: BTreeSet<String> = info
        .get_array("authenticatedUserPrivileges")
        .into_iter()
        .flatten()
        .filter_map(Bson::as_document)
        .filter(|privilege| privilege.get_document("resource").is_ok_and(|resource| covers(resource, database)))
        .flat_map(|privilege| privilege.get_array("actions").into_iter().flatten().filter_map(Bson::as_str))
        .map(Into::into)
        .collect();
    let all = allowed.contains("anyAction");
    let lacking: Vec<&str> = NEEDED.into_iter().filter(|action| !all && !allowed.contains(*action)).collect();
    if lacking.is_empty() {
        return Ok(format!("{users} may read and write {database}, and make collections and indexes there"));
    }
    let why = format!("{users} may not {} in {database}", lacking.join(", "));
    Err(ConnectError::new(Step::Rights, why, format!("give the user the role readWrite on {database}")))
}

/// Whether a privilege on this is one on every collection of the database.
fn covers(resource: &Document, database: &str) -> bool {
    if resource.get_bool("anyResource").unwrap_or(false) {
        return true;
    }
    let any_collection = resource.get_str("collection").is_ok_and(str::is_empty);
    any_collection && resource.get_str("db").is_ok_and(|db| db.is_empty() || db == database)
}

fn strings(document: &Document, list: &str, text: impl Fn(&Document) -> Option<String>) -> Vec<String> {
    document.get_array(list).into_iter().flatten().filter_map(Bson::as_document).filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn judged(resource: Document, actions: Vec<&str>) -> Result<String, ConnectError> {
        let info = doc! { "authenticatedUserPrivileges": [{ "resource": resource, "actions": actions }] };
        judge(&info, "u (of admin)", "culvert")
    }

    #[test]
    fn rights_count_that_are_about_the_whole_database() {
        let all = NEEDED.to_vec();
        assert!(judged(doc! { "db": "culvert", "collection": "" }, all.clone()).is_ok());
        assert!(judged(doc! { "db": "", "collection": "" }, all.clone()).is_ok());
        assert!(judged(doc! { "anyResource": true }, vec!["anyAction"]).is_ok());
        for other in [doc! { "db": "culvert", "collection": "hosts" }, doc! { "db": "other", "collection": "" }] {
            assert!(judged(other, all.clone()).is_err());
        }
        assert!(judged(doc! { "cluster": true }, vec!["anyAction"]).is_err());
        let reader = judged(doc! { "db": "culvert", "collection": "" }, vec!["find", "listCollections", "listIndexes"]);
        let text = reader.expect_err("it may only read").to_string();
        assert!(text.contains("insert") && text.contains("readWrite on culvert") && !text.contains("find"), "{text}");
    }
}
