//! The parser: bytes to [`Doc`], one pass, no recursion.
//!
//! Keys end at white space, `#`, `=`, `{` or `}`. Where a value is expected, a token that begins
//! with a digit, `.`, `+` or `-` is a number; other bare words are strings. Commas in arrays are
//! optional. A NUL ends the text.

use std::fmt;

use super::doc::{Comment, Doc, Entry, Raw, Span};

/// Deepest nesting of sections that is read. LVM2 writes five levels.
pub const MAX_DEPTH: usize = 32;
/// Longest text that is read, in bytes.
const MAX_LEN: usize = 1 << 27;
/// What readers take when an old 32-bit writer left a creation time that is out of range.
const CREATION_TIME_OUT_OF_RANGE: i64 = 1_527_120_000;

/// Why a text cannot be read, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub col: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.col, self.what)
    }
}

impl std::error::Error for TextError {}

/// Parses a text; it must be UTF-8. For bytes that may not be, see
/// [`convert::import`](crate::convert::import).
pub fn parse(text: &[u8]) -> Result<Doc<'_>, TextError> {
    match std::str::from_utf8(text) {
        Ok(s) => parse_str(s),
        Err(e) => Err(error_at(text, e.valid_up_to(), "not UTF-8")),
    }
}

/// Parses a text.
pub fn parse_str(text: &str) -> Result<Doc<'_>, TextError> {
    let mut parser = Parser {
        text,
        bytes: text.as_bytes(),
        at: 0,
        // LVM2's texts have an entry in 15 bytes. Room that is not used costs nothing; growing
        // moves what is there.
        entries: Vec::with_capacity(text.len().min(MAX_LEN) / 10 + 8),
        comments: Vec::new(),
        unescaped: Vec::new(),
        open: Vec::new(),
        last_top: None,
    };
    match parser.run() {
        Ok(()) => Ok(Doc {
            text,
            unescaped: parser.unescaped,
            entries: parser.entries,
            comments: parser.comments,
        }),
        Err(what) => Err(error_at(parser.bytes, parser.at, what)),
    }
}

fn error_at(bytes: &[u8], at: usize, what: &'static str) -> TextError {
    let before = &bytes[..at.min(bytes.len())];
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |p| p + 1);
    TextError {
        line: before.iter().filter(|b| **b == b'\n').count() + 1,
        col: before.len() - line_start + 1,
        what,
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    entries: Vec<Entry>,
    unescaped: Vec<String>,
    comments: Vec<Comment<'a>>,
    /// Indexes of the sections that are open.
    open: Vec<usize>,
    /// Index of the last top-level entry.
    last_top: Option<usize>,
}

const END_OF_WORD: u8 = 1;
const SPACE: u8 = 2;
const DIGIT: u8 = 4;
const NUMBER_START: u8 = 8;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        if matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) {
            t[i] |= SPACE | END_OF_WORD;
        }
        if matches!(c, b'#' | b'=' | b'{' | b'}' | 0) {
            t[i] |= END_OF_WORD;
        }
        if c.is_ascii_digit() {
            t[i] |= DIGIT | NUMBER_START;
        }
        if matches!(c, b'.' | b'+' | b'-') {
            t[i] |= NUMBER_START;
        }
        i += 1;
    }
    t
}

#[inline]
fn is(c: u8, class: u8) -> bool {
    CLASS[usize::from(c)] & class != 0
}

type Fault = &'static str;

impl<'a> Parser<'a> {
    /// The byte at the cursor; 0 at the end.
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn run(&mut self) -> Result<(), Fault> {
        if self.text.len() > MAX_LEN {
            return Err("the text is too long");
        }
        loop {
            self.skip_blank();
            match self.peek() {
                0 if self.open.is_empty() => return Ok(()),
                0 => return Err("the text ends inside a section"),
                b'}' => self.close_section()?,
                _ => self.item()?,
            }
        }
    }

    /// White space and comments.
    #[inline]
    fn skip_blank(&mut self) {
        loop {
            let c = self.peek();
            if is(c, SPACE) {
                self.at += 1;
            } else if c == b'#' {
                self.comment();
            } else {
                return;
            }
        }
    }

    fn comment(&mut self) {
        let start = self.at + 1;
        let len = self.bytes[start..]
            .iter()
            .position(|c| matches!(c, b'\n' | 0))
            .unwrap_or(self.bytes.len() - start);
        self.at = start + len;
        if self.open.is_empty() {
            self.comments.push(Comment {
                after: self.last_top,
                text: self.text[start..self.at].trim(),
            });
        }
    }

