//! The metadata texts of a session, each kept and parsed once however many areas hold it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use ulvm_metadata::convert::{self, Imported};
use ulvm_metadata::disk::Disk;
use ulvm_metadata::model::Vg;
use ulvm_metadata::ondisk::{Area, RawLocn, Ring, Span};
use ulvm_metadata::units::Bytes;
use ulvm_metadata::uuid::LvmUuid;

/// A text of [`Texts`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TextId(usize);

/// What the first lines of a text say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    /// Name of the VG.
    pub name: String,
    /// Its identity.
    pub id: LvmUuid,
    /// Its seqno.
    pub seqno: u32,
}

/// One text.
#[derive(Debug)]
pub(crate) struct Text {
    /// Size on disk in bytes, NUL included.
    pub size: u64,
    /// Checksum over those bytes.
    pub checksum: u32,
    /// `Err` = what is wrong with it.
    pub summary: Result<Summary, String>,
    bytes: Vec<u8>,
    vg: OnceCell<Result<Rc<Vg>, String>>,
}

/// All texts found by the scans of a session.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    list: Vec<Text>,
    by_sum: HashMap<(u64, u32), Vec<TextId>>,
    /// Reused for every comparison.
    piece: Vec<u8>,
}

/// Bytes compared at a time.
const PIECE: usize = 1 << 18;

impl Texts {
    /// The text that a slot points to, if it is one that is known: the bytes are compared with it
    /// as they are read. They have its checksum then, which was verified when it was first read.
    pub fn find(&mut self, disk: &dyn Disk, area: Area, locn: &RawLocn) -> Option<TextId> {
        let known = self.by_sum.get(&(locn.size, locn.checksum))?;
        let spans = Ring::new(area.size.0).spans(locn)?;
        self.piece.resize(PIECE, 0);
        let piece = &mut self.piece;
        let same = |id: &&TextId| holds(disk, area, &spans, &self.list[id.0].bytes, piece);
        known.iter().find(same).copied()
    }

    /// Adds a text as read from an area (without its NUL); the same bytes are kept once.
    pub fn add(&mut self, bytes: Vec<u8>, size: u64, checksum: u32) -> TextId {
        let known = self.by_sum.get(&(size, checksum));
        let same = known.and_then(|ids| ids.iter().find(|t| self.list[t.0].bytes == bytes));
        if let Some(id) = same {
            return *id;
        }
        let mut text = Text {
            size,
            checksum,
            summary: Err(String::new()),
            bytes,
            vg: OnceCell::new(),
        };
        text.summary = match peek(&text.bytes) {
            Some(summary) => Ok(summary),
            None => text.vg().map(|vg| Summary {
                name: vg.name.clone(),
                id: vg.id,
                seqno: vg.seqno,
            }),
        };
        self.push(text)
    }

    /// Adds a text that this session wrote.
    pub fn add_written(&mut self, text: String, checksum: u32, vg: Rc<Vg>) -> TextId {
        self.push(Text {
            size: text.len() as u64 + 1,
            checksum,
            summary: Ok(Summary {
                name: vg.name.clone(),
                id: vg.id,
                seqno: vg.seqno,
            }),
            bytes: text.into_bytes(),
            vg: OnceCell::from(Ok(vg)),
        })
    }

    fn push(&mut self, text: Text) -> TextId {
        let id = TextId(self.list.len());
        self.by_sum
            .entry((text.size, text.checksum))
            .or_default()
            .push(id);
        self.list.push(text);
        id
    }

    /// A text.
    pub fn get(&self, id: TextId) -> &Text {
        &self.list[id.0]
    }
}

impl Text {
    /// Do these words stand anywhere in it?
    pub fn mentions(&self, words: &str) -> bool {
        let words = words.as_bytes();
        let Some(first) = words.first() else {
            return true;
        };
        let mut rest = &self.bytes[..];
        while let Some(at) = rest.iter().position(|b| b == first) {
            rest = &rest[at..];
            if rest.starts_with(words) {
                return true;
            }
            rest = &rest[1..];
        }
        false
    }
    /// The VG; parsed at the first call.
    pub fn vg(&self) -> Result<Rc<Vg>, String> {
        self.vg
            .get_or_init(|| match convert::import(&self.bytes) {
                Ok(Imported { vg, .. }) => Ok(Rc::new(vg)),
                Err(e) => Err(e.to_string()),
            })
            .clone()
    }
}

