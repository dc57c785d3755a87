//! A stream of bytes cut into lines of bounded length.

/// The longest line in bytes. What is longer is passed on cut, and marked.
pub const LINE: usize = 64 << 10;

/// Cuts a stream into lines, whatever its pieces are.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    cut: bool,
}

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says; bytes that are no UTF-8 became replacement characters.
    pub text: String,
    /// Whether it was longer than [`LINE`].
    pub cut: bool,
}

impl Lines {
    /// The lines that these bytes complete.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            bytes = &bytes[end + 1..];
            lines.push(self.finish());
        }
        self.append(bytes);
        lines
    }

    /// Whether the stream stands in the middle of a line.
    #[must_use]
    pub fn inside(&self) -> bool {
        self.cut || !self.begun.is_empty()
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE - self.begun.len();
        self.cut |= bytes.len() > room;
        self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(&mut self) -> Line {
        let text = String::from_utf8_lossy(&self.begun);
        let line = Line { text: text.trim_end_matches('\r').to_owned(), cut: self.cut };
        self.begun.clear();
        self.cut = false;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let mut lines = Lines::default();
        let mut bytes = vec![b'x'; LINE + 10];
        bytes.extend_from_slice(b"\r\nnext\r\n\xff\n");
        let found = lines.push(&bytes);
        assert_eq!(found.len(), 3);
        assert!(found[0].cut && found[0].text.len() == LINE);
        assert_eq!(found[1], Line { text: "next".into(), cut: false });
        assert_eq!(found[2].text, "\u{fffd}");
        assert!(!lines.inside());
    }
}
