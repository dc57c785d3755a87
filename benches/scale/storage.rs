//! What a user takes in the database: records as the bus stores them, in collections with the indexes that it made.

use anyhow::{Context, Result};
use culvert_model::record::{Address, Bytes, Certificate, CertificateKey, CertificateState, Purpose, User, UserSecret};
use culvert_model::{Id, Record};
use culvert_tests::mongod::ReplicaSet;
use mongodb::bson::{Document, doc, serialize_to_document};
use mongodb::{Client, Database};
use tokio::runtime::Builder;

use crate::report::Report;
use crate::samples::user;

/// So many users that pages and compression are as they will be.
const USERS: u32 = 20_000;

/// In one request.
const BATCH: u32 = 1_000;

/// What a certificate and an RSA-3072 key in PKCS #8 take, in bytes.
const CERTIFICATE: usize = 860;
const KEY: usize = 1_794;

pub fn measure(report: &mut Report, set: &ReplicaSet) -> Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = Client::with_uri_str(set.uri("culvert")).await?;
        let database = client.default_database().context("the URI names one")?;
        for begin in (0..USERS).step_by(BATCH as usize) {
            make(&database, begin..begin + BATCH).await?;
        }
        client.database("admin").run_command(doc! { "fsync": 1 }).await?;
        let (mut data, mut disk, mut indexes) = (0.0, 0.0, 0.0);
        for kind in [User::KIND, UserSecret::KIND, Certificate::KIND, CertificateKey::KIND, Address::KIND] {
            let of = sizes(&database, kind.name()).await?;
            report.told(format!("a user's record in {}: data", kind.name()), of[0], "bytes");
            (data, disk, indexes) = (data + of[0], disk + of[1], indexes + of[2]);
        }
        report.told("a user with certificate and key: data", data, "bytes");
        report.told("a user with certificate and key: on disk, compressed", disk, "bytes");
        report.told("a user with certificate and key: indexes", indexes, "bytes");
        let messages = database.run_command(doc! { "collStats": "messages" }).await?;
        report.told("a message", number(&messages, "avgObjSize")?, "bytes");
        Ok(())
    })
}

async fn make(database: &Database, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut all: [Vec<Document>; 5] = Default::default();
    for number in numbers {
        let user = user(number.into());
        all[0].push(stored(&user)?);
        all[1].push(stored(&UserSecret {
            id: user.id,
            pin: Some(format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", text(22)?, text(43)?)),
            otp_secret: Some(text(16)?),
            sync_token: Some(text(32)?),
            sync_secret: Some(text(32)?),
        })?);
        all[2].push(stored(&Certificate {
            id: user.certificate,
            organization: user.organization,
            purpose: Purpose::Client,
            state: CertificateState::Taken,
            reserved: None,
            subject: user.id,
            der: Bytes(random(CERTIFICATE)?),
            fingerprint: random(32)?.iter().map(|byte| format!("{byte:02x}")).collect(),
            expires: 1_900_000_000_000,
            serial: "8f".repeat(16),
            replaced: None,
        })?);
        all[3].push(stored(&CertificateKey { id: user.certificate, key: Bytes(random(KEY)?) })?);
        let server = Id::from_bytes([9; 12]);
        let id = format!("{server}-{}-0", user.id);
        all[4].push(stored(&Address { id, server, user: user.id, address: number.into(), next: None })?);
    }
    let kinds = [User::KIND, UserSecret::KIND, Certificate::KIND, CertificateKey::KIND, Address::KIND];
    for (kind, documents) in kinds.iter().zip(all) {
        database.collection::<Document>(kind.name()).insert_many(documents).await?;
    }
    Ok(())
}

/// As the bus stores a record.
fn stored<T: Record>(record: &T) -> Result<Document> {
    Ok(doc! { "_id": record.id(), "r": 1_i64, "b": serialize_to_document(record)? })
}

/// Data, place on the disk and indexes, for each of the users.
async fn sizes(database: &Database, name: &str) -> Result<[f64; 3]> {
    let stats = database.run_command(doc! { "collStats": name }).await?;
    let each = |field| Ok::<f64, anyhow::Error>(number(&stats, field)? / f64::from(USERS));
    Ok([each("size")?, each("storageSize")?, each("totalIndexSize")?])
}

fn number(stats: &Document, field: &str) -> Result<f64> {
    let value = stats.get(field).with_context(|| format!("collStats has {field}"))?;
    let whole = value.as_i64().or_else(|| value.as_i32().map(i64::from)).map(|number| number as f64);
    whole.or_else(|| value.as_f64()).with_context(|| format!("{field} is a number"))
}

/// What cannot be compressed, as keys cannot.
fn random(length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

fn text(length: usize) -> Result<String> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    Ok(random(length)?.iter().map(|byte| char::from(letters[usize::from(byte % 32)])).collect())
}
