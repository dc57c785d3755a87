//! Random words for passwords, tokens and links.

/// Letters and digits.
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Letters and digits that nobody takes for another (`semantics.md` section c).
const UNMISTAKABLE: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789";

/// Random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
    bytes
}

/// A word of letters and digits.
pub fn word(length: usize) -> String {
    pick(ALPHANUMERIC, length)
}

/// A word of letters and digits that can be read out.
pub fn readable(length: usize) -> String {
    pick(UNMISTAKABLE, length)
}

/// Lower-case hexadecimal digits.
pub fn hex(length: usize) -> String {
    pick(b"0123456789abcdef", length)
}

/// A number below `bound`, which is at most 65,536.
pub fn below(bound: u32) -> u32 {
    // The bias of a 32-bit remainder over so small a bound does not matter where this is used.
    u32::from_be_bytes(bytes::<4>()) % bound.max(1)
}

/// Every character is equally likely: bytes beyond the last whole multiple of the alphabet's length are thrown away.
fn pick(alphabet: &[u8], length: usize) -> String {
    let fair = 256 - 256 % alphabet.len();
    let mut word = String::with_capacity(length);
    while word.len() < length {
        let usable = bytes::<32>().into_iter().filter(|byte| usize::from(*byte) < fair);
        word.extend(usable.map(|byte| alphabet[usize::from(byte) % alphabet.len()] as char).take(length - word.len()));
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_their_length_and_alphabet() {
        for length in [0, 1, 12, 32, 200] {
            assert_eq!(word(length).len(), length);
            assert!(readable(length).bytes().all(|byte| UNMISTAKABLE.contains(&byte)));
        }
        assert_ne!(word(32), word(32));
    }
}
