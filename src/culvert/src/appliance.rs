//! What can be asked of a running appliance.

use std::path::Path;
use std::process::ExitCode;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::arguments::{Output, Place};
use crate::ask::ask;
use crate::configuration::Trouble;
use crate::print::print;
use crate::settings::Settings;

/// `culvert status`.
///
/// # Errors
///
/// The appliance is not running or does not answer.
pub fn status(place: &Place, output: Output) -> Result<ExitCode, Trouble> {
    let answer = wanted(place, Method::GET, "/v1/cli/status")?;
    print(&match output {
        Output::Json => format!("{answer}\n"),
        Output::Text => fields(&answer),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `culvert default-password`.
///
/// # Errors
///
/// The appliance is not running, or the password was changed.
pub fn default_password(place: &Place, output: Output) -> Result<ExitCode, Trouble> {
    credentials(&wanted(place, Method::GET, "/v1/cli/default-password")?, output)
}

/// `culvert reset-password`.
///
/// # Errors
///
/// The appliance is not running.
pub fn reset_password(place: &Place, output: Output) -> Result<ExitCode, Trouble> {
    credentials(&wanted(place, Method::POST, "/v1/cli/reset-password")?, output)
}

/// The run folder of an appliance.
fn run_folder(place: &Place) -> std::path::PathBuf {
    Settings::run_folder(&place.absolute())
}

/// What a running appliance answers when all is well.
///
/// # Errors
///
/// It is not running, or answers with an error, whose text this is.
pub fn wanted(place: &Place, method: Method, path: &str) -> Result<Value, Trouble> {
    answer(&run_folder(place), method, path)
}

/// The same, of the appliance with this run folder.
///
/// # Errors
///
/// As [`wanted`].
pub fn answer(run: &Path, method: Method, path: &str) -> Result<Value, Trouble> {
    match ask(run, method, path)? {
        (StatusCode::OK, answer) => Ok(answer),
        (status, answer) => {
            let text = answer.get("error_msg").unwrap_or(&answer).as_str().unwrap_or("no reason given").to_string();
            Err(Trouble::Failed(format!("{text} ({status})")))
        }
    }
}

fn credentials(answer: &Value, output: Output) -> Result<ExitCode, Trouble> {
    let (Some(username), Some(password)) = (answer["username"].as_str(), answer["password"].as_str()) else {
        return Err(Trouble::Failed("the api answered without name and password: is it of another version?".into()));
    };
    print(&match output {
        Output::Json => format!("{}\n", serde_json::json!({ "username": username, "password": password })),
        Output::Text => format!("Administrator: {username}\nPassword:      {password}\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A line per field; what has a name and a status is a line of its own below its list.
fn fields(answer: &Value) -> String {
    let mut text = String::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        let name = name.replace('_', " ");
        match value.as_array() {
            Some(items) if !items.is_empty() => {
                text.push_str(&format!("{name}:\n"));
                text.extend(
                    items.iter().map(|item| format!("  {}: {}\n", plain(&item["name"]), plain(&item["status"]))),
                );
            }
            Some(_) => text.push_str(&format!("{name}: none\n")),
            None => text.push_str(&format!("{name}: {}\n", plain(value))),
        }
    }
    text
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_for_people() {
        let answer = serde_json::json!({
            "users_online": 2, "servers": [], "hosts": [{ "name": "a", "status": "online" }],
        });
        assert_eq!(fields(&answer), "hosts:\n  a: online\nservers: none\nusers online: 2\n");
    }
}
