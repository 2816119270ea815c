//! pvcreate

use std::path::Path;

use ulvm::error::{Error, Result};
use ulvm::session::LockMode;
use ulvm_metadata::ondisk::Area;
use ulvm_metadata::ondisk::layout::FixedData;
use ulvm_metadata::units::{Bytes, Sectors};
use ulvm_metadata::uuid::LvmUuid;

use super::pv_make::{Existing, Making, make_all};
use super::vg_file;
use crate::args::{Args, Opt};
use crate::context::{Context, wrong_syntax};

/// Makes physical volumes.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if args.operands().is_empty() {
        return Err(wrong_syntax("pvcreate"));
    }
    let mut making = Making::from_args(args, &[Opt::PvMetadataCopies, Opt::Metadatacopies])?;
    if let Some((id, layout)) = identity(args)? {
        making = making.restore(id, layout);
    }
    let mut session = ctx.session()?;
    session.lock_global(LockMode::Exclusive)?;
    make_all(&mut session, &making, args.operands(), Existing::Remake)?;
    Ok(())
}

/// `--uuid` with `--restorefile` or `--norestorefile`.
fn identity(args: &Args) -> Result<Option<(LvmUuid, Option<FixedData>)>> {
    let Some(text) = args.text(Opt::UuidValue) else {
        return match args.has(Opt::RestoreFile) {
            true => Err(Error::usage("--uuid is required with --restorefile")),
            false => Ok(None),
        };
    };
    if args.operands().len() > 1 {
        return Err(Error::usage("Can only set uuid on one volume at once"));
    }
    let Some(file) = args.text(Opt::RestoreFile) else {
        if !args.has(Opt::NoRestoreFile) {
            return Err(Error::usage("--restorefile is required with --uuid"));
        }
        return Ok(Some((parse_id(text)?, None)));
    };
    let id = parse_id(text)?;
    let vg = vg_file::read(Path::new(file))
        .map_err(|e| usage_with(&e, format!("Unable to read volume group from {file}")))?
        .vg;
    let Some(key) = vg.find_pv(&id) else {
        return Err(Error::usage(format!(
            "Can't find uuid {id} in backup file {file}"
        )));
    };
    let pv = &vg.pvs[key];
    let bytes = |s: Sectors| s.to_bytes().unwrap_or(Bytes(u64::MAX));
    let length = bytes(pv.pe_count.to_sectors(vg.extent_size));
    let layout = FixedData {
        pe_start: bytes(pv.pe_start),
        pe_end: Bytes(bytes(pv.pe_start).0.saturating_add(length.0)),
        bootloader: pv
            .bootloader
            .map(|b| Area::new(bytes(b.start).0, bytes(b.size).0)),
    };
    Ok(Some((id, Some(layout))))
}

fn usage_with(e: &Error, line: String) -> Error {
    Error::usage(e.lines().join("\n")).and(line)
}

fn parse_id(text: &str) -> Result<LvmUuid> {
    LvmUuid::parse(text).ok_or_else(|| {
        Error::usage(match text.bytes().filter(|c| *c != b'-').count() {
            32 => "Couldn't read uuid: invalid character.",
            _ => "Couldn't read uuid: incorrect number of characters.",
        })
    })
}
