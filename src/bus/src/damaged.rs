//! Whether a body is a record of its kind, as the processes will read it.

use culvert_model::record::Visitor;
use culvert_model::{Kind, Record, misread};

/// What is wrong with a body of this kind; nothing if it is good. Tells places, never values: they may be secret.
#[must_use]
pub fn fault(kind: Kind, body: &[u8]) -> Option<String> {
    kind.visit(Read(body)).err()
}

/// What is wrong with a body that stands under this id.
#[must_use]
pub fn fault_under(kind: Kind, id: &str, body: &[u8]) -> Option<String> {
    match kind.visit(Read(body)) {
        Ok(own) if own == id => None,
        Ok(_) => Some("it has the id of another record in it".into()),
        Err(why) => Some(why),
    }
}

/// Reads a body as a record; gives its id.
struct Read<'b>(&'b [u8]);

impl Visitor for Read<'_> {
    type Output = Result<String, String>;

    fn visit<T: Record>(self) -> Self::Output {
        // The parser would take a list for an object, too.
        if !self.0.trim_ascii_start().starts_with(b"{") {
            return Err("it is no JSON object".into());
        }
        serde_json::from_slice::<T>(self.0).map(|record| record.id()).map_err(|error| why(&error))
    }
}

/// What the parser says, without the values that it quotes.
fn why(error: &serde_json::Error) -> String {
    misread(&error.to_string(), error.is_data(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_without_values() {
        assert_eq!(fault(Kind::Nonce, br#"{"id":"a","expires":1}"#), None);
        assert_eq!(fault(Kind::Nonce, br#"{"id":"a"}"#).as_deref(), Some("missing field `expires`"));
        let secret = fault(Kind::Nonce, br#"{"id":"a","expires":"geheim"}"#).expect("it is text");
        assert!(secret.contains("before byte 28") && !secret.contains("geheim"), "{secret}");
        assert!(fault(Kind::Nonce, b"geheim").is_some_and(|why| !why.contains("geheim")));
        assert!(fault(Kind::Nonce, b"[]").is_some() && fault(Kind::Nonce, b"").is_some());
        assert!(fault_under(Kind::Nonce, "b", br#"{"id":"a","expires":1}"#).is_some());
    }
}
