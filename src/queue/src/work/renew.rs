//! A new key pair and certificate for whoever has one already. The old one stays good for a while beside it.

use culvert_keys::Pair;
use culvert_model::record::{Certificate, CertificateKey, CertificateState, Log, Purpose, Reason, Server, User};
use culvert_model::{Bytes, Id, Millis};
use culvert_records::{Failure, Query, Stored, Write, insert, update};

use super::{Need, Trouble, certificate};
use crate::Desk;

/// Who has a certificate.
enum Holder {
    User(Box<Stored<User>>),
    Server(Box<Stored<Server>>),
}

impl Holder {
    async fn of(desk: &Desk, certificate: &Certificate) -> Result<Option<Self>, Failure> {
        Ok(match certificate.purpose {
            Purpose::Client => {
                let user = desk.bus.get::<User>(certificate.subject).await?;
                user.filter(|user| user.record.certificate == certificate.id).map(|user| Self::User(Box::new(user)))
            }
            Purpose::Server => {
                let mut all = desk.bus.list::<Server>(Query::by("by_name")).await?.into_iter();
                let server = all.find(|server| server.record.certificate == Some(certificate.id));
                server.map(|server| Self::Server(Box::new(server)))
            }
            Purpose::Authority => None,
        })
    }

    /// The write after which it has this one.
    fn takes(self, certificate: Id) -> Write {
        match self {
            Self::User(mut user) => {
                user.record.certificate = certificate;
                update(&user.record, user.unchanged())
            }
            Self::Server(mut server) => {
                server.record.certificate = Some(certificate);
                update(&server.record, server.unchanged())
            }
        }
    }

    fn log(&self, now: Millis, immediate: bool) -> Log {
        let old = if immediate { "the old one is revoked" } else { "the old one is good for seven more days" };
        let message = match self {
            Self::User(user) => format!(
                "The certificate of user {} was renewed: {old}. The user needs the new profile.",
                user.record.name
            ),
            Self::Server(server) => format!(
                "The certificate of server {} was renewed. It takes it at its next start; what it has ends as before.",
                server.record.name
            ),
        };
        Log { id: Id::new(), timestamp: (now / 1000) as i64, message }
    }
}

/// One that somebody has is replaced. Otherwise nothing is to be made; what is left to do is decided when it is written,
/// since the job may have become one that revokes by then.
pub async fn look(desk: &Desk, id: Id) -> Result<Need, Trouble> {
    let Some(old) = desk.bus.get::<Certificate>(id).await? else {
        return Ok(Need::Nothing("the certificate is gone"));
    };
    if Holder::of(desk, &old.record).await?.is_none() {
        return Ok(Need::Make(Vec::new()));
    }
    let Certificate { organization, subject, purpose, .. } = old.record;
    let Some(record) = super::organization(desk, organization).await? else {
        return Ok(Need::Nothing("the organisation is gone"));
    };
    Ok(Need::Make(certificate::recipes(desk, record, purpose, [subject]).await?))
}

/// With a reason, the old one is revoked at once: also if another renewal has replaced it before, and left it good for a
/// while.
pub async fn writes(
    desk: &Desk,
    certificate: Id,
    revoked: Option<Reason>,
    pair: Option<&Pair>,
) -> Result<Vec<Write>, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let Some(mut old) = desk.bus.get::<Certificate>(certificate).await? else { return Ok(Vec::new()) };
    let mut writes = match (Holder::of(desk, &old.record).await?, pair) {
        (Some(holder), Some(pair)) => replacement(&old.record, holder, pair, now, revoked.is_some()),
        (None, _) if old.record.replaced.is_some() && revoked.is_some() => Vec::new(),
        // Nobody has it any more.
        _ => return Ok(Vec::new()),
    };
    if let Some(reason) = revoked {
        // Those too that were replaced before and are still good, but not what replaced this one.
        let all = desk.bus.list::<Certificate>(Query::by("by_subject").equal(old.record.subject)).await?;
        let past = |one: &&Certificate| one.id == certificate || one.replaced.is_some();
        let past: Vec<_> = all.iter().map(|stored| &stored.record).filter(past).collect();
        writes.extend(culvert_revocation::revocations(&desk.bus, old.record.organization, &past, reason, now).await?);
    }
    // A task removes it then.
    old.record.replaced = Some(if revoked.is_some() { now } else { now + Certificate::GRACE });
    writes.push(update(&old.record, old.unchanged()));
    Ok(writes)
}

/// What gives the holder of a certificate another one.
fn replacement(old: &Certificate, holder: Holder, pair: &Pair, now: Millis, immediate: bool) -> Vec<Write> {
    let new = Certificate {
        id: Id::new(),
        state: CertificateState::Taken,
        reserved: None,
        der: Bytes(pair.der.clone()),
        fingerprint: pair.fingerprint.clone(),
        expires: pair.expires,
        serial: pair.serial.clone(),
        replaced: None,
        ..old.clone()
    };
    let key = CertificateKey { id: new.id, key: Bytes(pair.key.to_vec()) };
    vec![insert(&holder.log(now, immediate)), insert(&key), insert(&new), holder.takes(new.id)]
}
