//! pvck: checks, dumps and repairs what is on a single device, whatever state it is in.

use std::path::{Path, PathBuf};

use ulvm::disk::{Access, FileDisk};
use ulvm::error::{Error, Result};
use ulvm::session::Settings;
use ulvm_metadata::ondisk::Area;
use ulvm_metadata::ondisk::{
    DumpedMda, FoundText, HeaderDump, LineKind, dump_headers, search_texts,
};
use ulvm_metadata::units::Bytes;

use super::pvck_repair;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};
use crate::exit::Worst;

/// Checks devices, or dumps or repairs one.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let repair = args.has(Opt::Repair) || args.has(Opt::RepairType);
    let dump = args.text(Opt::Dump);
    match args.operands() {
        [] => Err(wrong_syntax("pvck")),
        [first, second, ..] if repair || dump.is_some() => {
            let _ = first;
            Err(Error::usage(format!(
                "Command does not accept argument: {second}."
            )))
        }
        [device] if repair => pvck_repair::run(ctx, args, device),
        [device] if dump.is_some() => {
            let what = Dump::of(dump.unwrap_or_default())?;
            Dumper::open(ctx, args, device)?.dump(what)
        }
        devices => {
            let mut worst = Worst::default();
            for device in devices {
                let outcome = Dumper::open(ctx, args, device).and_then(|d| d.check());
                worst.add(ctx.ui(), outcome);
            }
            worst.finish()
        }
    }
}

/// What `--dump` may show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dump {
    Headers,
    Metadata,
    All,
    Search,
    Area,
}

impl Dump {
    fn of(word: &str) -> Result<Self> {
        Ok(match word {
            "headers" => Self::Headers,
            "metadata" => Self::Metadata,
            "metadata_all" => Self::All,
            "metadata_search" => Self::Search,
            "metadata_area" => Self::Area,
            _ => {
                return Err(Error::usage(format!("Invalid argument for --dump: {word}"))
                    .and("Error during parsing of command line."));
            }
        })
    }
}

/// `--settings "KEY=VALUE ..."`, which may be repeated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DumpSettings {
    /// Start of the first metadata area.
    pub mda_offset: Option<u64>,
    /// Its size.
    pub mda_size: Option<u64>,
    /// Start of the second metadata area.
    pub mda2_offset: Option<u64>,
    /// Its size.
    pub mda2_size: Option<u64>,
    /// Which metadata area: 1 or 2.
    pub mda_num: Option<u64>,
    /// Byte on the device at which a text begins.
    pub metadata_offset: Option<u64>,
    /// The seqno of a text.
    pub seqno: Option<u64>,
    /// For repairs: size for the PV header.
    pub device_size: Option<u64>,
    /// For repairs: start of the data.
    pub data_offset: Option<u64>,
    /// For repairs: identity of the PV.
    pub pv_uuid: Option<String>,
}

impl DumpSettings {
    /// From the command line.
    pub fn from_args(args: &Args) -> Result<Self> {
        let mut out = Self::default();
        for item in args.texts(Opt::Settings).flat_map(str::split_whitespace) {
            let bad = || Error::usage(format!("Invalid setting: {item}"));
            let (key, value) = item.split_once('=').ok_or_else(bad)?;
            let number = || value.parse::<u64>().map(Some).map_err(|_| bad());
            match key {
                "mda_offset" => out.mda_offset = number()?,
                "mda_size" => out.mda_size = number()?,
                "mda2_offset" => out.mda2_offset = number()?,
                "mda2_size" => out.mda2_size = number()?,
                "mda_num" => out.mda_num = number()?.filter(|n| (1..=2).contains(n)),
                "metadata_offset" => out.metadata_offset = number()?,
                "seqno" => out.seqno = number()?,
                "device_size" => out.device_size = number()?,
                "data_offset" => out.data_offset = number()?,
                "pv_uuid" => out.pv_uuid = Some(value.to_owned()),
                _ => return Err(bad()),
            }
        }
        if let Some(n) = args.number(Opt::PvMetadataCopies) {
            out.mda_num = Some(n.unsigned_abs());
        }
        Ok(out)
    }
    /// Index of the metadata area that is meant.
    pub fn mda_index(&self) -> usize {
        usize::from(self.mda_num == Some(2))
    }
}

/// Opens a device or image that a command line names. Nothing else is looked at: pvck works
/// whatever state the rest is in. Only for partitions of images the image is scanned.
pub fn open(ctx: &Context, name: &str, access: Access) -> Result<FileDisk> {
    open_at(ctx, name, access).map(|(disk, _)| disk)
}

