//! How busy a machine was.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record;
use crate::{HostId, Millis};

/// The length of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Period {
    /// A minute; kept for 6 hours.
    #[serde(rename = "1m")]
    Minute,
    /// Five minutes; kept for a day.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// Half an hour; kept for 7 days.
    #[serde(rename = "30m")]
    HalfHour,
    /// Two hours; kept for 30 days.
    #[serde(rename = "2h")]
    TwoHours,
    /// A day; kept for 365 days.
    #[serde(rename = "1d")]
    Day,
}

impl Period {
    /// All, the shortest first.
    pub const ALL: [Self; 5] = [Self::Minute, Self::FiveMinutes, Self::HalfHour, Self::TwoHours, Self::Day];

    /// Its name in paths and ids.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::HalfHour => "30m",
            Self::TwoHours => "2h",
            Self::Day => "1d",
        }
    }

    /// How long a bucket is, in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::FiveMinutes => 5 * 60,
            Self::HalfHour => 30 * 60,
            Self::TwoHours => 2 * 3600,
            Self::Day => 24 * 3600,
        }
    }

    /// For how many seconds a bucket is kept.
    #[must_use]
    pub const fn kept(self) -> u64 {
        match self {
            Self::Minute => 6 * 3600,
            Self::FiveMinutes => 24 * 3600,
            Self::HalfHour => 7 * 24 * 3600,
            Self::TwoHours => 30 * 24 * 3600,
            Self::Day => 365 * 24 * 3600,
        }
    }

    /// The next shorter one, of whose buckets a bucket is made.
    #[must_use]
    pub const fn shorter(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::FiveMinutes => Some(Self::Minute),
            Self::HalfHour => Some(Self::FiveMinutes),
            Self::TwoHours => Some(Self::HalfHour),
            Self::Day => Some(Self::TwoHours),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Period {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|period| period.name() == text).ok_or(())
    }
}

/// What was measured in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u32, u32, u32)", into = "(u64, u32, u32, u32)")]
pub struct Bucket {
    /// When it begins, seconds since 1970: a multiple of the period's length.
    pub begin: u64,
    /// How often was measured.
    pub count: u32,
    /// The sum of the processors' load, in thousandths of all of them.
    pub cpu: u32,
    /// The sum of the memory in use, in thousandths of all of it.
    pub memory: u32,
}

impl From<(u64, u32, u32, u32)> for Bucket {
    fn from((begin, count, cpu, memory): (u64, u32, u32, u32)) -> Self {
        Self { begin, count, cpu, memory }
    }
}

impl From<Bucket> for (u64, u32, u32, u32) {
    fn from(Bucket { begin, count, cpu, memory }: Bucket) -> Self {
        (begin, count, cpu, memory)
    }
}

impl Bucket {
    /// The mean load of the processors and the mean share of memory in use, each 0 to 1.
    #[must_use]
    pub fn means(&self) -> (f64, f64) {
        let mean = |sum: u32| f64::from(sum) / (1000.0 * f64::from(self.count.max(1)));
        (mean(self.cpu), mean(self.memory))
    }

    const fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }
}

/// How busy a host's machine was, in buckets of one length. One record that is replaced, so that there are five per host
/// and not thousands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// `<host>-<period>`.
    pub id: String,
    /// The host.
    pub host: HostId,
    /// How long the buckets are.
    pub period: Period,
    /// Oldest first; as many as [`Period::kept`] says.
    pub buckets: Vec<Bucket>,
}
record!(Usage);

impl Usage {
    /// The id of a host's record of this period.
    #[must_use]
    pub fn name(host: HostId, period: Period) -> String {
        format!("{host}-{}", period.name())
    }

    /// Nothing was measured yet.
    #[must_use]
    pub fn new(host: HostId, period: Period) -> Self {
        Self { id: Self::name(host, period), host, period, buckets: Vec::new() }
    }

