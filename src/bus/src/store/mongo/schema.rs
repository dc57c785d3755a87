//! The collections and their indexes, made at start. What others made is left alone.

use culvert_model::{Index, Kind};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::results::CollectionSpecification;
use mongodb::{Collection, Database, IndexModel};

use super::base::WRITES;
use super::{span, tail};

/// The collection of the messages, and its size in bytes.
const MESSAGES: &str = "messages";
const MESSAGES_SIZE: u64 = 20 << 20;

/// For how long a batch's id is remembered: a caller asks again within seconds.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(600);

/// Why the database cannot take the records.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Somebody else has a collection or an index of that name.
    #[error("{0}")]
    Foreign(String),
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] Error),
}

/// The messages as they are tailed: from the primary, as it has them.
#[must_use]
pub fn messages(database: &Database) -> Collection<RawDocumentBuf> {
    database.collection_with_options(MESSAGES, local())
}

/// The messages as they are appended: a majority has the state that they are about, and they are only hints.
#[must_use]
pub fn messages_to_append(database: &Database) -> Collection<Document> {
    database.collection_with_options(MESSAGES, local())
}

fn local() -> CollectionOptions {
    CollectionOptions::builder()
        .read_concern(ReadConcern::local())
        .write_concern(WriteConcern::nodes(1))
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build()
}

/// The names of all collections, if none of them stands in our way.
///
/// # Errors
///
/// What is there is not ours, or the database did not say.
pub async fn look(database: &Database) -> Result<Vec<String>, SchemaError> {
    let existing = database.list_collections().await?;
    let existing: Vec<CollectionSpecification> = existing.try_collect().await?;
    if let Some(messages) = existing.iter().find(|it| it.name == MESSAGES)
        && messages.options.capped != Some(true)
    {
        let text = format!(
            "the collection {MESSAGES} in {} is not capped, so it is not Culvert's: name another database in the URI",
            database.name()
        );
        return Err(SchemaError::Foreign(text));
    }
    Ok(existing.into_iter().map(|it| it.name).collect())
}

/// Whether one of these names is a collection of ours.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name == MESSAGES || name == WRITES || Kind::ALL.iter().any(|kind| kind.name() == name)
}

/// Makes what is not there.
///
/// # Errors
///
/// What is there is not ours, or the database did not do it.
pub async fn make(database: &Database) -> Result<(), SchemaError> {
    let existing = look(database).await?;
    make_messages(database).await?;
    // A transaction that makes its collection on the way would meet others that do the same.
    let missing = |name: &str| !existing.contains(&name.to_owned());
    let named = Kind::ALL.iter().map(|kind| kind.name()).chain([WRITES]);
    try_join_all(named.filter(|name| missing(name)).map(|name| make_collection(database, name))).await?;
    try_join_all(Kind::ALL.iter().map(|kind| make_indexes(database, *kind))).await?;
    let options = IndexOptions::builder().name("by_time".to_owned()).expire_after(REMEMBERED).build();
    let by_time = IndexModel::builder().keys(doc! { "at": 1 }).options(options).build();
    let options = IndexOptions::builder().name("by_origin".to_owned()).sparse(true).build();
    let by_origin = IndexModel::builder().keys(doc! { "of.i": 1 }).options(options).build();
    make_index(database, WRITES, vec![by_time, by_origin]).await
}

async fn make_collection(database: &Database, name: &str) -> Result<(), Error> {
    unless_there(database.create_collection(name).write_concern(super::base::majority()).await)
}

/// Makes the collection of the messages with its first one: a tail on an empty one is dead at once.
///
/// # Errors
///
/// As the driver's.
pub async fn make_messages(database: &Database) -> Result<(), Error> {
    let made = database.create_collection(MESSAGES).capped(true).size(MESSAGES_SIZE);
    unless_there(made.write_concern(super::base::majority()).await)?;
    let messages = messages_to_append(database);
    if messages.find_one(doc! {}).await?.is_none() {
        messages.insert_one(tail::seed()).await?;
    }
    Ok(())
}

/// Makes it anew after an insertion made one that is not capped.
///
/// # Errors
///
/// As the driver's.
pub async fn remake_messages(database: &Database) -> Result<(), Error> {
    messages(database).drop().await?;
    make_messages(database).await
}

/// The code of a collection that is there already.
fn unless_there(made: Result<(), Error>) -> Result<(), Error> {
    made.or_else(|error| match error.kind.as_ref() {
        ErrorKind::Command(command) if command.code == 48 => Ok(()),
        _ => Err(error),
    })
}

async fn make_indexes(database: &Database, kind: Kind) -> Result<(), SchemaError> {
    if kind.indexes().is_empty() {
        return Ok(());
    }
    make_index(database, kind.name(), kind.indexes().iter().map(model).collect()).await
}

async fn make_index(database: &Database, name: &str, models: Vec<IndexModel>) -> Result<(), SchemaError> {
    let collection = database.collection::<Document>(name);
    let made = collection.create_indexes(models).write_concern(super::base::majority()).await;
    let Err(error) = made else { return Ok(()) };
    match error.kind.as_ref() {
        // IndexOptionsConflict, IndexKeySpecsConflict
        ErrorKind::Command(command) if matches!(command.code, 85 | 86) => {
            find_obstacle(database, name).await?;
            Err(SchemaError::Foreign(format!(
                "the collection {name} in {} has an index that stands in the way of Culvert's ({}): drop it",
                database.name(),
                command.message
            )))
        }
        _ => Err(error.into()),
    }
}

/// Looks for an index in this collection that has the name of one of ours and is another.
///
/// # Errors
///
/// There is one, or the database did not say.
pub async fn find_obstacle(database: &Database, name: &str) -> Result<(), SchemaError> {
    let Some(kind) = Kind::ALL.iter().find(|kind| kind.name() == name) else { return Ok(()) };
    let there: Vec<IndexModel> = database.collection::<Document>(name).list_indexes().await?.try_collect().await?;
    let named = |model: &IndexModel| model.options.as_ref().and_then(|options| options.name.clone());
    let unique = |model: &IndexModel| model.options.as_ref().and_then(|options| options.unique) == Some(true);
    for ours in kind.indexes() {
        let model = model(ours);
        let same = there.iter().find(|it| named(it).as_deref() == Some(ours.name));
        if same.is_some_and(|it| unique(it) != ours.unique || !it.keys.keys().eq(model.keys.keys())) {
            return Err(SchemaError::Foreign(format!(
                "the collection {name} in {} has an index {} that is not Culvert's: run db.{name}.dropIndex(\"{}\") in its shell",
                database.name(),
                ours.name,
                ours.name
            )));
        }
    }
    Ok(())
}

/// An index of ours. Records in which a field of a unique index is empty are left out of it.
fn model(index: &Index) -> IndexModel {
    let keys: Document = span::paths(index).into_iter().map(|path| (path, Bson::Int32(1))).collect();
    let filled = doc! { "$type": ["string", "long", "int", "bool"] };
    let filter: Document = index.fields.iter().map(|field| (span::path(field), filled.clone().into())).collect();
    let options = IndexOptions::builder()
        .name(index.name.to_owned())
        .unique(index.unique.then_some(true))
        .partial_filter_expression(index.unique.then_some(filter))
        .build();
    IndexModel::builder().keys(keys).options(options).build()
}