/// The same, with the path of the whole device or image.
pub fn open_at(ctx: &Context, name: &str, access: Access) -> Result<(FileDisk, PathBuf)> {
    let absent = || Error::not_found(format!("Cannot access {name}."));
    let path = Path::new(name);
    if path.exists() {
        let disk = FileDisk::open(path, access);
        let disk = disk.map_err(|e| Error::io(format!("open {name}"), e))?;
        return Ok((disk, path.to_owned()));
    }
    let mut session = ctx.session_with(Settings {
        devices: Some(vec![name.to_owned()]),
        devices_file: Some(String::new()),
        ..ctx.settings().clone()
    })?;
    let key = session
        .name_device(name)
        .map_err(|e| absent().with_source(e))?;
    let device = session.device(key);
    let disk =
        FileDisk::open(&device.path, access).map_err(|e| Error::io(format!("open {name}"), e))?;
    let part = disk.part(device.start, device.size).ok_or_else(absent)?;
    Ok((part, device.path.clone()))
}

/// Writes a file that holds metadata: readable by its owner only.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut f| f.write_all(bytes))
        .map_err(|e| Error::io(format!("write {}", path.display()), e))
}

struct Dumper<'a> {
    ctx: &'a Context,
    args: &'a Args,
    name: &'a str,
    settings: DumpSettings,
    disk: FileDisk,
    headers: HeaderDump,
    label_sector: u64,
}

impl<'a> Dumper<'a> {
    fn open(ctx: &'a Context, args: &'a Args, name: &'a str) -> Result<Self> {
        let settings = DumpSettings::from_args(args)?;
        let label_sector = args.number(Opt::LabelSector).unwrap_or(1).unsigned_abs();
        if label_sector > 3 {
            return Err(Error::usage("labelsector must be less than 4."));
        }
        let disk = open(ctx, name, Access::Read)?;
        let headers = dump_headers(&disk, label_sector).map_err(|e| Error::io(read(name), e))?;
        Ok(Self {
            ctx,
            args,
            name,
            settings,
            disk,
            headers,
            label_sector,
        })
    }

    fn show(&self, wanted: impl Fn(LineKind) -> bool) {
        for line in self.headers.lines.iter().filter(|l| wanted(l.kind)) {
            self.ctx.terminal().line(&line.text);
        }
    }

    fn say_if_no_mda(&self) {
        if self.headers.mdas.is_empty() {
            self.ctx.terminal().line("zero metadata copies");
        }
    }

