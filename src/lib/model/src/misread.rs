//! What is wrong with a stored body, said without its values: they may be secret.

/// What a JSON parser says about a body, without what it quotes: only the name of a missing field is repeated. `data` is
/// whether the body is JSON and no record, `column` how many bytes were read (bodies have one line).
#[must_use]
pub fn misread(said: &str, data: bool, column: usize) -> String {
    match said.split(" at line ").next() {
        Some(missing) if missing.starts_with("missing field") => missing.to_owned(),
        _ if data => format!("a value before byte {column} is of the wrong kind"),
        _ => format!("it is no JSON from byte {column} on"),
    }
}
