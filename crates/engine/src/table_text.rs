//! Tables as text: device-mapper's own lines, `START LENGTH TARGET ARGS...`, in sectors. The lines
//! of the historical NetBSD driver have the same form. Empty lines and lines that begin with `#`
//! are skipped; a device is a path or `major:minor`.

use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::{Backing, OpenHow};
use crate::error::Error;
use crate::table::{Layout, Segment, Slot, Table, check_layout, shortfall};
use crate::target::{self, Args, DevIndex, Devices, Target};

/// More than this is not read as a table.
pub const MAX_TEXT: usize = 16 << 20;

/// What is wrong with a table, and where. Line 0: the table as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "table: {}", self.what);
        }
        write!(
            f,
            "table line {}, column {}: {}",
            self.line, self.column, self.what
        )
    }
}

impl std::error::Error for TableError {}

/// Finds the backing device of a word of a table.
pub trait Resolve {
    /// The device; the error says what is wrong with it.
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String>;
}

/// Opens paths and `major:minor` of block devices, each once, whatever its names: two descriptors of
/// one file would not know of each other's writes, and an exclusive claim would refuse the second.
#[derive(Debug, Default)]
pub struct OpenPaths {
    /// How each is opened.
    pub how: OpenHow,
    opened: Vec<(Identity, Arc<Backing>)>,
}

/// What a file is, by whatever name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Identity {
    File { device: u64, inode: u64 },
    Block(u64),
}

impl Identity {
    fn of(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::metadata(path)?;
        Ok(match file.file_type().is_block_device() {
            true => Self::Block(file.rdev()),
            false => Self::File {
                device: file.dev(),
                inode: file.ino(),
            },
        })
    }
}

impl OpenPaths {
    /// Opening in this way.
    pub fn new(how: OpenHow) -> Self {
        Self {
            how,
            opened: Vec::new(),
        }
    }
}

impl Resolve for OpenPaths {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        let path = path_of(word);
        let open = |source| Error::Open {
            path: path.clone(),
            source,
        };
        let identity = Identity::of(&path).map_err(|e| open(e).to_string())?;
        if let Some((_, backing)) = self.opened.iter().find(|(known, _)| *known == identity) {
            return Ok(Arc::clone(backing));
        }
        let backing = Backing::open(&path, &self.how).map_err(|e| e.to_string())?;
        let backing = Arc::new(backing);
        self.opened.push((identity, Arc::clone(&backing)));
        Ok(backing)
    }
}

/// The path of a device word: `major:minor` is looked up among the block devices, by the links that
/// udev makes or else, where there is none, by the kernel's name.
fn path_of(word: &str) -> PathBuf {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match word.split_once(':') {
        Some((major, minor)) if number(major) && number(minor) => {
            let link = Path::new("/dev/block").join(word);
            if link.exists() {
                return link;
            }
            let uevent = std::fs::read_to_string(format!("/sys/dev/block/{word}/uevent"));
            let uevent = uevent.unwrap_or_default();
            let name = uevent.lines().find_map(|l| l.strip_prefix("DEVNAME="));
            name.map_or(link, |name| Path::new("/dev").join(name))
        }
        _ => PathBuf::from(word),
    }
}

/// Reads a table and opens its devices. Nothing is changed if it is refused.
pub fn parse(text: &str, resolve: &mut dyn Resolve) -> Result<Table, Error> {
    let mut devices = Slots {
        resolve,
        slots: Vec::new(),
    };
    let mut segments = Vec::new();
    let mut places = Vec::new();
    if text.len() > MAX_TEXT {
        return Err(whole("the text is too long").into());
    }
    for (n, line) in text.lines().enumerate() {
        let words = words(line);
        if words.is_empty() || words[0].1.starts_with('#') {
            continue;
        }
        let segment = parse_line(words, line, &mut devices).map_err(|e| TableError {
            line: n + 1,
            column: e.column,
            what: e.what,
        })?;
        segments.push(segment);
        places.push((n + 1, line));
    }
    check_layout(segments.iter().map(|s| (s.start, s.len)))
        .map_err(|layout| layout_error(layout, &places))?;
    for (segment, place) in segments.iter().zip(&places) {
        check_fits(segment, *place, &devices.slots)?;
    }
    Table::new(segments, devices.slots)
}

/// Refuses a line that maps more of a device than there is, at the device's word.
fn check_fits(
    segment: &Segment,
    (line, text): (usize, &str),
    slots: &[Slot],
) -> Result<(), TableError> {
    let Some((device, short)) = shortfall(segment, slots) else {
        return Ok(());
    };
    let word = &slots[device.0 as usize].word;
    // Devices come behind start, length and target.
    let at = words(text).into_iter().skip(3).find(|(_, w)| w == word);
    Err(TableError {
        line,
        column: at.map_or(1, |(column, _)| column),
        what: short.to_string(),
    })
}

fn whole(what: &str) -> TableError {
    TableError {
        line: 0,
        column: 0,
        what: what.to_owned(),
    }
}

fn layout_error(layout: Layout, places: &[(usize, &str)]) -> TableError {
    let n = match layout {
        Layout::Empty => return whole(&layout.to_string()),
        Layout::Gap { n, .. } | Layout::ZeroLength(n) | Layout::TooLong(n) => n,
    };
    TableError {
        line: places.get(n).map_or(0, |(line, _)| *line),
        column: 1,
        what: layout.to_string(),
    }
}

/// Words of a line with their columns, from 1.
fn words(line: &str) -> Vec<(usize, &str)> {
    let at = |w: &str| w.as_ptr() as usize - line.as_ptr() as usize + 1;
    line.split_ascii_whitespace().map(|w| (at(w), w)).collect()
}

fn parse_line(
    words: Vec<(usize, &str)>,
    line: &str,
    devices: &mut dyn Devices,
) -> Result<Segment, target::ArgError> {
    let mut args = Args::new(words, line.trim_end().len() + 1);
    let start = args.sectors("start")?;
    let len = args.sectors("length")?;
    if len.0 == 0 {
        return Err(args.at_last("length is 0"));
    }
    let name = args.word("target")?;
    let Some(kind) = target::find(name) else {
        return Err(args.at_last(format!("unknown target \"{name}\"")));
    };
    let target: Box<dyn Target> = (kind.parse)(&mut args, len, devices)?;
    Ok(Segment { start, len, target })
}

/// Numbers devices in the order of their first mention.
struct Slots<'a> {
    resolve: &'a mut dyn Resolve,
    slots: Vec<Slot>,
}

impl Devices for Slots<'_> {
    fn device(&mut self, word: &str) -> Result<DevIndex, String> {
        if let Some(n) = self.slots.iter().position(|s| s.word == word) {
            return Ok(DevIndex(n as u32));
        }
        let backing = self.resolve.resolve(word)?;
        self.slots.push(Slot::new(backing, word.to_owned()));
        Ok(DevIndex(self.slots.len() as u32 - 1))
    }
}