    /// A device without metadata areas is not called bad, nor is an unfinished commit.
    fn verdict(&self) -> Result<()> {
        if self.headers.is_damaged && !self.headers.mdas.is_empty() {
            return Err(bad_values());
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.show(|k| k == LineKind::Check);
        if !self.headers.is_label {
            return Err(Error::not_found(format!(
                "Could not find LVM label on {}",
                self.name
            )));
        }
        let out = self.ctx.terminal();
        out.line(&format!(
            "Found label on {}, sector {}, type=LVM2 001",
            self.name, self.label_sector
        ));
        for mda in self.headers.mdas.iter().filter(|m| m.has_magic) {
            out.line(&format!(
                "Found text metadata area: offset={}, size={}",
                mda.area.start, mda.area.size
            ));
        }
        match self.headers.is_damaged {
            true => Err(bad_values()),
            false => Ok(()),
        }
    }

    fn dump(&self, what: Dump) -> Result<()> {
        match what {
            Dump::Headers => {
                self.show(|_| true);
                self.say_if_no_mda();
                self.verdict()
            }
            Dump::Metadata => self.dump_current(),
            Dump::All | Dump::Search => self.dump_all(what),
            Dump::Area => self.dump_area(),
        }
    }

    fn file(&self) -> Option<&Path> {
        self.args.text(Opt::File).map(Path::new)
    }

    /// The metadata area that is meant.
    fn mda(&self) -> Result<&DumpedMda> {
        let index = self.settings.mda_index();
        self.headers.mdas.get(index).ok_or_else(|| {
            let which = ["first", "second"][index];
            self.ctx
                .terminal()
                .line(&format!("CHECK: {which} mda not found"));
            bad_values()
        })
    }

    fn dump_current(&self) -> Result<()> {
        if self.headers.mdas.is_empty() {
            self.show(|k| k != LineKind::Field);
            self.say_if_no_mda();
            return Ok(());
        }
        let mda = self.mda()?;
        let texts_seen = self.settings.mda_index();
        let mut text_lines = 0;
        for line in &self.headers.lines {
            let shown = match line.kind {
                LineKind::Field => false,
                LineKind::Check => true,
                LineKind::Text => {
                    text_lines += 1;
                    text_lines == texts_seen + 1
                }
            };
            if shown {
                self.ctx.terminal().line(&line.text);
            }
        }
        if let Some(text) = &mda.text {
            let text = text.strip_suffix(b"\0").unwrap_or(text);
            match self.file() {
                Some(path) => write_private(path, text)?,
                None => {
                    let out = self.ctx.terminal();
                    out.line("---");
                    out.put_bytes(text);
                    out.put("\n");
                    out.line("---");
                }
            }
        }
        self.verdict()
    }

    /// The area to search: by the settings, the PV header, or where pvcreate puts it.
    fn search_area(&self, what: Dump) -> Result<Area> {
        let s = &self.settings;
        let second = s.mda_index() == 1;
        let (offset, size) = if second {
            (s.mda2_offset.or(s.mda_offset), s.mda2_size.or(s.mda_size))
        } else {
            (s.mda_offset, s.mda_size)
        };
        if let (Some(offset), Some(size)) = (offset, size) {
            return Ok(Area::new(offset, size));
        }
        if what == Dump::All {
            return self.mda().map(|m| m.area);
        }
        if let Some(mda) = self.headers.mdas.get(s.mda_index()) {
            return Ok(mda.area);
        }
        let area = if second {
            let end = ulvm_metadata::disk::Disk::size(&self.disk).0;
            Area::new((end.saturating_sub(1) >> 20) << 20, 1 << 20)
        } else {
            Area::new(4096, (1 << 20) - 4096)
        };
        let which = if second { "second" } else { "first" };
        let out = self.ctx.terminal();
        out.line(&format!(
            "Using defaults for {which} mda: offset {} size {}.",
            area.start, area.size
        ));
        out.line("Override defaults with --settings \"mda_offset=<bytes> mda_size=<bytes>\"");
        Ok(area)
    }

    fn dump_all(&self, what: Dump) -> Result<()> {
        if what == Dump::All && self.headers.mdas.is_empty() {
            self.show(|k| k != LineKind::Field);
            self.say_if_no_mda();
            return Ok(());
        }
        let area = self.search_area(what)?;
        let out = self.ctx.terminal();
        if what == Dump::Search {
            out.line(&format!(
                "Searching for metadata at offset {} size {}",
                area.start, area.size
            ));
        }
        let found = search_texts(&self.disk, area).map_err(|e| Error::io(read(self.name), e))?;
        let picked: Vec<&FoundText> = found.iter().filter(|t| self.picks(t)).collect();
        for text in &picked {
            out.line(&format!(
                "metadata at {} length {} crc {:x} vg {} seqno {} id {}",
                text.at,
                text.text.len() + 1,
                text.crc,
                text.vg,
                text.seqno,
                text.id
            ));
            if out.manner().verbose > 0 {
                self.show_origin(&text.text);
            }
        }
        if let Some(path) = self.file() {
            let texts: Vec<&[u8]> = picked.iter().map(|t| t.text.as_slice()).collect();
            write_private(path, &texts.join(&b"\n--\n"[..]))?;
        }
        Ok(())
    }

    fn picks(&self, text: &FoundText) -> bool {
        let s = &self.settings;
        s.metadata_offset.is_none_or(|at| at == text.at)
            && s.seqno.is_none_or(|n| text.seqno.parse::<u64>() == Ok(n))
    }

    /// With -v: the lines that say which command wrote a text, and when.
    fn show_origin(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let out = self.ctx.terminal();
        for key in ["description = ", "creation_time = "] {
            if let Some(line) = text.lines().find(|l| l.starts_with(key)) {
                out.line(line);
            }
        }
        out.put("\n");
    }

    /// The ring of texts as it is, to a file.
    fn dump_area(&self) -> Result<()> {
        let area = self.search_area(Dump::Area)?;
        let Some(path) = self.file() else {
            return Err(bad_values());
        };
        let size = area.size.0.saturating_sub(512);
        const MAX: u64 = 1 << 30;
        if size > MAX {
            return Err(Error::refused(format!(
                "The metadata area of {size} bytes is too large to dump."
            )));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        ulvm_metadata::disk::Disk::read_at(
            &self.disk,
            Bytes(area.start.0.saturating_add(512)),
            &mut bytes,
        )
        .map_err(|e| Error::io(read(self.name), e))?;
        write_private(path, &bytes)
    }
}

fn read(name: &str) -> String {
    format!("Error reading device {name}")
}

fn bad_values() -> Error {
    Error::refused("Found bad header or metadata values.")
}
