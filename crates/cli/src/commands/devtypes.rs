//! `devtypes`

use ulvm::error::{Error, Result};

use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::output::quote;

/// Kinds of block devices by their names in /proc/devices, with the partitions each may have.
#[rustfmt::skip]
const DEVTYPES: &[(&str, u32, &str)] = &[
    ("VxDMP", 16, "Veritas Dynamic Multipathing"),
    ("aoe", 16, "ATA over Ethernet"),
    ("ataraid", 16, "ATA Raid"),
    ("bcache", 1, "bcache block device cache"),
    ("blkext", 1, "Extended device partitions"),
    ("cciss", 16, "Compaq CCISS array"),
    ("dac960", 8, "DAC960"),
    ("dasd", 4, "DASD disk (IBM S/390, zSeries)"),
    ("device-mapper", 1, "Mapped device"),
    ("drbd", 16, "Distributed Replicated Block Device (DRBD)"),
    ("emcpower", 16, "EMC Powerpath"),
    ("fio", 16, "Fusion IO"),
    ("gnbd", 1, "Network block device"),
    ("i2o_block", 16, "i2o Block Disk"),
    ("ida", 16, "Compaq SMART2"),
    ("ide", 64, "IDE disk"),
    ("iseries/vd", 8, "iSeries disks"),
    ("loop", 1, "Loop device"),
    ("md", 1, "Multiple Disk (MD/SoftRAID)"),
    ("mdp", 1, "Partitionable MD"),
    ("mmc", 16, "MMC block device"),
    ("mtip32xx", 16, "Micron PCIe SSD"),
    ("nbd", 16, "Network Block Device"),
    ("nvme", 64, "NVM Express"),
    ("power2", 16, "EMC Powerpath"),
    ("ps3disk", 16, "PlayStation 3 internal disk"),
    ("ramdisk", 1, "RAM disk"),
    ("rbd", 16, "Ceph rados object as a Linux block device"),
    ("scm", 8, "Storage Class Memory (IBM S/390)"),
    ("sd", 16, "SCSI disk"),
    ("skd", 16, "STEC"),
    ("ubd", 16, "User-mode virtual block device"),
    ("vdisk", 8, "SUN's LDOM virtual block device"),
    ("virtblk", 8, "VirtIO disk"),
    ("vtms", 16, "Violin Memory"),
    ("xvd", 16, "Xen virtual block device"),
    ("zvol", 16, "ZFS Zvols"),
];

/// Columns: name, heading, right-aligned.
const COLUMNS: [(&str, &str, bool); 3] = [
    ("devtype_name", "DevType", false),
    ("devtype_max_partitions", "MaxParts", true),
    ("devtype_description", "Description", false),
];

/// Lists the kinds of block devices that may be PVs.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let columns = columns(args)?;
    let rows: Vec<[String; 3]> = DEVTYPES
        .iter()
        .map(|(name, parts, about)| [(*name).to_owned(), parts.to_string(), (*about).to_owned()])
        .collect();
    let out = ctx.terminal();
    if ctx.terminal().manner().document {
        json(ctx, &columns, &rows);
        return Ok(());
    }
    let separator = args.text(Opt::Separator).unwrap_or(" ");
    let aligned = args.has(Opt::Aligned) || !args.has(Opt::Separator);
    let width = |c: usize| {
        rows.iter()
            .map(|r| r[c].len())
            .chain([COLUMNS[c].1.len()])
            .max()
            .unwrap_or(0)
    };
    let line = |cell: &dyn Fn(usize) -> (String, bool)| {
        let cells: Vec<String> = columns
            .iter()
            .map(|c| match (cell(*c), aligned) {
                ((text, _), false) => text,
                ((text, true), true) => format!("{text:>w$}", w = width(*c)),
                ((text, false), true) => format!("{text:<w$}", w = width(*c)),
            })
            .collect();
        out.line(&cells.join(separator));
    };
    if !args.has(Opt::NoHeadings) {
        line(&|c| (COLUMNS[c].1.to_owned(), false));
    }
    for row in &rows {
        line(&|c| (row[c].clone(), COLUMNS[c].2));
    }
    Ok(())
}

/// Indices of the columns that `-o` asks for.
fn columns(args: &Args) -> Result<Vec<usize>> {
    let Some(list) = args.text(Opt::Options) else {
        return Ok(vec![0, 1, 2]);
    };
    let names = list
        .trim_start_matches('+')
        .split(',')
        .filter(|n| !n.is_empty());
    let added = if list.starts_with('+') {
        vec![0, 1, 2]
    } else {
        Vec::new()
    };
    let mut out = added;
    for name in names {
        match COLUMNS
            .iter()
            .position(|c| c.0 == name || c.0.strip_prefix("devtype_") == Some(name))
        {
            Some(index) => out.push(index),
            None if name == "devtype_all" || name == "all" => out.extend([0, 1, 2]),
            None => return Err(Error::refused(format!("Unrecognised field: {name}"))),
        }
    }
    Ok(out)
}

fn json(ctx: &Context, columns: &[usize], rows: &[[String; 3]]) {
    let out = ctx.terminal();
    out.put("  {\n      \"report\": [\n          {\n              \"devtype\": [\n");
    for (i, row) in rows.iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .map(|c| format!("\"{}\":{}", COLUMNS[*c].0, quote(&row[*c])))
            .collect();
        let comma = if i + 1 < rows.len() { "," } else { "" };
        out.put(&format!(
            "                  {{{}}}{comma}\n",
            cells.join(", ")
        ));
    }
    out.put("              ]\n          }\n      ]\n  }\n");
}
