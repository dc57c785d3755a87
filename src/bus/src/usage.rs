//! How busy this machine is: measured once a minute from two files of the kernel, and kept in one record per period.

use std::time::Duration;

use culvert_model::record::{Period, Usage};
use culvert_model::{HostId, Millis, Record};
use culvert_wire::bus::{Guard, Write};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::heartbeat::Standing;
use crate::store::{Answer, Store, write_id};

const STAT: &str = "/proc/stat";
const MEMORY: &str = "/proc/meminfo";

/// How often is measured.
const MINUTE: Millis = 60_000;

/// How long after the end of a minute, so that the store's clock is surely past it.
const MARGIN: Millis = 500;

/// How long to wait after the store did not answer.
const PAUSE: Duration = Duration::from_secs(30);

/// What the processors did since the boot, in ticks of all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// Measures and writes, for ever, while this machine is the host that it says it is. Cancel safe: what is dropped is one
/// minute's figure.
pub async fn run<S: Store>(store: &S, host: HostId, mut standing: watch::Receiver<Standing>) {
    let mut last = None;
    let mut first = true;
    loop {
        if standing.wait_for(|it| *it == Standing::Held).await.is_err() {
            return std::future::pending().await;
        }
        let Ok(now) = store.now().await else {
            sleep(PAUSE).await;
            continue;
        };
        let before = last.take().or_else(ticks);
        sleep(Duration::from_millis(MINUTE - now % MINUTE + MARGIN)).await;
        // The minute that has just ended.
        let minute = now / MINUTE * MINUTE;
        last = ticks();
        let (Some(before), Some(after), Some(memory)) = (before, last, memory()) else { continue };
        let written = write(store, host, minute, load(before, after), memory, first).await;
        first &= written.is_err();
        if let Err(trouble) = written {
            tracing::debug!(?trouble, "how busy this machine is could not be written");
        }
    }
}

/// Writes what was measured in the minute that began then: the shortest period always, the longer ones whenever a bucket
/// has ended that they are made of, and `all` of them after a start, since the end of one may have been missed.
async fn write<S: Store>(store: &S, host: HostId, minute: Millis, cpu: u32, memory: u32, all: bool) -> Answer<()> {
    let mut shorter = read(store, host, Period::Minute).await?;
    shorter.0.measured(minute, cpu, memory);
    let mut writes = vec![put(&shorter)];
    for period in Period::ALL.into_iter().filter(|period| period.shorter().is_some()) {
        if !all && !due(period, minute) {
            break;
        }
        let mut usage = read(store, host, period).await?;
        // The one before, too: its last part may not have been there when it was written.
        usage.0.gathered(minute.saturating_sub(period.seconds() * 1000), &shorter.0);
        usage.0.gathered(minute, &shorter.0);
        writes.push(put(&usage));
        shorter = usage;
    }
    store.write(write_id(), writes).await.map(drop)
}

/// Whether the minute that began then ends a bucket of those that this period's are made of; of five minutes, one of its
/// own: so there is little more than one write a minute.
fn due(period: Period, minute: Millis) -> bool {
    let part = match period.shorter() {
        None => return true,
        Some(Period::Minute) => period,
        Some(shorter) => shorter,
    };
    ((minute + MINUTE) / 1000).is_multiple_of(part.seconds())
}

/// The record, and its revision if it is there. What is damaged begins anew.
async fn read<S: Store>(store: &S, host: HostId, period: Period) -> Answer<(Usage, Option<u64>)> {
    let row = store.get(Usage::KIND, &Usage::name(host, period)).await?;
    let revision = row.as_ref().map(|row| row.revision);
    let usage = row.and_then(|row| serde_json::from_slice(&row.body).ok());
    Ok((usage.unwrap_or_else(|| Usage::new(host, period)), revision))
}

fn put((usage, revision): &(Usage, Option<u64>)) -> Write {
    let (kind, id) = (Usage::KIND, usage.id.clone());
    let body = serde_json::to_vec(usage).expect("whole numbers and text have a form in JSON");
    match revision {
        Some(revision) => Write::Update { kind, id, guard: Guard { revision: Some(*revision), claim: None }, body },
        None => Write::Insert { kind, id, body },
    }
}

fn ticks() -> Option<Ticks> {
    parse_ticks(&std::fs::read_to_string(STAT).ok()?)
}

/// The line of all processors: user, nice, system, idle, waiting for disks, interrupts, and what other machines on the
/// same metal took. Guests' time is in the user's already (proc_stat(5)).
fn parse_ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    let all = ticks.iter().sum::<u64>();
    Some(Ticks { busy: all - idle, all })
}

/// In thousandths of all processors.
fn load(before: Ticks, after: Ticks) -> u32 {
    // The time that a processor was idle may go back a little.
    let (busy, all) = (after.busy.saturating_sub(before.busy), after.all.saturating_sub(before.all));
    (busy * 1000).checked_div(all).unwrap_or(0).min(1000) as u32
}

fn memory() -> Option<u32> {
    parse_memory(&std::fs::read_to_string(MEMORY).ok()?)
}

/// What is in use and could not be given to somebody else, in thousandths of all.
fn parse_memory(text: &str) -> Option<u32> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    let (all, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    let used = all.saturating_sub(available) * 1000;
    Some(used.checked_div(all).unwrap_or(0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::Embedded;

    #[test]
    fn the_kernels_files() {
        let first = parse_ticks("cpu  100 10 40 800 50 0 0 0 0 0\ncpu0 1 1 1 1\n").expect("a line");
        assert_eq!(first, Ticks { busy: 150, all: 1000 });
        let second = parse_ticks("cpu  200 10 90 1600 100 0 0 0 7 7\n").expect("a line");
        assert_eq!(load(first, second), 150);
        assert_eq!(load(second, first), 0);
        assert_eq!(parse_ticks("cpu  1 2 3\n"), None);
        assert_eq!(parse_memory("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:    600 kB\n"), Some(400));
        assert_eq!(parse_memory("MemTotal: 1000 kB\n"), None);
        assert!(ticks().is_some_and(|ticks| ticks.all > ticks.busy) && memory().is_some_and(|used| used <= 1000));
    }

    #[tokio::test]
    async fn an_hour_of_minutes_is_written_in_time() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let host = HostId::new();
        let store = Embedded::open(&folder.path().join("store.sqlite"), host).expect("the store opens");
        for minute in 0..60 {
            write(&store, host, minute * MINUTE, 250, 500, minute == 0).await.expect("the store answers");
        }
        for (period, buckets) in [(Period::Minute, 60), (Period::FiveMinutes, 12), (Period::HalfHour, 2)] {
            let (usage, _) = read(&store, host, period).await.expect("the store answers");
            assert_eq!(usage.buckets.len(), buckets, "{period:?}");
            assert!(usage.buckets.iter().all(|bucket| bucket.means() == (0.25, 0.5)), "{usage:?}");
            assert_eq!(usage.buckets.iter().map(|bucket| bucket.count).sum::<u32>(), 60, "{period:?}");
        }
        let (minutes, revision) = read(&store, host, Period::Minute).await.expect("the store answers");
        assert_eq!((minutes.id, revision), (Usage::name(host, Period::Minute), Some(60)));
        let (_, revision) = read(&store, host, Period::FiveMinutes).await.expect("the store answers");
        assert_eq!(revision, Some(13), "once at the start, then every five minutes");
    }
}
