//! Keys as bytes that sort as the keys do.

use culvert_wire::bus::Key;

const NULL: u8 = 0x10;
const INT: u8 = 0x20;
const TEXT: u8 = 0x30;
const BOOL: u8 = 0x40;

/// Greater than every tag: ends the range of everything that begins alike.
const END: u8 = 0xff;

/// Stands for a zero byte inside of text, which two zero bytes end.
const ESCAPED: u8 = 0xff;

/// Several keys as bytes. Bytes of a shorter list are a prefix of those of every longer one that begins with it.
pub fn encode(keys: &[Key]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(keys.len() * 16);
    keys.iter().for_each(|key| push(&mut bytes, key));
    bytes
}

/// The keys that these bytes are; nothing if they are damaged.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    while let [tag, rest @ ..] = bytes {
        let (key, rest) = pull(*tag, rest)?;
        keys.push(key);
        bytes = rest;
    }
    Some(keys)
}

/// The first bytes, and the first beyond the last, of all keys that begin with these and whose next key is in a range.
/// A bound finds only keys of its own type.
pub fn span(equal: &[Key], from: Option<&Key>, to: Option<&Key>) -> (Vec<u8>, Vec<u8>) {
    let prefix = encode(equal);
    let bound = |key: &Key| [&prefix[..], &encode(std::slice::from_ref(key))].concat();
    let lower = match (from, to) {
        (Some(from), _) => bound(from),
        (None, Some(to)) => [&prefix[..], &[tag(to)]].concat(),
        (None, None) => prefix.clone(),
    };
    let upper = match (from, to) {
        (_, Some(to)) => bound(to),
        (Some(from), None) => [&prefix[..], &[tag(from) + 1]].concat(),
        (None, None) => [&prefix[..], &[END]].concat(),
    };
    (lower, upper)
}

const fn tag(key: &Key) -> u8 {
    match key {
        Key::Null => NULL,
        Key::Int(_) => INT,
        Key::Text(_) => TEXT,
        Key::Bool(_) => BOOL,
    }
}

fn push(bytes: &mut Vec<u8>, key: &Key) {
    bytes.push(tag(key));
    match key {
        Key::Null => {}
        // With the sign turned over, negative numbers sort before the others.
        Key::Int(number) => bytes.extend((*number as u64 ^ 1 << 63).to_be_bytes()),
        Key::Text(text) => {
            for byte in text.bytes() {
                bytes.push(byte);
                if byte == 0 {
                    bytes.push(ESCAPED);
                }
            }
            bytes.extend([0, 0]);
        }
        Key::Bool(truth) => bytes.push(u8::from(*truth)),
    }
}

fn pull(tag: u8, bytes: &[u8]) -> Option<(Key, &[u8])> {
    match tag {
        NULL => Some((Key::Null, bytes)),
        INT => {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            Some((Key::Int((u64::from_be_bytes(*number) ^ 1 << 63) as i64), rest))
        }
        TEXT => text(bytes),
        BOOL => bytes.split_first().map(|(truth, rest)| (Key::Bool(*truth != 0), rest)),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<(Key, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [0, 0, after @ ..] => return Some((Key::Text(String::from_utf8(text).ok()?), after)),
            [0, ESCAPED, after @ ..] => {
                text.push(0);
                rest = after;
            }
            [byte, after @ ..] if *byte != 0 => {
                text.push(*byte);
                rest = after;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            Just(Key::Null),
            any::<i64>().prop_map(Key::Int),
            (-2..3i64).prop_map(Key::Int),
            "[a\u{0}\u{1}ÿ]{0,3}".prop_map(Key::Text),
            any::<String>().prop_map(Key::Text),
            any::<bool>().prop_map(Key::Bool),
        ]
    }

    fn any_keys() -> impl Strategy<Value = Vec<Key>> {
        prop::collection::vec(any_key(), 0..4)
    }

    proptest! {
        #[test]
        fn bytes_sort_as_keys_do(a in any_keys(), b in any_keys()) {
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
        }

        #[test]
        fn bytes_become_keys_again(keys in any_keys()) {
            prop_assert_eq!(decode(&encode(&keys)), Some(keys));
        }

        #[test]
        fn damaged_bytes_are_no_keys(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(keys) = decode(&bytes) {
                // Only truth values have more than one form.
                prop_assert_eq!(decode(&encode(&keys)), Some(keys));
            }
        }

        #[test]
        fn a_span_holds_what_it_says(
            equal in prop::collection::vec(any_key(), 0..2),
            next in any_key(),
            rest in any_keys(),
            from in prop::option::of(any_key()),
            to in prop::option::of(any_key()),
        ) {
            prop_assume!(from.iter().zip(&to).all(|(from, to)| tag(from) == tag(to)));
            let (lower, upper) = span(&equal, from.as_ref(), to.as_ref());
            let bytes = encode(&[&equal[..], std::slice::from_ref(&next), &rest].concat());
            let inside = from.iter().all(|from| tag(from) == tag(&next) && next >= *from)
                && to.iter().all(|to| tag(to) == tag(&next) && next < *to);
            prop_assert_eq!(lower <= bytes && bytes < upper, inside);
        }
    }
}
