//! Figures in Prometheus' text form (its "Exposition formats", version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use culvert_contract::reply::JobState;
use culvert_model::record::Task;
use culvert_pool::{Pool, Stock};
use serde::Serialize;

use crate::answer::Answer;
use crate::api::Api;
use crate::user::settings;
use crate::work::{job, pool, task};
use crate::{overview, renewal};

/// All figures. Those of the store are left out while it can't be reached.
pub async fn text(api: &Api) -> String {
    let mut page = Page::default();
    let answers = api.counters.read().map(|(class, count)| ([("status", class)], count));
    page.family("culvert_api_answers_total", "counter", "Answers by status.", answers);
    let takes = api.takes.read().map(|(pool, way, count)| ([("pool", pool), ("way", way)], count));
    page.family("culvert_pool_takes_total", "counter", "What was taken from pools, and which way.", takes);
    let counted = cluster(api, &mut page).await.is_ok();
    page.gauge("culvert_store_reachable", "Whether the store answers.", u64::from(counted));
    page.0
}

async fn cluster(api: &Api, page: &mut Page) -> Answer<()> {
    let status = overview::status(api).await?;
    for (name, about, count) in [
        ("culvert_organizations", "Organizations.", status.org_count),
        ("culvert_users", "Users.", status.user_count),
        ("culvert_users_online", "Users who are connected.", status.users_online),
        ("culvert_servers", "Servers.", status.server_count),
        ("culvert_servers_online", "Servers that run.", status.servers_online),
        ("culvert_hosts", "Hosts.", status.host_count),
        ("culvert_hosts_online", "Hosts that are there.", status.hosts_online),
    ] {
        page.gauge(name, about, count);
    }
    jobs(api, page).await?;
    tasks(api, page).await?;
    pools(api, page).await?;
    let about = "When the next certificate of a user or server ends, since 1970 by the store's clock.";
    if let Some(end) = renewal::next_end(api).await? {
        page.gauge("culvert_certificate_next_expiry_timestamp_seconds", about, seconds(end));
    }
    Ok(())
}

async fn jobs(api: &Api, page: &mut Page) -> Answer<()> {
    let now = api.now().await?;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let (mut oldest, mut longest) = (0, 0);
    for found in job::first(api).await?.0 {
        let state = job::state(&found);
        if state == JobState::Waiting && found.record.not_before <= now {
            oldest = oldest.max(now.saturating_sub(found.record.created));
        }
        if let Some(begun) = found.record.begun.filter(|_| found.held_for() > 0) {
            longest = longest.max(now.saturating_sub(begun));
        }
        let work = serde_json::to_value(&found.record.work).unwrap_or_default();
        *counts.entry((word(&work["what"]), word(state))).or_default() += 1;
    }
    let counts = counts.into_iter().map(|((work, state), count)| ([("work", work), ("state", state)], count));
    let about = "Jobs by what is to be done and where they are, of the 10000 that /v1/jobs shows.";
    page.family("culvert_jobs", "gauge", about, counts);
    let about = "Age of the oldest job that could be begun, and was not.";
    page.gauge("culvert_jobs_oldest_waiting_seconds", about, seconds(oldest));
    let about = "How long the attempt at a job has been going on that is going on for longest.";
    page.gauge("culvert_jobs_longest_running_seconds", about, seconds(longest));
    Ok(())
}

async fn tasks(api: &Api, page: &mut Page) -> Answer<()> {
    let tasks: Vec<Task> = task::all(api).await?.into_iter().map(|found| found.record).collect();
    let of = |what: fn(&Task) -> Option<f64>| {
        tasks.iter().filter_map(move |task| Some(([("task", task.id.as_str())], what(task)?)))
    };
    let about = "When a task last did what it is for, since 1970 by the store's clock; 0 if it never did.";
    let success = of(|task| Some(seconds(task.succeeded.unwrap_or(0))));
    page.family("culvert_task_last_success_timestamp_seconds", "gauge", about, success);
    let about = "Whether a task's last run did not do what it is for.";
    page.family("culvert_task_failed", "gauge", about, of(|task| Some(u8::from(task::failed(task)).into())));
    let about = "How often the run of a task that is due was begun.";
    page.family("culvert_task_attempts", "gauge", about, of(|task| Some(task.attempts.into())));
    let about = "How long a task's last run took.";
    page.family("culvert_task_duration_seconds", "gauge", about, of(|task| task.duration.map(seconds)));
    Ok(())
}

/// The pools of one kind, whosever they are: each one's figures are in the list of pools.
#[derive(Default)]
struct Pools {
    ready: u64,
    level: u64,
    coming: u64,
    dead: u64,
    empty: u64,
}

impl Pools {
    fn add(&mut self, pool: &Pool) {
        self.ready += pool.ready;
        self.level += u64::from(pool.level);
        self.coming += pool.coming;
        self.dead += pool.dead;
        self.empty += u64::from(pool.ready == 0 && pool.level > 0);
    }
}

async fn pools(api: &Api, page: &mut Page) -> Answer<()> {
    // Also while there is no organisation.
    let mut kinds: BTreeMap<String, Pools> = ["client", "server"].map(|kind| (kind.into(), Pools::default())).into();
    for pool in pool::all(api, &settings(api).await?).await?.0 {
        let kind = match pool.stock {
            Stock::DhParams(bits) => format!("dh_params_{bits}"),
            stock => stock.name().to_owned(),
        };
        kinds.entry(kind).or_default().add(&pool);
    }
    let mut tell = |figure: &str, about: &str, what: fn(&Pools) -> u64| {
        let values = kinds.iter().map(|(kind, pools)| ([("pool", kind)], what(pools)));
        page.family(&format!("culvert_pool_{figure}"), "gauge", about, values);
    };
    tell("ready", "What is ready in pools.", |pools| pools.ready);
    tell("level", "What is to be ready in pools.", |pools| pools.level);
    tell("coming", "What is being made for pools, or waits to be.", |pools| pools.coming);
    tell("dead", "What could not be made for pools.", |pools| pools.dead);
    tell("empty", "Pools in which nothing is ready, though something is to be.", |pools| pools.empty);
    Ok(())
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// A value's word, as it is in JSON.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, about: &str, value: impl Display) {
        self.family(name, "gauge", about, [([("", ""); 0], value)]);
    }

    /// One figure with its labels, whose values need no escaping.
    fn family<const N: usize, T: Display>(
        &mut self,
        name: &str,
        kind: &str,
        about: &str,
        values: impl IntoIterator<Item = ([(&'static str, T); N], impl Display)>,
    ) {
        let text = &mut self.0;
        let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let labels = labels.map(|(label, text)| format!("{label}=\"{text}\"")).join(",");
            let braced = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{braced} {value}");
        }
    }
}
