//! What the processes say to each other: one request and one reply type per edge, and how they become bytes.
//!
//! A message is encoded with postcard and must be used up to its last byte. On a stream it follows its length as four
//! bytes, big-endian; on a sequenced-packet socket a message is a packet. Every edge has a cap.

pub mod bus;
pub mod errand;
pub mod helper;
mod octets;
pub mod proxy;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message that is none: too long, cut, with something behind it, or of no known shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message from another process is malformed: the two are of different versions, or it misbehaves")
    }
}

impl std::error::Error for Malformed {}

/// The message as bytes.
///
/// # Errors
///
/// The value has no form in postcard (a sequence of unknown length): no type of this crate has that.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Malformed> {
    postcard::to_stdvec(message).map_err(|_| Malformed)
}

/// The message that these bytes are, all of them.
///
/// # Errors
///
/// They are not one message of this type, or more than one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_follow_a_message() {
        let bytes = encode(&helper::Request::List).expect("an enum has a form");
        assert_eq!(decode(&bytes), Ok(helper::Request::List));
        assert_eq!(decode::<helper::Request>(&[&bytes[..], &[0]].concat()), Err(Malformed));
        assert_eq!(decode::<helper::Request>(&[]), Err(Malformed));
    }
}
