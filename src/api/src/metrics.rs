//! Figures in Prometheus' text form (its "Exposition formats", version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use culvert_contract::reply::JobState;
use culvert_model::record::{Certificate, DhParams, Organization, Task};
use culvert_pool::{Owner, Stock};
use culvert_records::Query;
use serde::Serialize;

use crate::answer::Answer;
use crate::api::Api;
use crate::user::settings;
use crate::work::{job, task};
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
    let of = |what: fn(&Task) -> Option<u64>| {
        tasks.iter().filter_map(move |task| Some(([("task", task.id.as_str())], seconds(what(task)?))))
    };
    let about = "When a task last did what it is for, since 1970 by the store's clock.";
    page.family("culvert_task_last_success_timestamp_seconds", "gauge", about, of(|task| task.succeeded));
    page.family("culvert_task_duration_seconds", "gauge", "How long a task's last run took.", of(|task| task.duration));
    Ok(())
}

/// Of all organisations together: each one's are in the list of pools.
async fn pools(api: &Api, page: &mut Page) -> Answer<()> {
    let settings = settings(api).await?;
    let organizations = api.bus.count::<Organization>(Query::by("by_name")).await?;
    let mut pools = Vec::new();
    for pool in ["client", "server"] {
        let ready = Query::by("by_purpose").equal(pool).equal("ready");
        let level = if pool == "client" { settings.client_pool } else { settings.server_pool };
        pools.push((pool.to_owned(), api.bus.count::<Certificate>(ready).await?, u64::from(level) * organizations));
    }
    for stock in Stock::of(Owner::Cluster, &settings) {
        let (name, ready) = match stock {
            Stock::DhParams(bits) => (format!("dh_params_{bits}"), api.bus.count::<DhParams>(stock.ready()).await?),
            _ => (stock.name().to_owned(), api.bus.count::<Certificate>(stock.ready()).await?),
        };
        pools.push((name, ready, stock.level(&settings).into()));
    }
    let of = |what: fn(&(String, u64, u64)) -> u64| pools.iter().map(move |pool| ([("pool", &pool.0)], what(pool)));
    page.family("culvert_pool_ready", "gauge", "What is ready in pools.", of(|pool| pool.1));
    page.family("culvert_pool_level", "gauge", "What is to be ready in pools.", of(|pool| pool.2));
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
