//! What root asks on the local socket, over HTTP:
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | `{"status": "ok"}`, or 503 while the store cannot be reached |
//! | `GET /metrics` | figures in Prometheus' text form |
//! | `GET /v1/cli/status` | this host, the store, servers, hosts, and work that failed |
//! | `GET /v1/cli/default-password` | `{"username", "password"}`, or 404 when it was changed |
//! | `POST /v1/cli/reset-password` | likewise, with a new one-time password |
//! | `GET /v1/cli/store` | where records are kept, and how far a move is |
//! | `POST /v1/cli/store/restart` | the bus starts again, with what was changed in the state folder |
//! | `POST /v1/cli/store/detach` | this host runs no server any more: it is about to leave its cluster |
//! | `GET /v1/cli/hosts` | `{"here", "hosts": [{"id", "name", "status", "version", "hostname"}]}` |
//! | `POST /v1/cli/hosts/{name or id}/adopt` | `{"host", "name", "before"}`: this machine is that host from now on |

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use culvert_contract::reply::JobState;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::time::timeout;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::first::{self, Credentials};
use crate::work::{job, task};
use crate::{adopt, host, metrics, overview, server, store};

/// How long the first administrator is waited for after a start.
const PATIENCE: Duration = Duration::from_secs(5);

/// The routes of the local socket.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/cli/status", get(status))
        .route("/v1/cli/default-password", get(default_password))
        .route("/v1/cli/reset-password", post(reset_password))
        .route("/v1/cli/store", get(async |State(api)| store::standing(&api).await.map(Json)))
        .route("/v1/cli/store/restart", post(async |State(api)| store::restart(&api).await.map(Json)))
        .route("/v1/cli/store/detach", post(async |State(api)| store::detach(&api).await.map(Json)))
        .route("/v1/cli/hosts", get(hosts))
        .route("/v1/cli/hosts/{host}/adopt", post(adopted))
        .fallback(async || No::missing("page"))
        .with_state(api)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

async fn health(State(api): State<Api>) -> Answer<Json<Health>> {
    api.bus.here().await?;
    Ok(Json(Health { status: "ok" }))
}

async fn default_password(State(api): State<Api>) -> Answer<Json<Credentials>> {
    // Right after the very first start it is being made.
    let _ = timeout(PATIENCE, api.first.subscribe().wait_for(|there| *there)).await;
    first::password(&api).await.map(Json)
}

async fn reset_password(State(api): State<Api>) -> Answer<Json<Credentials>> {
    let _ = timeout(PATIENCE, api.first.subscribe().wait_for(|there| *there)).await;
    first::reset(&api).await.map(Json)
}

/// What `culvert status` prints.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    host: culvert_model::HostId,
    store: &'static str,
    users_online: u64,
    servers: Vec<Line>,
    hosts: Vec<Line>,
    dead_jobs: Vec<Line>,
    failed_tasks: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    status: String,
}

async fn status(State(api): State<Api>) -> Answer<Json<Status>> {
    let all = server::list(&api).await?;
    let scene = server::Scene::all(&api, &[]).await?;
    let word = |status| serde_json::to_value(status).ok().and_then(|word| word.as_str().map(str::to_owned));
    let servers = all
        .into_iter()
        .map(|server| Line { status: word(scene.status(&server)).unwrap_or_default(), name: server.name });
    let hosts = host::list(&api).await?;
    let hosts = hosts.into_iter().map(|found| Line {
        status: if host::online(&found) { "online" } else { "offline" }.into(),
        name: found.record.name,
    });
    let jobs = job::first(&api).await?.0.into_iter().filter(|found| job::state(found) == JobState::Dead);
    let dead_jobs = jobs.map(|found| Line { status: found.record.error.unwrap_or_default(), name: found.record.id });
    let tasks = task::all(&api).await?.into_iter().filter(|found| task::failed(&found.record));
    let failed_tasks =
        tasks.map(|found| Line { status: found.record.result.unwrap_or_default(), name: found.record.id });
    Ok(Json(Status {
        version: overview::VERSION,
        host: api.host().await?,
        store: "reachable",
        users_online: overview::status(&api).await?.users_online,
        servers: servers.collect(),
        hosts: hosts.collect(),
        dead_jobs: dead_jobs.collect(),
        failed_tasks: failed_tasks.collect(),
    }))
}

/// What `culvert host list` and `culvert host id` print.
#[derive(Serialize)]
struct Hosts {
    here: culvert_model::HostId,
    hosts: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    id: culvert_model::HostId,
    name: String,
    status: &'static str,
    version: String,
    hostname: String,
}

async fn hosts(State(api): State<Api>) -> Answer<Json<Hosts>> {
    let hosts = host::list(&api).await?.into_iter().map(|found| Found {
        status: if host::online(&found) { "online" } else { "offline" },
        id: found.record.id,
        name: found.record.name,
        version: found.record.version,
        hostname: found.record.hostname,
    });
    Ok(Json(Hosts { here: api.host().await?, hosts: hosts.collect() }))
}

async fn adopted(State(api): State<Api>, Path(host): Path<String>) -> Answer<Json<adopt::Adopted>> {
    adopt::adopt(&api, &host).await.map(Json)
}

async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&api).await)
}
