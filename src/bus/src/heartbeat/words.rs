//! The words under which this machine holds its lease. Each renewal replaces the word by a new random one, so that of two
//! machines with one memory or one disk only one can go on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const FILE: &str = "host-lease";

/// What begins every word: a number of 32 hexadecimal digits follows.
const PREFIX: &str = "host ";

/// How many words are known at most: each is one that the lease may have, since it is not known whether a request was
/// done, perhaps one of an earlier incarnation.
const KNOWN: usize = 8;

/// The words that the lease may have.
#[derive(Debug)]
pub struct Words {
    /// Oldest first.
    known: Vec<String>,
    /// Where they are kept, so that the bus's next incarnation knows them.
    file: File,
    /// Whether the store is this machine's own, so that nobody else can hold the lease.
    alone: bool,
    /// Whether the log has it that the file cannot be written.
    said: bool,
}

impl Words {
    /// The words that are kept in this folder.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn keep(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        // What is no text is no word of ours: the machine may have lost power while it was written.
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let known = text.lines().filter(|line| line.starts_with(PREFIX)).take(KNOWN).map(String::from).collect();
        Ok(Self { known, file, alone: false, said: false })
    }

    /// On a store that is this machine's own: whoever holds the lease there is an earlier incarnation.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Whether nobody else can hold the lease.
    #[must_use]
    pub const fn are_alone(&self) -> bool {
        self.alone
    }

    /// Whether only this machine, or a copy of it as it is now, can have given the lease this word.
    #[must_use]
    pub fn knows(&self, word: &str) -> bool {
        self.alone || self.known.iter().any(|known| known == word)
    }

    /// A new word, which is written down before anybody hears of it.
    pub fn draw(&mut self) -> String {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
        let word = format!("{PREFIX}{:032x}", u128::from_be_bytes(bytes));
        if self.known.len() == KNOWN {
            self.known.remove(0);
        }
        self.known.push(word.clone());
        self.write();
        word
    }

    /// The lease has this word now: what went before is over.
    pub fn settled(&mut self, word: &str) {
        self.known.retain(|known| known == word);
    }

    /// In place and not synced: a power cut loses it, and costs the length of a lease. Every two seconds that is
    /// work for the page cache and hardly any for the disk.
    fn write(&mut self) {
        let width = PREFIX.len() + 32;
        let word = |place: usize| self.known.get(place).map_or("", String::as_str);
        let text: String = (0..KNOWN).map(|place| format!("{:width$}\n", word(place))).collect();
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0)
            && !std::mem::replace(&mut self.said, true)
        {
            tracing::warn!(
                "the file {FILE} cannot be written: a restart of the bus takes some seconds longer: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_incarnation_knows_what_is_not_settled() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut words = Words::keep(folder.path()).expect("it can be opened");
        assert!(!words.knows("host x"));
        let first = words.draw();
        words.settled(&first);
        let (second, third) = (words.draw(), words.draw());
        words.settled(&third);
        let fourth = words.draw();
        for words in [words, Words::keep(folder.path()).expect("it can be opened")] {
            let known = [first.as_str(), &second, &third, &fourth].map(|word| words.knows(word));
            assert_eq!(known, [false, false, true, true]);
        }
    }

    #[test]
    fn without_answers_it_knows_the_last_ones() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut words = Words::keep(folder.path()).expect("it can be opened");
        let all: Vec<String> = (0..2 * KNOWN).map(|_| words.draw()).collect();
        let words = Words::keep(folder.path()).expect("it can be opened");
        assert_eq!(all.iter().filter(|word| words.knows(word)).count(), KNOWN);
        assert!(words.knows(&all[2 * KNOWN - 1]));
    }

    #[test]
    fn a_file_that_was_damaged_is_no_word() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::write(folder.path().join(FILE), [0xff; 1000]).expect("it can be written");
        let mut words = Words::keep(folder.path()).expect("it can be opened");
        let word = words.draw();
        assert!(Words::keep(folder.path()).expect("it can be opened").knows(&word));
    }

    #[test]
    fn alone_it_knows_all() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        assert!(Words::keep(folder.path()).expect("it can be opened").alone().knows("host x"));
    }
}
