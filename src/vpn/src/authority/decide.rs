//! The decision about one client.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use culvert_model::Id;
use culvert_model::record::{Certificate, CertificateState, User, UserSecret};
use culvert_records::{Bus, Failure, Query};
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use super::pin::{Check, Pins, Proof};
use super::{Denial, standing, trusted};
use crate::addresses::{Addresses, Trouble};
use crate::directory::Shared;
use crate::grant;
use crate::management::Environment;

/// How long a client may wait for a store that is away. Its own patience is a minute (`hand-window`).
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What OpenVPN asks about a client.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client's number.
    pub client: u64,
    /// The number of its key.
    pub key: u64,
    /// Whether it is connected already.
    pub renewal: bool,
    /// What OpenVPN says of it.
    pub environment: Environment,
    /// Whether the notice was damaged.
    pub damaged: bool,
    /// That it has shown its PIN before.
    pub proof: Option<Proof>,
}

/// The answer.
#[derive(Debug)]
pub enum Verdict {
    /// It may come in.
    Allowed {
        /// Who it is.
        user: Id,
        /// The user's organisation.
        organization: Id,
        /// Its address; nothing if it has one already.
        address: Option<Ipv4Addr>,
        /// OpenVPN's options for it.
        options: Vec<String>,
        /// That it has shown its PIN.
        proof: Option<Proof>,
    },
    /// It may not.
    Denied(Denial),
    /// It can't be told now: it is to come again.
    Later,
}

/// Why there is no yes.
enum No {
    Denied(Denial),
    /// Something that the answer needs is away.
    Away,
}

impl From<Denial> for No {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Failure> for No {
    fn from(failure: Failure) -> Self {
        tracing::warn!(%failure, "a client waits because something cannot be read");
        Self::Away
    }
}

/// Decides about the clients of one server.
#[derive(Debug)]
pub struct Authority {
    /// The store.
    pub bus: Bus,
    /// What is known of users and servers.
    pub directory: Arc<Shared>,
    /// The server's addresses.
    pub addresses: Arc<Addresses>,
    /// The checker of PINs, one for all servers.
    pub pins: Arc<Pins>,
    /// The server.
    pub server: Id,
    /// How long a client may wait for what is away: [`PATIENCE`].
    pub patience: Duration,
}

impl Authority {
    /// Decides, and waits for what is away as long as the client waits for us.
    pub async fn decide(&self, question: &Question) -> Verdict {
        let deadline = Instant::now() + self.patience;
        loop {
            match timeout_at(deadline, self.judge(question)).await {
                Ok(Ok(verdict)) => return verdict,
                Ok(Err(No::Denied(denial))) => return Verdict::Denied(denial),
                Ok(Err(No::Away)) if Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
                Ok(Err(No::Away)) | Err(_) => return Verdict::Later,
            }
        }
    }

    async fn judge(&self, question: &Question) -> Result<Verdict, No> {
        if question.damaged {
            return Err(Denial::Damaged.into());
        }
        if !self.directory.wait(self.patience).await {
            return Err(No::Away);
        }
        let fingerprint = question.environment.fingerprint().ok_or(Denial::Damaged)?;
        let serial = question.environment.serial().ok_or(Denial::Damaged)?;
        let user = self.user(&fingerprint, &serial).await?;
        let proof = self.factors(&user, question).await?;
        let address = if question.renewal { None } else { Some(self.address(&user, question.client).await?) };
        let directory = self.directory.read();
        // Once more: it may have changed while something was waited for.
        let (server, user) = standing(&directory, self.server, user.id, Some(&serial))?;
        let options = address.map(|address| grant::options(server, user, address)).unwrap_or_default();
        Ok(Verdict::Allowed { user: user.id, organization: user.organization, address, options, proof })
    }

    /// Whose certificate it is: from memory, or else from the store.
    async fn user(&self, fingerprint: &str, serial: &str) -> Result<User, No> {
        let known = {
            let directory = self.directory.read();
            trusted(&directory, self.server, Some(serial))?;
            directory.leaf(fingerprint)
        };
        let leaf = match known {
            Some(leaf) => leaf,
            None => self.look_up(fingerprint).await?,
        };
        let directory = self.directory.read();
        let (_, user) = standing(&directory, self.server, leaf.subject, Some(serial))?;
        if user.certificate != leaf.certificate && !leaf.replaced {
            return Err(Denial::UnknownCertificate.into());
        }
        Ok(user.clone())
    }

