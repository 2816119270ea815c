//! Arguments of a table line: words with their columns.

use std::fmt;

use super::DevIndex;
use crate::io::{SECTOR, Sectors};

/// Highest sector number that can be told in bytes.
const MAX_SECTOR: u64 = i64::MAX as u64 / SECTOR;

/// What is wrong with an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgError {
    /// Column of the word, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ArgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Gives devices their numbers: the same device always gets the same one.
pub trait Devices {
    /// The device of a word: a path, or `major:minor`.
    fn device(&mut self, word: &str) -> Result<DevIndex, String>;
}

/// The words after the target's name.
#[derive(Debug)]
pub struct Args<'a> {
    words: Vec<(usize, &'a str)>,
    next: usize,
    /// Column behind the line, where a missing word would stand.
    end: usize,
}

impl<'a> Args<'a> {
    /// From a line's words and their columns; `end` is the column behind the last.
    pub fn new(words: Vec<(usize, &'a str)>, end: usize) -> Self {
        Self {
            words,
            next: 0,
            end,
        }
    }

    /// Words not taken yet.
    pub fn left(&self) -> usize {
        self.words.len() - self.next
    }

    /// Column of the next word.
    pub fn column(&self) -> usize {
        self.words.get(self.next).map_or(self.end, |w| w.0)
    }

    /// An error at the word taken last.
    pub fn at_last(&self, what: impl Into<String>) -> ArgError {
        let column = self
            .next
            .checked_sub(1)
            .and_then(|n| self.words.get(n))
            .map_or(self.end, |w| w.0);
        ArgError {
            column,
            what: what.into(),
        }
    }

    /// The next word; `name` says in an error what should stand here.
    pub fn word(&mut self, name: &str) -> Result<&'a str, ArgError> {
        let Some(&(_, word)) = self.words.get(self.next) else {
            return Err(ArgError {
                column: self.end,
                what: format!("{name} is missing"),
            });
        };
        self.next += 1;
        Ok(word)
    }

    /// A whole number of at most `max`.
    pub fn number(&mut self, name: &str, max: u64) -> Result<u64, ArgError> {
        let word = self.word(name)?;
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.at_last(format!("{name} is not a number: \"{word}\"")));
        }
        match word.parse::<u64>() {
            Ok(n) if n <= max => Ok(n),
            _ => Err(self.at_last(format!("{name} is too large: {word}"))),
        }
    }

    /// A number of sectors.
    pub fn sectors(&mut self, name: &str) -> Result<Sectors, ArgError> {
        self.number(name, MAX_SECTOR).map(Sectors)
    }

    /// A device and the sector on it where `len` sectors begin.
    pub fn device_and_offset(
        &mut self,
        devices: &mut dyn Devices,
        len: Sectors,
    ) -> Result<(DevIndex, Sectors), ArgError> {
        let word = self.word("device")?;
        let device = devices.device(word).map_err(|what| self.at_last(what))?;
        let offset = self.sectors("offset")?;
        match offset.0.checked_add(len.0) {
            Some(end) if end <= MAX_SECTOR => Ok((device, offset)),
            _ => Err(self.at_last("offset is too large")),
        }
    }

    /// Nothing may follow.
    pub fn end(&mut self) -> Result<(), ArgError> {
        match self.words.get(self.next) {
            None => Ok(()),
            Some(&(column, word)) => Err(ArgError {
                column,
                what: format!("nothing should follow, but \"{word}\" does"),
            }),
        }
    }
}
