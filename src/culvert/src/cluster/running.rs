//! What the running appliance says of its store.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;

use crate::appliance::answer;
use crate::configuration::Trouble;
use crate::settings::Settings;

/// An appliance, running or not.
#[derive(Debug)]
pub struct Appliance {
    /// Its state folder.
    pub state: PathBuf,
    run: PathBuf,
}

/// How it is with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether records are kept in a database.
    pub member: bool,
    /// What is being moved.
    pub transfer: Option<Transfer>,
    /// Whether a move may be done already.
    pub binding: bool,
    /// Organisations, users and servers, if the store answers.
    pub holds: Option<[u64; 3]>,
}

/// How far a move is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// It goes on.
    Underway { step: String, done: u64, total: u64 },
    /// It can't go on now.
    Waiting(String),
    /// It can't be done.
    Refused(String),
}

impl Appliance {
    /// The one with this state folder.
    #[must_use]
    pub fn of(state: PathBuf) -> Self {
        let run = Settings::run_folder(&state);
        Self { state, run }
    }

    /// This host's id, if it has one already.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let id = std::fs::read_to_string(self.state.join("bus/host-id")).ok()?;
        Some(id.trim().to_owned())
    }

    /// How it is with the store; nothing if the appliance does not run.
    ///
    /// # Errors
    ///
    /// It runs and does not answer.
    pub fn standing(&self) -> Result<Option<Standing>, Trouble> {
        match answer(&self.run, Method::GET, "/v1/cli/store") {
            Ok(answer) => read(&answer).map(Some),
            Err(Trouble::NotRunning(_)) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Has the bus start again with what was changed in the state folder.
    ///
    /// # Errors
    ///
    /// The appliance does not answer.
    pub fn restart_bus(&self) -> Result<(), Trouble> {
        answer(&self.run, Method::POST, "/v1/cli/store/restart").map(drop)
    }

    /// Lets this host run no server any more. The names of those that it ran.
    ///
    /// # Errors
    ///
    /// The appliance or its store does not answer.
    pub fn detach(&self) -> Result<Vec<String>, Trouble> {
        let answer = answer(&self.run, Method::POST, "/v1/cli/store/detach")?;
        let names = answer["detached"].as_array().cloned().unwrap_or_default();
        Ok(names.iter().filter_map(|name| name.as_str().map(Into::into)).collect())
    }

    /// Whether records can be reached.
    #[must_use]
    pub fn healthy(&self) -> bool {
        answer(&self.run, Method::GET, "/health").is_ok()
    }

    /// Whether it was started so that `culvert join` and `culvert leave` decide where its records are.
    ///
    /// # Errors
    ///
    /// It was not: says what to do.
    pub fn demand_choice(&self) -> Result<(), Trouble> {
        let chosen =
            supervisor_line(&self.run).is_none_or(|line| line.windows(2).any(|pair| pair == ["--store", "chosen"]));
        if chosen {
            return Ok(());
        }
        Err(Trouble::Failed(
            "this appliance was started with the setting `store`, which decides where its records are: remove it from the \
             configuration file and the command line, start Culvert again, then repeat this"
                .into(),
        ))
    }
}

/// The command line of the supervisor that runs with this run folder.
fn supervisor_line(run: &Path) -> Option<Vec<String>> {
    let pid = std::fs::read_to_string(run.join("supervisor.lock")).ok()?;
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).ok()?;
    Some(line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

fn read(answer: &Value) -> Result<Standing, Trouble> {
    let strange = || Trouble::Failed("the api's answer is not understood: is it of another version?".into());
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(strange);
    let transfer = &answer["transfer"];
    let transfer = match transfer["state"].as_str() {
        None => None,
        Some("underway") => Some(Transfer::Underway {
            step: text(&transfer["step"])?,
            done: transfer["done"].as_u64().unwrap_or_default(),
            total: transfer["total"].as_u64().unwrap_or_default(),
        }),
        Some("waiting") => Some(Transfer::Waiting(text(&transfer["why"])?)),
        Some(_) => Some(Transfer::Refused(text(&transfer["why"])?)),
    };
    let holds = answer["holds"]
        .is_object()
        .then(|| ["organizations", "users", "servers"].map(|name| answer["holds"][name].as_u64().unwrap_or_default()));
    Ok(Standing { member: text(&answer["keeper"])? == "mongodb", transfer, binding: answer["binding"] == true, holds })
}
