//! The addresses that a server's users have in its network. An address stays its user's: it is a record, and this is
//! what the records are known to say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use culvert_model::Id;
use culvert_model::network::free;
use culvert_model::record::Address;
use culvert_records::{Bus, Failure, Query, Refusal, Stored, update};
use ipnet::Ipv4Net;

/// How often another host may be faster with an address before a client is told to come again.
const TRIES: usize = 8;

/// The addresses of one server.
#[derive(Debug)]
pub struct Addresses {
    bus: Bus,
    server: Id,
    network: Ipv4Net,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By user and number of the device.
    held: BTreeMap<(Id, u16), Ipv4Addr>,
    /// Held by somebody, or about to be.
    used: BTreeSet<Ipv4Addr>,
    /// Which of a user's numbers a connected client has.
    clients: BTreeMap<u64, (Id, u16)>,
}

/// Why there is no address.
#[derive(Debug)]
pub enum Trouble {
    /// Everybody else has one, and the network has no more.
    Full,
    /// The server is being moved into another network: nobody gets a new one meanwhile.
    Locked,
    /// The store did not answer.
    Store(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl Addresses {
    /// None known yet: see [`Addresses::load`].
    #[must_use]
    pub fn new(bus: Bus, server: Id, network: Ipv4Net) -> Self {
        Self { bus, server, network, known: Mutex::default() }
    }

    /// Reads all addresses of the server.
    ///
    /// # Errors
    ///
    /// The store can't be reached; what was known stays known.
    pub async fn load(&self) -> Result<(), Failure> {
        let all = self.bus.list::<Address>(Query::by("by_address").equal(self.server)).await?;
        let held: BTreeMap<_, _> = all
            .into_iter()
            .filter_map(|Stored { record, .. }| {
                Some(((record.user, Address::number(&record.id)?), record.within(self.network)?))
            })
            .collect();
        let mut known = self.known();
        known.used = held.values().copied().collect();
        known.held = held;
        Ok(())
    }

    /// Gives a client one of its user's numbers: the first, or with several devices the lowest that no other client of
    /// this instance has.
    pub fn choose(&self, client: u64, user: Id, several: bool) -> u16 {
        let mut known = self.known();
        if let Some((known_user, number)) = known.clients.get(&client)
            && *known_user == user
        {
            return *number;
        }
        let taken = |number: u16| known.clients.values().any(|held| *held == (user, number));
        let number = if several { (0..u16::MAX).find(|number| !taken(*number)).unwrap_or(0) } else { 0 };
        known.clients.insert(client, (user, number));
        number
    }

    /// A client that was let in before this process began has this address.
    pub fn adopt(&self, client: u64, user: Id, address: Ipv4Addr) {
        let mut known = self.known();
        let number = known.held.iter().find(|((held, _), at)| *held == user && **at == address);
        let number = number.map_or(0, |((_, number), _)| *number);
        known.clients.insert(client, (user, number));
    }

    /// A client is gone; its user's number is free for another.
    pub fn leave(&self, client: u64) {
        self.known().clients.remove(&client);
    }

    /// How many other clients of this user there are.
    #[must_use]
    pub fn devices(&self, user: Id, but: u64) -> usize {
        self.known().clients.iter().filter(|(client, (held, _))| *held == user && **client != but).count()
    }

    /// The address of a user's device: from memory, or else from the store, or else a new one. At most two store
    /// operations, unless another host takes an address at the same time.
    ///
    /// # Errors
    ///
    /// The network is full, a new address is wanted while the server is `locked`, or the store can't be reached and the
    /// address is not known.
    pub async fn of(&self, user: Id, number: u16, locked: bool) -> Result<Ipv4Addr, Trouble> {
        if let Some(address) = self.known_address(user, number) {
            return Ok(address);
        }
        // A user's first device has one before it connects, unless the user is quicker than the queue.
        if number == 0 || locked {
            let stored = self.bus.get::<Address>(Address::name(self.server, user, number)).await?;
            if let Some(address) = stored.and_then(|stored| stored.record.within(self.network)) {
                return Ok(self.note(user, number, address));
            }
        }
        if locked {
            return Err(Trouble::Locked);
        }
        for _ in 0..TRIES {
            let address = match self.reserve() {
                Some(address) => address,
                // Somebody may have been deleted meanwhile.
                None => {
                    self.load().await?;
                    self.reserve().ok_or(Trouble::Full)?
                }
            };
            let record = Address::new(self.server, user, number, address);
            match self.bus.insert(&record).await {
                Ok(()) => return Ok(self.note(user, number, address)),
                Err(failure) => {
                    self.known().used.remove(&address);
                    self.recover(&record, failure).await?;
                }
            }
            if let Some(address) = self.known_address(user, number) {
                return Ok(address);
            }
        }
        Err(Trouble::Store(Failure::Busy))
    }

    /// What the store has instead of what was to be inserted.
    async fn recover(&self, wanted: &Address, failure: Failure) -> Result<(), Trouble> {
        match failure.refusal() {
            // The record is there: of another network, or made by another host.
            Some(Refusal::Exists) => match self.bus.get::<Address>(&wanted.id).await? {
                Some(stored) => match stored.record.within(self.network) {
                    Some(address) => {
                        self.note(wanted.user, Address::number(&wanted.id).unwrap_or(0), address);
                        Ok(())
                    }
                    None => self.replace(&stored, wanted).await,
                },
                None => Ok(()),
            },
            Some(Refusal::Taken { .. }) => Ok(self.load().await?),
            _ => Err(failure.into()),
        }
    }

    async fn replace(&self, stored: &Stored<Address>, wanted: &Address) -> Result<(), Trouble> {
        match self.bus.write(vec![update(wanted, stored.unchanged())]).await {
            Ok(_) => {
                self.note(wanted.user, Address::number(&wanted.id).unwrap_or(0), wanted.address);
                Ok(())
            }
            Err(failure) if failure.refusal().is_some() => Ok(self.load().await?),
            Err(failure) => Err(failure.into()),
        }
    }

    fn known_address(&self, user: Id, number: u16) -> Option<Ipv4Addr> {
        self.known().held.get(&(user, number)).copied()
    }

    fn reserve(&self) -> Option<Ipv4Addr> {
        let mut known = self.known();
        let address = free(self.network, &known.used).next()?;
        known.used.insert(address);
        Some(address)
    }

    fn note(&self, user: Id, number: u16, address: Ipv4Addr) -> Ipv4Addr {
        let mut known = self.known();
        known.used.insert(address);
        known.held.insert((user, number), address);
        address
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
