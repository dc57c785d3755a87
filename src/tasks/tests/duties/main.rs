//! Each task over a real bus: the database is broken in the way that the task is for, then the task looks.

#[path = "../../../../tests/kit/samples.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod samples;
#[path = "../../../../tests/kit/stage.rs"]
#[allow(dead_code, reason = "the kit serves other suites, too")]
mod stage;

mod addresses;
mod certificates;
mod clients;
mod expired;
mod hosts;
mod jobs;
mod kit;
mod locks;
mod orphans;
mod pools;
mod race;
mod references;
mod reserved;
mod servers;
mod table;
mod users;
