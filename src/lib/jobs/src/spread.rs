//! Which host is to take a job.

use std::collections::BTreeMap;

use culvert_model::HostId;

/// How many jobs more than another a host is given of those that either could take, after it had been away or busy.
const DEBT: u64 = 4;

/// How many hosts are remembered before those that are not there are forgotten.
const KNOWN: usize = 1_000;

/// A host that is online, and the jobs that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// The host.
    pub host: HostId,
    /// Its processor cores; at least one.
    pub cores: u16,
    /// The open jobs that it holds, or that prefer it.
    pub open: u64,
}

impl Load {
    /// Whether it has less per core with one more job than the other has: each as many as it is said to have.
    fn cmp(&self, has: u64, other: &Self, others: u64) -> std::cmp::Ordering {
        let per_core = |has: u64, other: &Self| (has + 1) * u64::from(other.cores.max(1));
        per_core(has, other).cmp(&per_core(others, self))
    }
}

/// What one enqueuer gave to each host so far. Where every job ends before the next one comes, it is all that tells the hosts
/// apart, and as many as enqueue is the most that one host can get more than another.
#[derive(Debug, Default)]
pub struct Given(BTreeMap<HostId, u64>);

impl Given {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes a job back that was there already.
    pub fn take_back(&mut self, host: HostId) {
        if let Some(given) = self.0.get_mut(&host) {
            *given = given.saturating_sub(1);
        }
    }

    /// Knows these hosts, too, none of which is owed too much.
    fn meet(&mut self, hosts: &[Load]) {
        let given = |load: &Load| self.0.get(&load.host).copied().unwrap_or(0);
        let least = hosts.iter().map(given).max().unwrap_or(0).saturating_sub(DEBT);
        let met: Vec<_> = hosts.iter().map(|load| (load.host, given(load).max(least))).collect();
        if self.0.len() > KNOWN {
            self.0.clear();
        }
        self.0.extend(met);
    }
}

/// Spreads jobs over hosts.
#[derive(Debug)]
pub struct Spread<'given> {
    hosts: Vec<Load>,
    given: &'given mut Given,
}

impl<'given> Spread<'given> {
    /// Over these hosts, by who gave them these jobs before.
    #[must_use]
    pub fn over(hosts: Vec<Load>, given: &'given mut Given) -> Self {
        given.meet(&hosts);
        Self { hosts, given }
    }

    /// The host that has fewest jobs per core once it has this one, which counts from now on; among equals the one that was
    /// given fewest; then the one that comes first by the job's rendezvous hash, so that several who enqueue at once don't all
    /// name the same. None, if there is no host.
    pub fn next(&mut self, job: &str) -> Option<HostId> {
        let given = &mut self.given.0;
        let first = self.hosts.iter_mut().min_by(|one, other| {
            one.cmp(one.open, other, other.open)
                .then_with(|| one.cmp(given[&one.host], other, given[&other.host]))
                .then_with(|| rendezvous(job, other.host).cmp(&rendezvous(job, one.host)))
        })?;
        first.open += 1;
        *given.entry(first.host).or_default() += 1;
        Some(first.host)
    }
}

/// Every job ranks the hosts in an order of its own, which is the same whoever asks (FNV-1a, then mixed: hosts' ids may
/// differ in their last byte alone).
fn rendezvous(job: &str, host: HostId) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = job.bytes().chain(host.to_string().bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests;
