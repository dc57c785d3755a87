//! What root asks on the local socket, over HTTP:
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | `{"status": "ok"}`, or 503 while the store cannot be reached |
//! | `GET /metrics` | figures in Prometheus' text form |
//! | `GET /v1/cli/status` | this host, the store, servers and hosts |
//! | `GET /v1/cli/default-password` | `{"username", "password"}`, or 404 when it was changed |
//! | `POST /v1/cli/reset-password` | likewise, with a new one-time password |
//! | `GET /v1/cli/store` | where records are kept, and how far a move is |
//! | `POST /v1/cli/store/restart` | the bus starts again, with what was changed in the state folder |
//! | `POST /v1/cli/store/detach` | this host runs no server any more: it is about to leave its cluster |
//! | `GET /v1/cli/hosts` | `{"here", "hosts": [{"id", "name", "status", "version", "hostname"}]}` |
//! | `POST /v1/cli/hosts/{name or id}/adopt` | `{"host", "name", "before"}`: this machine is that host from now on |

use std::fmt::Write;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::time::timeout;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::first::{self, Credentials};
use crate::{adopt, host, overview, server, store};

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
    Ok(Json(Status {
        version: overview::VERSION,
        host: api.host().await?,
        store: "reachable",
        users_online: overview::status(&api).await?.users_online,
        servers: servers.collect(),
        hosts: hosts.collect(),
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
    let mut text = String::from("# TYPE culvert_api_answers_total counter\n");
    for (class, count) in api.counters.read() {
        let _ = writeln!(text, "culvert_api_answers_total{{status=\"{class}\"}} {count}");
    }
    let status = overview::status(&api).await;
    gauge(&mut text, "culvert_store_reachable", "Whether the store answers.", status.is_ok().into());
    if let Ok(status) = status {
        for (name, about, count) in [
            ("culvert_organizations", "Organizations.", status.org_count),
            ("culvert_users", "Users.", status.user_count),
            ("culvert_users_online", "Users who are connected.", status.users_online),
            ("culvert_servers", "Servers.", status.server_count),
            ("culvert_servers_online", "Servers that run.", status.servers_online),
            ("culvert_hosts", "Hosts.", status.host_count),
            ("culvert_hosts_online", "Hosts that are there.", status.hosts_online),
        ] {
            gauge(&mut text, name, about, count);
        }
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn gauge(text: &mut String, name: &str, about: &str, count: u64) {
    let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} gauge\n{name} {count}");
}
