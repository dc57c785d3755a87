//! What can be asked of a running appliance.

use std::path::Path;
use std::process::ExitCode;

use http::{Method, StatusCode};
use serde_json::Value;

use crate::arguments::{Output, Place};
use crate::ask::ask;
use crate::configuration::Trouble;
use crate::settings::Settings;

/// `culvert status`.
///
/// # Errors
///
/// The appliance is not running or does not answer.
pub fn status(place: &Place, output: Output) -> Result<ExitCode, Trouble> {
    let answer = wanted(place, Method::GET, "/v1/cli/status")?;
    match output {
        Output::Json => println!("{answer}"),
        Output::Text => print_fields(&answer, 0),
    }
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
    let state = std::path::absolute(&place.state).unwrap_or_else(|_| place.state.clone());
    Settings::run_folder(&state)
}

fn wanted(place: &Place, method: Method, path: &str) -> Result<Value, Trouble> {
    answer(&run_folder(place), method, path)
}

/// What the api answers when all is well.
///
/// # Errors
///
/// It is not running, or answers with an error, whose text this is.
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
    match output {
        Output::Json => println!("{}", serde_json::json!({ "username": username, "password": password })),
        Output::Text => println!("Administrator: {username}\nPassword:      {password}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_fields(value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.replace('_', " "), value)).collect(),
        Value::Array(items) => items.iter().map(|item| ("-".to_string(), item)).collect(),
        _ => return println!("{indent}{}", plain(value)),
    };
    for (name, value) in entries {
        if value.is_object() || value.is_array() {
            println!("{indent}{name}");
            print_fields(value, depth + 1);
        } else {
            println!("{indent}{name}: {}", plain(value));
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}
