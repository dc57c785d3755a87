//! What a job needs from the records, and what its result becomes in them.

use culvert_keys::{Issuer, Made, Recipe};
use culvert_model::record::{
    CaKey, Certificate, CertificateKey, CertificateState, Job, Organization, Purpose, Settings, Tls, TlsKey, Work,
};
use culvert_model::{Bytes, Id};
use culvert_records::{Failure, Write, insert, update};
use zeroize::Zeroizing;

use crate::Desk;

/// Why a job was not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is gone, or not open any more.
    Lost,
    /// The store is away.
    Away,
    /// Something else has to be made before.
    NotYet(&'static str),
    /// What went wrong, for people.
    Failed(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        if failure.outage() { Self::Away } else { Self::Failed(failure.to_string()) }
    }
}

/// What a job takes.
pub enum Need {
    /// Nothing: what it would make is there, or nobody needs it any more.
    Nothing(&'static str),
    /// This is to be made.
    Make(Recipe),
}

/// Reads what the job needs.
pub async fn look(desk: &Desk, work: &Work) -> Result<Need, Trouble> {
    let (_, now) = desk.bus.here().await?;
    match *work {
        Work::ConsoleCertificate => Ok(match desk.bus.get::<Tls>(Tls::ID).await? {
            Some(_) => Need::Nothing("the console has a certificate"),
            None => Need::Make(Recipe::Console { now }),
        }),
        Work::Ca { organization } => Ok(match self::organization(desk, organization).await? {
            None => Need::Nothing("the organisation is gone"),
            Some(Organization { ca: Some(_), .. }) => Need::Nothing("the organisation has a CA"),
            Some(_) => {
                let Settings { ca_key: key, ca_days: days, .. } = settings(desk).await?;
                Need::Make(Recipe::Ca { organization, key, days, now })
            }
        }),
        Work::Certificate { organization, purpose } => {
            let Some(record) = self::organization(desk, organization).await? else {
                return Ok(Need::Nothing("the organisation is gone"));
            };
            let signing = desk.bus.get::<CaKey>(organization).await?;
            let (Some(certificate), Some(signing)) = (record.ca, signing) else {
                return Err(Trouble::NotYet("The organisation's CA is not made yet."));
            };
            let Settings { user_key, server_key, leaf_days: days, .. } = settings(desk).await?;
            let key = if purpose == Purpose::Client { user_key } else { server_key };
            let issuer = Issuer { certificate: certificate.0, key: Zeroizing::new(signing.record.key.0) };
            Ok(Need::Make(Recipe::Certificate { organization, subject: Id::new(), purpose, issuer, key, days, now }))
        }
        _ => Err(Trouble::Failed("This kind of work is not known here.".into())),
    }
}

async fn organization(desk: &Desk, id: Id) -> Result<Option<Organization>, Failure> {
    Ok(desk.bus.get::<Organization>(id).await?.map(|stored| stored.record))
}

async fn settings(desk: &Desk) -> Result<Settings, Failure> {
    let stored = desk.bus.get::<Settings>(Settings::ID).await?;
    Ok(stored.map_or_else(Settings::default, |stored| stored.record))
}

/// The writes that make the result visible. None, if it isn't needed any more.
pub async fn writes(desk: &Desk, job: &Job, made: Option<&Made>) -> Result<Vec<Write>, Trouble> {
    let Some(made) = made else { return Ok(Vec::new()) };
    let key = Bytes(made.key.to_vec());
    match job.work {
        Work::ConsoleCertificate => {
            if desk.bus.get::<Tls>(Tls::ID).await?.is_some() {
                return Ok(Vec::new());
            }
            let tls = Tls { id: Tls::ID.into(), chain: vec![Bytes(made.der.clone())], expires: made.expires };
            Ok(vec![insert(&TlsKey { id: Tls::ID.into(), key }), insert(&tls)])
        }
        Work::Ca { organization } => {
            let Some(mut stored) = desk.bus.get::<Organization>(organization).await? else {
                return Ok(Vec::new());
            };
            if stored.record.ca.is_some() {
                return Ok(Vec::new());
            }
            stored.record.ca = Some(Bytes(made.der.clone()));
            stored.record.ca_expires = Some(made.expires);
            let unchanged = stored.unchanged();
            Ok(vec![insert(&CaKey { id: organization, key }), update(&stored.record, unchanged)])
        }
        Work::Certificate { organization, purpose } => {
            let state = if job.reserved.is_some() { CertificateState::Reserved } else { CertificateState::Ready };
            let certificate = Certificate {
                id: made.subject,
                organization,
                purpose,
                state,
                reserved: job.reserved.clone(),
                subject: made.subject,
                der: Bytes(made.der.clone()),
                fingerprint: made.fingerprint.clone(),
                expires: made.expires,
                serial: made.serial.clone(),
                replaced: None,
            };
            Ok(vec![insert(&CertificateKey { id: made.subject, key }), insert(&certificate)])
        }
        _ => Ok(Vec::new()),
    }
}
