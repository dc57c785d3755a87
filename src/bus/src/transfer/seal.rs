//! An encrypted stream that a passphrase opens: argon2id makes the key (RFC 9106), ChaCha20-Poly1305 (RFC 8439) seals
//! chunks of 64 KiB. Each chunk's nonce is its number and whether it is the last (the STREAM construction of Hoang,
//! Reyhanitabar, Rogaway and Vizár, 2015), so that a chunk which is changed, missing, moved or cut off is noticed. The key
//! is of one file only, since its salt is random.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// What a file begins with: "culvert" and the version of this format.
const MAGIC: &[u8; 8] = b"culvert\x01";

const SALT: usize = 16;
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

/// Memory in KiB, passes, lanes: about a quarter of a second on a small machine (RFC 9106, section 4, for less memory).
const COST: (u32, u32, u32) = (64 << 10, 3, 4);

/// What is sealed with each chunk beside its content.
struct Sealing {
    key: LessSafeKey,
    number: u64,
}

impl Sealing {
    fn new(passphrase: &str, salt: &[u8; SALT]) -> io::Result<Self> {
        let (memory, passes, lanes) = COST;
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(io::Error::other)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
            .map_err(io::Error::other)?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("the key has the cipher's length");
        Ok(Self { key: LessSafeKey::new(key), number: 0 })
    }

    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(last);
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts what is written. Only [`Sealed::finish`] makes the file whole.
pub struct Sealed<W> {
    to: W,
    sealing: Sealing,
    chunk: Vec<u8>,
}

impl<W: Write> Sealed<W> {
    /// Begins a stream.
    pub fn new(mut to: W, passphrase: &str) -> io::Result<Self> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).expect("the kernel gives random bytes to every process");
        to.write_all(MAGIC)?;
        to.write_all(&salt)?;
        Ok(Self { to, sealing: Sealing::new(passphrase, &salt)?, chunk: Vec::with_capacity(CHUNK + TAG) })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.sealing.nonce(last);
        let sealed = self.sealing.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.chunk);
        sealed.map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
        self.to.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    /// Ends the stream, and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is kept until it is known that it is not the last.
        if self.chunk.len() == CHUNK {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Decrypts what is read. Nothing of a chunk is given before it is known to be genuine, and no end but the true one.
pub struct Opened<R> {
    from: BufReader<R>,
    sealing: Sealing,
    chunk: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Opened<R> {
    /// Opens a stream. That the passphrase is wrong shows when it is first read.
    pub fn new(from: R, passphrase: &str) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(CHUNK + TAG, from);
        let mut head = [0; MAGIC.len() + SALT];
        let bad = |why: &'static str| io::Error::new(ErrorKind::InvalidData, why);
        from.read_exact(&mut head).map_err(|_| bad("this is no backup of Culvert"))?;
        let (magic, salt) = head.split_at(MAGIC.len());
        if magic[..7] != MAGIC[..7] {
            return Err(bad("this is no backup of Culvert"));
        }
        if magic != MAGIC {
            return Err(bad("this backup was made by a newer version of Culvert: restore it with that version"));
        }
        let salt = salt.try_into().expect("that is how long it is");
        Ok(Self { from, sealing: Sealing::new(passphrase, salt)?, chunk: Vec::new(), given: 0, ended: false })
    }

    fn open(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.given = 0;
        let first = self.sealing.number == 0;
        (&mut self.from).take((CHUNK + TAG) as u64).read_to_end(&mut self.chunk)?;
        // Only the last one may be shorter, and only it has an end behind it.
        let last = self.chunk.len() < CHUNK + TAG || self.from.fill_buf()?.is_empty();
        let nonce = self.sealing.nonce(last);
        let Ok(opened) = self.sealing.key.open_in_place(nonce, Aad::empty(), &mut self.chunk) else {
            let why = if first {
                "the passphrase is wrong, or the file is damaged"
            } else {
                "the file is damaged or cut off: nothing behind this place can be read"
            };
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        };
        let length = opened.len();
        self.chunk.truncate(length);
        self.ended = last;
        Ok(())
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            self.open()?;
        }
        let count = to.len().min(self.chunk.len() - self.given);
        to[..count].copy_from_slice(&self.chunk[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut stream = Sealed::new(Vec::new(), "open sesame").expect("there is room");
        stream.write_all(content).expect("there is room");
        stream.finish().expect("there is room")
    }

    fn opened(bytes: &[u8], passphrase: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Opened::new(bytes, passphrase)?.read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn what_goes_in_comes_out() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 77] {
            let content: Vec<u8> = (0..length).map(|place| (place * 7) as u8).collect();
            let bytes = sealed(&content);
            assert_eq!(opened(&bytes, "open sesame").expect("it is whole"), content, "{length}");
            assert!(length < 8 || !bytes.windows(8).any(|window| window == &content[..8]), "it is encrypted");
        }
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let content = vec![5; 2 * CHUNK + 9];
        let bytes = sealed(&content);
        let sealed_chunk = CHUNK + TAG;
        let head = MAGIC.len() + SALT;
        for cut in [0, 5, head, head + 1, head + sealed_chunk, head + 2 * sealed_chunk, bytes.len() - 1] {
            assert!(opened(&bytes[..cut], "open sesame").is_err(), "cut at {cut}");
        }
        for place in [0, 7, 9, head, head + sealed_chunk + 3, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(opened(&changed, "open sesame").is_err(), "changed at {place}");
        }
        let mut swapped = bytes.clone();
        swapped[head..head + 2 * sealed_chunk].rotate_left(sealed_chunk);
        assert!(opened(&swapped, "open sesame").is_err(), "two chunks changed places");
        assert!(opened(&[&bytes[..], b"x"].concat(), "open sesame").is_err(), "something follows");
        let wrong = opened(&bytes, "open says me").expect_err("another passphrase").to_string();
        assert!(wrong.contains("passphrase is wrong"), "{wrong}");
    }
}