    fn close_section(&mut self) -> Result<(), Fault> {
        let index = self.open.pop().ok_or("a closing brace too many")?;
        self.entries[index] = self.entries[index].with(Raw::Section(self.count_behind(index)));
        self.at += 1;
        Ok(())
    }

    /// Entries behind `index`; fits since the text is at most [`MAX_LEN`] bytes.
    fn count_behind(&self, index: usize) -> u32 {
        (self.entries.len() - index - 1) as u32
    }

    fn item(&mut self) -> Result<(), Fault> {
        let key = match self.peek() {
            b'"' => self.double_quoted()?,
            b'\'' => self.single_quoted()?,
            _ => self.word(),
        };
        if key.len == 0 {
            return Err("a key is expected");
        }
        if self.open.is_empty() {
            self.last_top = Some(self.entries.len());
        }
        self.skip_blank();
        match self.peek() {
            b'{' => {
                if self.open.len() >= MAX_DEPTH {
                    return Err("sections are nested too deep");
                }
                self.at += 1;
                self.open.push(self.entries.len());
                self.entries.push(Entry::new(key, Raw::Section(0)));
                Ok(())
            }
            b'=' => {
                self.at += 1;
                self.value(key)
            }
            _ => Err("\"=\" or \"{\" is expected behind a key"),
        }
    }

    fn value(&mut self, key: Span) -> Result<(), Fault> {
        self.skip_blank();
        if self.peek() != b'[' {
            let raw = self.scalar(key)?;
            self.entries.push(Entry::new(key, raw));
            return Ok(());
        }
        self.at += 1;
        let index = self.entries.len();
        self.entries.push(Entry::new(key, Raw::Array(0)));
        loop {
            self.skip_blank();
            match self.peek() {
                b']' => break,
                b',' => self.at += 1,
                _ => {
                    let raw = self.scalar(Span::EMPTY)?;
                    self.entries.push(Entry::new(Span::EMPTY, raw));
                }
            }
        }
        self.at += 1;
        self.entries[index] = self.entries[index].with(Raw::Array(self.count_behind(index)));
        Ok(())
    }

    #[inline]
    fn scalar(&mut self, key: Span) -> Result<Raw, Fault> {
        match self.peek() {
            b'"' => Ok(Raw::Str(self.double_quoted()?)),
            b'\'' => Ok(Raw::Str(self.single_quoted()?)),
            c if is(c, NUMBER_START) => self.number(key),
            _ => match self.word() {
                Span { len: 0, .. } => Err("a value is expected"),
                word => Ok(Raw::Str(word)),
            },
        }
    }

    #[inline]
    fn word(&mut self) -> Span {
        let start = self.at;
        while !is(self.peek(), END_OF_WORD) {
            self.at += 1;
        }
        span(start, self.at)
    }

    fn number(&mut self, key: Span) -> Result<Raw, Fault> {
        let start = self.at;
        let mut float = self.peek() == b'.';
        self.at += 1;
        loop {
            let c = self.peek();
            if c == b'.' && !float {
                float = true;
            } else if !is(c, DIGIT) {
                break;
            }
            self.at += 1;
        }
        if float {
            return Ok(Raw::Float(span(start, self.at)));
        }
        match integer(&self.bytes[start..self.at]) {
            Some(n) => Ok(Raw::Int(n)),
            None if self.is_creation_time(key) => Ok(Raw::Int(CREATION_TIME_OUT_OF_RANGE)),
            None => {
                self.at = start;
                Err("not an integer of 64 bits")
            }
        }
    }

    fn is_creation_time(&self, key: Span) -> bool {
        let at = key.at as usize;
        self.bytes.get(at..at + key.len as usize) == Some(b"creation_time")
    }

    #[inline]
    fn double_quoted(&mut self) -> Result<Span, Fault> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => return self.escaped(start),
                Some(0) | None => return Err("a string does not end"),
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        Ok(span(start, at))
    }

    /// A string with at least one backslash.
    #[cold]
    fn escaped(&mut self, start: usize) -> Result<Span, Fault> {
        let mut out = String::new();
        let mut chars = self.text[start..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + offset + 1;
                    self.unescaped.push(out);
                    return Ok(Span {
                        at: (self.unescaped.len() - 1) as u32,
                        len: Span::UNESCAPED,
                    });
                }
                '\0' => break,
                '\\' => match chars.next() {
                    Some((_, c)) if c != '\0' => out.push(c),
                    _ => break,
                },
                c => out.push(c),
            }
        }
        Err("a string does not end")
    }

    fn single_quoted(&mut self) -> Result<Span, Fault> {
        let start = self.at + 1;
        let len = self.bytes[start..]
            .iter()
            .position(|c| matches!(c, b'\'' | 0))
            .ok_or("a string does not end")?;
        if self.bytes[start + len] == 0 {
            return Err("a string does not end");
        }
        self.at = start + len + 1;
        Ok(span(start, start + len))
    }
}

