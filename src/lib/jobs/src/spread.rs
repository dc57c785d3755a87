//! Which host is to take a job.

use culvert_model::HostId;

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
    /// What it has per core with one more job, as a fraction.
    fn with_one_more(&self) -> (u64, u64) {
        (self.open + 1, u64::from(self.cores.max(1)))
    }

    /// Whether it has less per core with one more job than the other has.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let ((open, cores), (others_open, others_cores)) = (self.with_one_more(), other.with_one_more());
        (open * others_cores).cmp(&(others_open * cores))
    }
}

/// Spreads jobs over hosts.
#[derive(Debug, Clone)]
pub struct Spread(Vec<Load>);

impl Spread {
    /// Over these hosts.
    #[must_use]
    pub const fn over(hosts: Vec<Load>) -> Self {
        Self(hosts)
    }

    /// The host that has fewest jobs per core once it has this one, which counts from now on; among equals the one that
    /// comes first by the job's rendezvous hash, so that several who enqueue at once don't all name the same. None, if
    /// there is no host.
    pub fn next(&mut self, job: &str) -> Option<HostId> {
        let first = self.0.iter_mut().min_by(|one, other| {
            one.cmp(other).then_with(|| rendezvous(job, other.host).cmp(&rendezvous(job, one.host)))
        })?;
        first.open += 1;
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