/// Do the spans of an area hold `text` and the NUL behind it?
fn holds(disk: &dyn Disk, area: Area, spans: &[Span], text: &[u8], piece: &mut [u8]) -> bool {
    let mut rest = text;
    for span in spans {
        let mut done = 0;
        while done < span.len {
            let len = (span.len - done).min(piece.len() as u64);
            let at = area.start.checked_add(Bytes(span.offset + done));
            let read = &mut piece[..len as usize];
            if at.is_none_or(|at| disk.read_at(at, read).is_err()) {
                return false;
            }
            let (now, behind) = rest.split_at(read.len().min(rest.len()));
            let nul = read.len() - now.len();
            if read[..now.len()] != *now || nul > 1 || read[now.len()..].iter().any(|b| *b != 0) {
                return false;
            }
            rest = behind;
            done += len;
        }
    }
    rest.is_empty()
}

/// Name, id and seqno without parsing the rest, from a text as LVM2 and ulvm write it: they are its
/// first three lines. `None` = it looks otherwise and must be parsed.
fn peek(bytes: &[u8]) -> Option<Summary> {
    const LONGEST: usize = 1024;
    let head = bytes.get(..LONGEST.min(bytes.len()))?;
    let mut lines = head.split(|b| *b == b'\n').map(std::str::from_utf8);
    let name = lines.next()?.ok()?.strip_suffix(" {")?;
    let id = lines.next()?.ok()?.strip_prefix("id = \"")?;
    let seqno = lines.next()?.ok()?.strip_prefix("seqno = ")?;
    ulvm_metadata::name::check_name(name).ok()?;
    Some(Summary {
        name: name.to_owned(),
        id: LvmUuid::parse(id.strip_suffix('"')?)?,
        seqno: seqno.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vg0 {\nid = \"9OuWHL-8ZI2-w7qa-EeWs-RUnx-8BVl-FnjzwG\"\nseqno = 7\n\
        format = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n\
        extent_size = 8192\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\n\
        physical_volumes {\n\npv0 {\nid = \"UU8gx0-6XZk-GiRa-8ypV-6xjz-606P-F3hEK0\"\n\
        status = [\"ALLOCATABLE\"]\nflags = []\npe_start = 2048\npe_count = 15\n}\n}\n\n}\n\
        contents = \"Text Format Volume Group\"\nversion = 1\n";

    #[test]
    fn the_first_lines_tell_what_parsing_tells() {
        let quick = peek(TEXT.as_bytes()).unwrap();
        assert_eq!((quick.name.as_str(), quick.seqno), ("vg0", 7));
        let mut texts = Texts::default();
        // Comments first: the whole text is parsed.
        let slow = texts.add(format!("# x\n{TEXT}").into_bytes(), 1, 1);
        assert_eq!(texts.get(slow).summary, Ok(quick));
    }

    #[test]
    fn a_known_text_is_recognised_where_it_stands_and_nothing_else_is() {
        use ulvm_metadata::disk::MemDisk;
        let mut texts = Texts::default();
        let size = TEXT.len() as u64 + 1;
        let id = texts.add(TEXT.into(), size, 77);
        let area = Area::new(4096, 2048);
        // From 1792 on it wraps at the end of the area to 512.
        let locn = RawLocn {
            offset: 1792,
            size,
            checksum: 77,
            flags: 0,
        };
        let mut disk = MemDisk::new(8192);
        let (first, second) = TEXT.as_bytes().split_at(256);
        disk.data[4096 + 1792..][..256].copy_from_slice(first);
        disk.data[4096 + 512..][..second.len()].copy_from_slice(second);
        assert_eq!(texts.find(&disk, area, &locn), Some(id));
        let other = RawLocn {
            checksum: 78,
            ..locn
        };
        assert_eq!(texts.find(&disk, area, &other), None);
        for at in [
            4096 + 1792,
            4096 + 512 + second.len() - 1,
            4096 + 512 + second.len(),
        ] {
            disk.data[at] ^= 1;
            assert_eq!(texts.find(&disk, area, &locn), None, "{at}");
            disk.data[at] ^= 1;
        }
    }

    #[test]
    fn the_same_bytes_are_one_text_and_only_they() {
        let mut texts = Texts::default();
        let a = texts.add(TEXT.into(), 9, 9);
        assert_eq!(texts.add(TEXT.into(), 9, 9), a);
        assert_ne!(texts.add(TEXT.replace('7', "8").into(), 9, 9), a);
        let bad = texts.add("vg0 {".into(), 9, 9);
        assert!(texts.get(bad).summary.is_err());
    }
}
