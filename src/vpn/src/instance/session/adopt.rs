//! Taking over the clients that OpenVPN lists: those of a controller before this one, and what this one missed.

use super::super::client::{Client, Found};
use super::{Act, Phase, Session};
use crate::management::Command;

/// The most numbers of keys that are tried for one client.
const KEYS: u64 = 2048;

/// Without a period of the server's, clients renew their keys by themselves after this time, in seconds.
const PERIOD: u64 = 3600;

/// A half-written answer to a client that came longer ago than this is out of the question, in seconds.
const DOUBTFUL: u64 = 120;

impl Session {
    /// Takes in who the clients of the list are. `renegotiate` is the seconds after which they renew their keys.
    pub fn adopt(&mut self, found: Vec<Found>, renegotiate: u32, seconds: i64) {
        let listed: Vec<u64> = found.iter().map(|found| found.row.client).collect();
        let lost: Vec<u64> = self.clients.keys().copied().filter(|number| !listed.contains(number)).collect();
        lost.into_iter().for_each(|number| self.remove(number));
        let mut rescues = Vec::new();
        for one in found {
            let number = one.row.client;
            // Still shaking hands: OpenVPN will ask about it.
            if one.row.common_name == "UNDEF" || self.clients.contains_key(&number) {
                continue;
            }
            let age = seconds.saturating_sub(one.row.since).max(0).unsigned_abs();
            let suspect = self.completed && age < DOUBTFUL;
            match (one.row.address, one.who) {
                // Another controller was asked about it and is gone.
                (None, _) => self.send(&Command::Kill { client: number, halt: false }),
                (Some(_), Err(_)) => self.send(&Command::Kill { client: number, halt: true }),
                // Half of what another controller had to say about it may have been taken for all.
                (Some(_), Ok(_)) if suspect => self.send(&Command::Kill { client: number, halt: false }),
                (Some(address), Ok((user, organization))) => {
                    self.clients.insert(number, Client::adopted(&one.row, user, organization, address));
                    if !self.renewals.contains_key(&number) {
                        rescues.push((number, age));
                    }
                }
            }
        }
        // Behind what others wait for: these are many.
        rescues.into_iter().for_each(|(number, age)| self.rescue(number, age, renegotiate));
        self.completed = false;
        self.phase = Phase::Serving;
        self.acts.push(Act::Changed);
        // Another list may end in it.
        for event in self.behind.take().unwrap_or_default() {
            match &mut self.behind {
                Some(behind) => behind.push_back(event),
                None => self.event(event),
            }
        }
    }

    /// A controller before us may have been asked to renew this client's key and not have answered. Which number that
    /// key has is not known: numbers that do not exist are refused, settled ones are left alone.
    fn rescue(&mut self, client: u64, age: u64, renegotiate: u32) {
        let period = if renegotiate == 0 { PERIOD } else { u64::from(renegotiate).min(PERIOD) };
        let last = (5 + 2 * age / period).min(KEYS);
        for key in 1..=last {
            self.send(&Command::Renew { client, key });
        }
    }
}
