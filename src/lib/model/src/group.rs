//! The Diffie-Hellman groups of RFC 7919, computed from the number e as its appendix A says.

/// The group of this many bits, as PKCS #3, DER. There is one of 2048, 3072 and 4096 bits.
#[must_use]
pub fn group(bits: u16) -> Option<Vec<u8>> {
    let offset = match bits {
        2048 => 560_316,
        3072 => 2_625_351,
        4096 => 5_736_041,
        _ => return None,
    };
    // 2^b - 2^(b-64) + (floor(2^(b-130) e) + offset) 2^64 - 1: what stands between 64 ones and 64 ones is e and the
    // offset, less one for the ones at the end.
    let mut middle = quarter_of_e(usize::from(bits) / 32 - 4);
    add(&mut middle, &[offset - 1]);
    let ones = [u32::MAX; 2];
    let prime: Vec<u8> = [&ones[..], &middle, &ones].concat().into_iter().flat_map(u32::to_be_bytes).collect();
    // A number that begins with ones has a zero before it, lest it be negative. The generator is 2.
    let length = bits / 8 + 1;
    let ([high, low], [all_high, all_low]) = (length.to_be_bytes(), (length + 7).to_be_bytes());
    let head = [0x30, 0x82, all_high, all_low, 0x02, 0x82, high, low, 0];
    Some([&head[..], &prime, &[0x02, 0x01, 0x02]].concat())
}

/// The first binary places of e / 4, the most significant first.
fn quarter_of_e(words: usize) -> Vec<u32> {
    // Each of some hundred terms is less than one unit of the last place too small.
    const MORE: usize = 2;
    let mut term = vec![0; words + MORE];
    term[0] = 1 << 30;
    let mut sum = term.clone();
    for number in 1.. {
        divide(&mut term, number);
        if term.iter().all(|word| *word == 0) {
            break;
        }
        add(&mut sum, &term);
    }
    sum.truncate(words);
    sum
}

fn divide(number: &mut [u32], divisor: u32) {
    let mut rest = 0;
    for word in number {
        let part = rest << 32 | u64::from(*word);
        // Below 2^32, because the rest is below the divisor.
        *word = (part / u64::from(divisor)) as u32;
        rest = part % u64::from(divisor);
    }
}

/// Adds what has its last place where the number has it. The sum is not longer.
fn add(number: &mut [u32], other: &[u32]) {
    let mut carry = false;
    let other = other.iter().rev().copied().chain(std::iter::repeat(0));
    for (word, other) in number.iter_mut().rev().zip(other) {
        let (sum, over) = word.overflowing_add(other);
        let (sum, again) = sum.overflowing_add(u32::from(carry));
        (*word, carry) = (sum, over || again);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn as_openssl_has_them() {
        for bits in [2048, 3072, 4096] {
            let print = format!("openssl genpkey -genparam -algorithm DH -pkeyopt group:ffdhe{bits}");
            let convert = format!("{print} | openssl dhparam -outform DER");
            let output = Command::new("sh").args(["-c", &convert]).output().expect("a shell");
            assert_eq!(group(bits), Some(output.stdout), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn no_others() {
        assert!([0, 1024, 2047, 6144].into_iter().all(|bits| group(bits).is_none()));
    }
}