    /// Takes in what was measured at `now`, and lets go of what is too old. A clock that was set back by less than the
    /// record is long adds to the last bucket; by more, the record begins anew.
    pub fn measured(&mut self, now: Millis, cpu: u32, memory: u32) {
        let begin = self.begin(now);
        self.keep_from(now);
        let measured = Bucket { begin, count: 1, cpu, memory };
        match self.buckets.last_mut() {
            Some(last) if last.begin >= begin => last.add(&measured),
            _ => self.buckets.push(measured),
        }
    }

    /// Makes the bucket of `now` out of those of the next shorter period. Doing it again gives the same.
    pub fn gathered(&mut self, now: Millis, shorter: &Self) {
        let begin = self.begin(now);
        self.keep_from(now);
        let mut all = Bucket { begin, count: 0, cpu: 0, memory: 0 };
        let end = begin + self.period.seconds();
        shorter.buckets.iter().filter(|it| (begin..end).contains(&it.begin)).for_each(|it| all.add(it));
        self.buckets.retain(|bucket| bucket.begin < begin);
        if all.count > 0 {
            self.buckets.push(all);
        }
    }

    const fn begin(&self, now: Millis) -> u64 {
        let length = self.period.seconds();
        now / 1000 / length * length
    }

    fn keep_from(&mut self, now: Millis) {
        let (kept, now) = (self.period.kept(), now / 1000);
        self.buckets.retain(|bucket| bucket.begin + kept > now && bucket.begin <= now + kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;

    fn host() -> HostId {
        HostId::new()
    }

    /// A machine that is measured every minute from `from` on, as the bus does it.
    fn measured(from: Millis, minutes: u64, cpu: impl Fn(u64) -> u32) -> Vec<Usage> {
        let host = host();
        let mut all: Vec<Usage> = Period::ALL.iter().map(|period| Usage::new(host, *period)).collect();
        for minute in 0..minutes {
            let now = from + minute * MINUTE;
            all[0].measured(now, cpu(minute), 500);
            for place in 1..all.len() {
                let (before, behind) = all.split_at_mut(place);
                behind[0].gathered(now, &before[place - 1]);
            }
        }
        all
    }

    #[test]
    fn a_years_buckets_are_bounded() {
        let all = measured(0, 2 * 24 * 60, |_| 100);
        for usage in &all {
            let most = usage.period.kept() / usage.period.seconds();
            assert!(usage.buckets.len() as u64 <= most, "{:?}: {}", usage.period, usage.buckets.len());
            assert!(usage.buckets.iter().all(|bucket| bucket.begin % usage.period.seconds() == 0));
            assert!(usage.buckets.iter().all(|bucket| bucket.means() == (0.1, 0.5)), "{:?}", usage.period);
        }
        let counts: Vec<usize> = all.iter().map(|usage| usage.buckets.len()).collect();
        assert_eq!(counts, [360, 288, 96, 24, 2]);
    }

    #[test]
    fn longer_buckets_are_means_of_shorter_ones() {
        let all = measured(0, 10, |minute| if minute < 5 { 0 } else { 1000 });
        let means: Vec<f64> = all[1].buckets.iter().map(|bucket| bucket.means().0).collect();
        assert_eq!(means, [0.0, 1.0]);
        assert_eq!(all[4].buckets, [Bucket { begin: 0, count: 10, cpu: 5000, memory: 5000 }]);
    }

    #[test]
    fn a_restart_in_the_middle_of_a_bucket_loses_nothing() {
        let mut all = measured(0, 7, |_| 200);
        let shorter = all[0].clone();
        let before = all[1].clone();
        all[1].gathered(6 * MINUTE, &shorter);
        assert_eq!(all[1], before);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_break_it() {
        let mut usage = Usage::new(host(), Period::Minute);
        usage.measured(100 * MINUTE, 1, 1);
        usage.measured(90 * MINUTE, 1, 1);
        assert_eq!(usage.buckets, [Bucket { begin: 6000, count: 2, cpu: 2, memory: 2 }]);
        usage.measured(10_000 * MINUTE, 1, 1);
        usage.measured(90 * MINUTE, 1, 1);
        assert_eq!(usage.buckets, [Bucket { begin: 5400, count: 1, cpu: 1, memory: 1 }]);
    }
}