/// Offsets fit since texts are at most [`MAX_LEN`] bytes long.
#[inline]
fn span(start: usize, end: usize) -> Span {
    Span {
        at: start as u32,
        len: (end - start) as u32,
    }
}

/// As C's `strtoll` with base 0 reads a sign and digits: a leading 0 makes it octal, reading stops
/// at a digit that is not. `None` when it does not fit.
fn integer(token: &[u8]) -> Option<i64> {
    let (negative, digits) = match token {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (radix, stop) = match digits {
        [b'0', _, ..] => (8i64, b'8'),
        _ => (10, b':'),
    };
    let mut n = 0i64;
    for c in digits.iter().take_while(|c| **c < stop) {
        let digit = i64::from(c - b'0');
        n = n.checked_mul(radix)?;
        n = if negative {
            n.checked_sub(digit)?
        } else {
            n.checked_add(digit)?
        };
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::NodeRef;
    use crate::tree::Value;

    fn one(text: &str) -> Value {
        parse_str(text)
            .unwrap()
            .root()
            .to_tree()
            .value("k")
            .unwrap()
            .clone()
    }

    #[test]
    fn values_of_all_kinds() {
        assert_eq!(one("k=5"), Value::Int(5));
        assert_eq!(one("k = -5 # c"), Value::Int(-5));
        assert_eq!(one("k=010"), Value::Int(8));
        assert_eq!(one("k=1.50"), Value::Float("1.50".into()));
        assert_eq!(one("k=word\n"), Value::Str("word".into()));
        assert_eq!(one(r#"k="a\"b\\c#{""#), Value::Str("a\"b\\c#{".into()));
        assert_eq!(one(r"k='a\b'"), Value::Str(r"a\b".into()));
        assert_eq!(one("k=[]"), Value::Array(vec![]));
        assert_eq!(
            one("k=[ \"a\" 1,2, ]"),
            Value::Array(vec![Value::Str("a".into()), Value::Int(1), Value::Int(2)])
        );
        assert_eq!(one("k=9223372036854775807"), Value::Int(i64::MAX));
        assert_eq!(one("k=-9223372036854775808"), Value::Int(i64::MIN));
        assert_eq!(one("k=1\0junk {"), Value::Int(1));
    }

    #[test]
    fn sections_nest_and_comments_are_found() {
        let doc = parse_str("# first\na { b { c = 1 } d = 2 }\ne = 3 # behind e\n").unwrap();
        let a = doc.root().get("a").and_then(NodeRef::section).unwrap();
        let b = a.get("b").and_then(NodeRef::section).unwrap();
        assert_eq!(b.get("c").and_then(NodeRef::int), Some(1));
        assert_eq!(a.get("d").and_then(NodeRef::int), Some(2));
        let comments: Vec<_> = doc
            .comments()
            .iter()
            .map(|c| (doc.key_before(c), c.text))
            .collect();
        assert_eq!(comments, [(None, "first"), (Some("e"), "behind e")]);
    }

    #[test]
    fn errors_name_the_place() {
        let e = |t: &str| parse_str(t).unwrap_err();
        assert_eq!((e("a = 1\n b").line, e("a = 1\n b").col), (2, 3));
        assert_eq!((e("a = \"x").line, e("a = \"x").col), (1, 5));
        assert_eq!(e("}").what, "a closing brace too many");
        assert_eq!(e("a {").what, "the text ends inside a section");
        assert_eq!(e("a = [1").what, "a value is expected");
        assert_eq!(e("a = [ b { c = 1 } ]").what, "a value is expected");
        assert_eq!(
            e("a = 99999999999999999999").what,
            "not an integer of 64 bits"
        );
        assert_eq!(
            e(&"a {".repeat(MAX_DEPTH + 1)).what,
            "sections are nested too deep"
        );
        assert_eq!(e("= 1").what, "a key is expected");
        assert_eq!(parse(b"a = \"\xff\"").unwrap_err().what, "not UTF-8");
    }

    #[test]
    fn a_creation_time_out_of_range_is_replaced() {
        let doc = parse_str("creation_time = 99999999999999999999").unwrap();
        assert_eq!(
            doc.root().get("creation_time").and_then(NodeRef::int),
            Some(CREATION_TIME_OUT_OF_RANGE)
        );
    }
}
