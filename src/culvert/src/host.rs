//! The cluster's hosts, and which of them this machine is.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use crate::appliance::wanted;
use crate::arguments::{Output, Place, Wanted};
use crate::configuration::Trouble;
use crate::print::print;

/// `culvert host list`.
///
/// # Errors
///
/// The appliance is not running or does not answer.
pub fn list(place: &Place, output: Output) -> Result<ExitCode, Trouble> {
    let answer = wanted(place, Method::GET, "/v1/cli/hosts")?;
    print(&match output {
        Output::Json => format!("{answer}\n"),
        Output::Text => lines(&answer),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `culvert host id`.
///
/// # Errors
///
/// The appliance is not running or does not answer.
pub fn id(place: &Place, output: Output) -> Result<ExitCode, Trouble> {
    let answer = wanted(place, Method::GET, "/v1/cli/hosts")?;
    let id = answer["here"].as_str().unwrap_or_default();
    print(&match output {
        Output::Json => format!("{}\n", serde_json::json!({ "id": id })),
        Output::Text => format!("{id}\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `culvert host adopt`.
///
/// # Errors
///
/// The appliance is not running, or this machine can't be that host, which the text explains.
pub fn adopt(given: &Wanted, output: Output) -> Result<ExitCode, Trouble> {
    let path = format!("/v1/cli/hosts/{}/adopt", encoded(&given.host));
    let answer = wanted(&given.place, Method::POST, &path)?;
    print(&match output {
        Output::Json => format!("{answer}\n"),
        Output::Text => format!(
            "This machine is the host {} ({}) from now on. Its servers start here within half a minute.\n",
            answer["name"].as_str().unwrap_or_default(),
            answer["host"].as_str().unwrap_or_default(),
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A line per host; a star is before the one that this machine is.
fn lines(answer: &Value) -> String {
    let text = |host: &Value, field: &str| host[field].as_str().unwrap_or_default().to_owned();
    let hosts = answer["hosts"].as_array().into_iter().flatten();
    hosts
        .map(|host| {
            let mark = if host["id"] == answer["here"] { "*" } else { " " };
            format!("{mark} {}  {:<8}  {}\n", text(host, "id"), text(host, "status"), text(host, "name"))
        })
        .collect()
}

/// As one part of a path: all but letters and digits is percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_star() {
        let answer = serde_json::json!({ "here": "b", "hosts": [
            { "id": "a", "name": "gate", "status": "offline" }, { "id": "b", "name": "new", "status": "online" },
        ] });
        assert_eq!(lines(&answer), "  a  offline   gate\n* b  online    new\n");
    }

    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(encoded("gate 1/ä"), "gate%201%2F%C3%A4");
    }
}