    /// A certificate that no message has told of yet.
    async fn look_up(&self, fingerprint: &str) -> Result<crate::directory::Leaf, No> {
        let query = Query::by("by_fingerprint").equal(fingerprint).limit(1);
        let found = self.bus.find::<Certificate>(query).await?.items.pop();
        let certificate = found.ok_or(Denial::UnknownCertificate)?.record;
        if certificate.state != CertificateState::Taken {
            return Err(Denial::UnknownCertificate.into());
        }
        let unknown = self.directory.read().user(certificate.subject).is_none();
        if unknown && let Some(stored) = self.bus.get::<User>(certificate.subject).await? {
            let user = stored.record;
            self.directory.change(|directory| {
                if directory.covered.contains(&user.organization) {
                    directory.put_user(user);
                }
            });
        }
        self.directory.change(|directory| directory.put_certificate(&certificate));
        self.directory.read().leaf(fingerprint).ok_or(Denial::UnknownCertificate.into())
    }

    /// Everything besides the certificate that a user must show. All of it must hold; one-time codes come in here.
    async fn factors(&self, user: &User, question: &Question) -> Result<Option<Proof>, No> {
        let (mode, one_time) = {
            let directory = self.directory.read();
            let (server, _) = standing(&directory, self.server, user.id, None)?;
            (directory.settings.pin_mode.clone(), server.otp_auth)
        };
        if !device_allowed(user, question.environment.get("IV_HWADDR")) {
            return Err(Denial::WrongDevice.into());
        }
        if user.bypass_secondary {
            return Ok(None);
        }
        if one_time {
            return Err(Denial::SecondFactor.into());
        }
        match (mode.as_str(), user.pin) {
            ("disabled", _) => Ok(None),
            ("required", false) => Err(Denial::PinMissing.into()),
            (_, false) => Ok(None),
            (_, true) => self.pin(user, question).await.map(Some),
        }
    }

    async fn pin(&self, user: &User, question: &Question) -> Result<Proof, No> {
        let pin = question.environment.password().ok_or(Denial::PinRequired)?;
        if let Some(proof) = question.proof.as_ref().filter(|proof| proof.matches(pin)) {
            return Ok(proof.clone());
        }
        let secret = self.bus.get::<UserSecret>(user.id).await?;
        let hash = secret.and_then(|stored| stored.record.pin).ok_or(Denial::PinWrong)?;
        match self.pins.check(user.id, Zeroizing::new(pin.to_owned()), hash).await {
            Check::Right => Proof::new(pin).ok_or(No::Away),
            Check::Wrong => Err(Denial::PinWrong.into()),
            Check::TooMany => Err(Denial::TooManyAttempts.into()),
            Check::Busy => Err(No::Away),
        }
    }

    async fn address(&self, user: &User, client: u64) -> Result<Ipv4Addr, No> {
        let (several, most, locked) = {
            let directory = self.directory.read();
            let (server, _) = standing(&directory, self.server, user.id, None)?;
            (server.multi_device, server.max_devices, server.network_lock.is_some())
        };
        if several && most > 0 && self.addresses.devices(user.id, client) >= most as usize {
            return Err(Denial::TooManyDevices.into());
        }
        let number = self.addresses.choose(client, user.id, several);
        self.addresses.of(user.id, number, locked).await.map_err(|trouble| match trouble {
            Trouble::Full => Denial::NoAddress.into(),
            Trouble::Locked => No::Away,
            Trouble::Store(failure) => failure.into(),
        })
    }
}

/// Whether the user may connect with the hardware address that the client tells.
fn device_allowed(user: &User, told: Option<&str>) -> bool {
    let plain = |address: &str| address.replace('-', ":").to_ascii_lowercase();
    match user.mac_addresses.as_deref() {
        None | Some([]) => true,
        Some(allowed) => told.is_some_and(|told| allowed.iter().any(|one| plain(one) == plain(told))),
    }
}
