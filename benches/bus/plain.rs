//! Bare SQLite: the same tables, pragmas and batching as the embedded store, and nothing else.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use culvert_model::Record;
use culvert_model::record::User;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

/// Writes that wait, and those in one transaction.
const QUEUE: usize = 1024;
const GROUP: usize = 256;

/// As the embedded store has them.
const PRAGMAS: [(&str, &str); 7] = [
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("wal_autocheckpoint", "1000"),
    ("journal_size_limit", "16777216"),
    ("temp_store", "memory"),
    ("trusted_schema", "false"),
    ("cell_size_check", "true"),
];

/// A write and who waits for it.
struct Job {
    number: u64,
    id: String,
    body: Vec<u8>,
    key: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// The writer.
pub struct Plain(mpsc::Sender<Job>);

impl Plain {
    /// With the tables of a store that a bus made.
    pub fn like(store: &Path, path: &Path) -> Result<Self> {
        let tables: Vec<String> = Connection::open(store)?
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let connection = Connection::open(path)?;
        for (pragma, value) in PRAGMAS {
            connection.pragma_update(None, pragma, value)?;
        }
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(&tables.join(";"))?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        thread::spawn(move || run(&connection, waiting));
        Ok(Self(jobs))
    }

    /// Makes a record; on the disk when this returns.
    pub async fn insert(&self, number: u64, user: &User) -> Result<()> {
        let (done, told) = oneshot::channel();
        let key = format!("{}\0{}", user.organization, user.name).into_bytes();
        let job = Job { number, id: user.id(), body: serde_json::to_vec(user)?, key, done };
        self.0.send(job).await.ok().context("the writer ended")?;
        told.await.context("it was not written")
    }
}

fn run(connection: &Connection, mut jobs: mpsc::Receiver<Job>) -> Result<()> {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for job in &group {
            // With one alone, a savepoint would be for nothing.
            if group.len() > 1 {
                connection.prepare_cached("SAVEPOINT request")?.execute([])?;
            }
            write(connection, job)?;
            if group.len() > 1 {
                connection.prepare_cached("RELEASE request")?.execute([])?;
            }
        }
        connection.execute_batch("COMMIT")?;
        for job in group {
            let _ = job.done.send(());
        }
    }
    Ok(())
}

/// The record, its key in the one index of its kind, and that it was done.
fn write(connection: &Connection, job: &Job) -> Result<()> {
    connection.prepare_cached("INSERT INTO records VALUES ('users', ?, 1, ?)")?.execute(params![job.id, job.body])?;
    connection
        .prepare_cached("INSERT INTO keys VALUES ('users.by_organization', ?, ?)")?
        .execute(params![job.key, job.id])?;
    let id = u128::from(job.number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    connection.prepare_cached("INSERT INTO done (id, at, revisions) VALUES (?, ?, ?)")?.execute(params![
        id,
        0,
        1_u64.to_be_bytes()
    ])?;
    Ok(())
}
