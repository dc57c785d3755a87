//! Tasks: the list, and having one run now.

use culvert_contract::reply;
use culvert_model::record::Task;
use culvert_records::{Failure, Query, Stored};

use super::named;
use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::Caller;

/// Tasks with their last run.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<Vec<reply::Task>> {
    Ok(all(api).await?.into_iter().map(show).collect())
}

/// All tasks.
///
/// # Errors
///
/// The store can't be reached.
pub async fn all(api: &Api) -> Answer<Vec<Stored<Task>>> {
    Ok(api.bus.list::<Task>(Query::all()).await?)
}

/// Whether a task's last run did not do what it is for.
pub fn failed(task: &Task) -> bool {
    task.finished.is_some() && task.finished != task.succeeded
}

fn show(found: Stored<Task>) -> reply::Task {
    let holder = found.lease.as_ref().filter(|lease| lease.left > 0).map(|lease| lease.host);
    let task = found.record;
    reply::Task {
        running: holder.is_some(),
        id: task.id,
        due: task.due,
        attempts: task.attempts,
        finished: task.finished,
        succeeded: task.succeeded,
        duration: task.duration,
        host: holder.or(task.host),
        result: task.result,
    }
}

/// Makes a task due now: the first host that looks runs it.
///
/// # Errors
///
/// It is running, is not there, or the store can't be reached. Nothing was changed.
pub async fn run(api: &Api, caller: &Caller, id: &str) -> Answer<()> {
    let mut found = named::<Task>(api, id, "task").await?;
    if found.held_for() > 0 {
        return Err(No::bad("task_running", "This task is running. Look at what comes of it, then ask again."));
    }
    found.record.due = api.now().await?;
    found.record.attempts = 0;
    match api.bus.update(&mut found).await {
        Ok(()) => {
            api.note(format!("The task {id} runs now, as {} wants it.", caller.admin.username)).await;
            Ok(())
        }
        Err(Failure::Refused { .. }) => Err(No::raced()),
        Err(failure) => Err(failure.into()),
    }
}
