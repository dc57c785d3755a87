//! Messages between processes.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use culvert_bus::{request, roles};
use culvert_model::Role;
use culvert_wire::bus::{Answer, Call, FRAME};
use culvert_wire::errand::{Errand, Report, read, write};
use culvert_wire::{decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// What is a message is the same message again, once it was encoded.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let message: T = decode(bytes).ok()?;
    let again = encode(&message).expect("what was decoded can be encoded");
    assert_eq!(decode(&again).as_ref(), Ok(&message));
    Some(message)
}

/// What a peer of the bus sends.
pub fn call(bytes: &[u8]) {
    if let Some(Call { request, .. }) = comes_back(bytes) {
        // Whether it is good does not depend on who asks, and nothing that is printed is looked at twice.
        let good = request::check(&request).is_ok();
        let _ = Role::ALL.map(|role| roles::judge(role, &request));
        assert_eq!(request::check(&request).is_ok(), good);
        assert!(!format!("{request:?}").is_empty());
    }
}

/// What the bus sends.
pub fn answer(bytes: &[u8]) {
    if let Some(Answer { reply, .. }) = comes_back(bytes) {
        assert!(!format!("{reply:?}").is_empty());
    }
}

/// What is asked of the helper, and what it says.
pub fn helper(bytes: &[u8]) {
    let _ = comes_back::<culvert_wire::helper::Request>(bytes);
    let _ = comes_back::<culvert_wire::helper::Reply>(bytes);
}

/// Errands and reports, one behind the other.
pub fn errand(bytes: &[u8]) {
    all::<Errand>(bytes);
    all::<Report>(bytes);
}

fn all<T: Serialize + DeserializeOwned + PartialEq + Debug>(mut bytes: &[u8]) {
    while let Ok(Some(message)) = read::<T>(&mut bytes) {
        let mut again = Vec::new();
        write(&mut again, &message).expect("what was read is not too long");
        assert_eq!(read(&mut again.as_slice()).ok().flatten().as_ref(), Some(&message));
    }
}

/// A stream of frames gives the same frames in whatever pieces it comes. The first byte says how long these are.
pub fn stream(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = frames([bytes]);
    let pieces = frames(bytes.chunks(usize::from(*piece) + 1));
    assert_eq!(whole, pieces);
    for frame in &whole.0 {
        call(frame);
        answer(frame);
    }
}

/// The frames of a stream, and whether it went on to its end.
fn frames<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Bytes>, bool) {
    let mut codec = LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec();
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame.freeze()),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, true)
}
