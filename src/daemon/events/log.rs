//! The log: a file of one JSON event a line in the run directory, and the one before it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Event;

/// Name of the log in the run directory.
const NAME: &str = "events.log";
/// Name of the one before it.
const BEFORE: &str = "events.log.1";
/// When the log is this long, a new one is begun, in bytes.
const LONG: u64 = 1 << 20;
/// Longest line that is read.
const LINE_MAX: usize = 64 << 10;

/// The log, to be written to.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    file: File,
    len: u64,
    next: u64,
}

impl Log {
    /// Opens the log of a run directory. Numbers go on from those in it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let last = Reader::new(dir).read()?.last().map_or(0, |e| e.number);
        let (file, len) = open(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
            len,
            next: last + 1,
        })
    }

    /// Adds an event, which gets its number.
    pub fn add(&mut self, event: &mut Event) -> io::Result<()> {
        event.number = self.next;
        self.next += 1;
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if self.len > 0 && self.len + line.len() as u64 > LONG {
            std::fs::rename(self.dir.join(NAME), self.dir.join(BEFORE))?;
            (self.file, self.len) = open(&self.dir)?;
        }
        self.file.write_all(&line)?;
        self.len += line.len() as u64;
        Ok(())
    }
}

fn open(dir: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options.open(dir.join(NAME))?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// Reads the log, and goes on with what is added. Needs no daemon.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    file: Option<File>,
    /// The start of a line that is not whole yet.
    part: Vec<u8>,
    began: bool,
}

impl Reader {
    /// Of a run directory.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            file: None,
            part: Vec::new(),
            began: false,
        }
    }

    /// What has been added since the last call; at first all that is kept.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        if !self.began {
            self.began = true;
            // Opened first: if it is renamed meanwhile it is not missed, but may be read twice.
            let current = existing(&self.dir.join(NAME))?;
            if let Some(before) = existing(&self.dir.join(BEFORE))?
                && !same(Some(&before), current.as_ref())
            {
                self.take(before, &mut events)?;
                self.part.clear();
            }
            self.file = current;
        }
        loop {
            if let Some(file) = &self.file {
                let file = file.try_clone()?;
                self.take(file, &mut events)?;
            }
            let current = existing(&self.dir.join(NAME))?;
            if current.is_none() || same(self.file.as_ref(), current.as_ref()) {
                return Ok(events);
            }
            self.part.clear();
            self.file = current;
        }
    }

    fn take(&mut self, mut file: File, events: &mut Vec<Event>) -> io::Result<()> {
        let mut fresh = Vec::new();
        Read::take(&mut file, 2 * LONG).read_to_end(&mut fresh)?;
        for byte in fresh {
            if byte != b'\n' {
                // What is longer than any event is none.
                if self.part.len() < LINE_MAX {
                    self.part.push(byte);
                }
                continue;
            }
            // A line that was cut off by a death is passed over.
            if let Ok(event) = serde_json::from_slice(&self.part) {
                events.push(event);
            }
            self.part.clear();
        }
        Ok(())
    }
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(0))?;
            Ok(Some(file))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn same(a: Option<&File>, b: Option<&File>) -> bool {
    let id = |file: Option<&File>| {
        let meta = file?.metadata().ok()?;
        Some((meta.dev(), meta.ino()))
    };
    id(a).is_some() && id(a) == id(b)
}

#[cfg(test)]
mod tests {
    use super::super::Class;
    use super::*;

    #[test]
    fn nothing_is_missed_and_little_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut reader = Reader::new(dir.path());
        assert_eq!(reader.read().expect("read"), []);
        let mut log = Log::open(dir.path()).expect("a log");
        let mut numbers = Vec::new();
        for n in 0..3000u64 {
            let text = "x".repeat(1000);
            let mut event = Event::new(Class::Error, Some("d"), text);
            log.add(&mut event).expect("added");
            if n % 700 == 0 {
                numbers.extend(reader.read().expect("read").iter().map(|e| e.number));
            }
        }
        numbers.extend(reader.read().expect("read").iter().map(|e| e.number));
        assert_eq!(numbers, (1..=3000).collect::<Vec<u64>>());
        let len = |name: &str| {
            std::fs::metadata(dir.path().join(name))
                .expect("there")
                .len()
        };
        assert!(len(NAME) <= LONG && len(BEFORE) <= LONG);
        // A line that a death has cut off does no harm, and numbers go on.
        let path = dir.path().join(NAME);
        let mut file = OpenOptions::new().append(true).open(path).expect("there");
        file.write_all(b"{\"cut\n").expect("written");
        let mut log = Log::open(dir.path()).expect("a log");
        let mut event = Event::new(Class::Error, None, "");
        log.add(&mut event).expect("added");
        assert_eq!(event.number, 3001);
    }
}
