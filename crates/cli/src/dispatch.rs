//! The registry of commands, and how a command line finds its row.

use std::path::Path;
use std::rc::Rc;

use ulvm::error::Result;

use crate::args::{self, Args, Opt, sets};
use crate::commands;
use crate::context::Context;
use crate::exit::Failure;
use crate::ui::Terminal;

/// A command: one row of [`COMMANDS`].
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What stands behind the options, as in help texts.
    pub operands: &'static str,
    /// Options beside the common ones.
    pub options: &'static [Opt],
    /// Does the work.
    pub run: fn(&Context, &Args) -> Result<()>,
}

macro_rules! commands {
    ($($name:literal, $summary:literal, $operands:expr, $options:expr, $run:expr;)*) => {
        /// All commands.
        pub const COMMANDS: &[Command] = &[$(Command {
            name: $name,
            summary: $summary,
            operands: $operands,
            options: $options,
            run: $run,
        },)*];
    };
}

commands! {
    // Reports and information.
    "config", "Show or check the configuration", "SECTION|SECTION/KEY ...", sets::CONFIG, commands::lvmconfig::run;
    "devtypes", "List the kinds of block devices", "", sets::DEVTYPES, commands::devtypes::run;
    "dumpconfig", "Show or check the configuration", "SECTION|SECTION/KEY ...", sets::DUMPCONFIG, commands::lvmconfig::run;
    "formats", "List the metadata formats", "", sets::FORMATS, commands::formats::run;
    "fullreport", "Report everything of each volume group", "VG ...", sets::FULLREPORT, commands::fullreport::run;
    "help", "Show help for commands", "[COMMAND ...]", sets::HELP, commands::help::run;
    "lvdisplay", "Show logical volumes", "VG|LV|Tag ...", sets::LVDISPLAY, commands::lvdisplay::run;
    "lvmconfig", "Show or check the configuration", "SECTION|SECTION/KEY ...", sets::LVMCONFIG, commands::lvmconfig::run;
    "lvmdiskscan", "List devices that may be physical volumes", "", sets::LVMDISKSCAN, commands::lvmdiskscan::run;
    "lvs", "Report on logical volumes", "VG|LV|Tag ...", sets::LVS, commands::lvs::run;
    "lvscan", "List logical volumes", "", sets::LVSCAN, commands::lvscan::run;
    "pvdisplay", "Show physical volumes", "PV|Tag ...", sets::PVDISPLAY, commands::pvdisplay::run;
    "pvs", "Report on physical volumes", "PV|Tag ...", sets::PVS, commands::pvs::run;
    "pvscan", "List physical volumes", "", sets::PVSCAN, commands::pvscan::run;
    "segtypes", "List the segment types", "", sets::SEGTYPES, commands::segtypes::run;
    "systemid", "Show this host's system ID", "", sets::SYSTEMID, commands::systemid::run;
    "tags", "List this host's tags", "", sets::TAGS, commands::tags::run;
    "version", "Show versions", "", sets::VERSION, commands::version::run;
    "vgdisplay", "Show volume groups", "VG|Tag ...", sets::VGDISPLAY, commands::vgdisplay::run;
    "vgs", "Report on volume groups", "VG|Tag ...", sets::VGS, commands::vgs::run;
    "vgscan", "List volume groups", "", sets::VGSCAN, commands::vgscan::run;

    // Physical volumes.
    "lvmdevices", "Show and change the devices file", "", sets::LVMDEVICES, commands::lvmdevices::run;
    "pvchange", "Change physical volumes", "PV|@TAG ...", sets::PVCHANGE, commands::pvchange::run;
    "pvck", "Check, dump and repair headers and metadata on a device", "DEVICE ...", sets::PVCK, commands::pvck::run;
    "pvcreate", "Make physical volumes of devices or image files", "DEVICE ...", sets::PVCREATE, commands::pvcreate::run;
    "pvmove", "Move extents to other physical volumes, go on with moves, give them up", "[PV[:PE[-PE]]... [PV[:PE[-PE]]...]...]", sets::PVMOVE, commands::pvmove::run;
    "pvremove", "Destroy the labels of physical volumes", "PV ...", sets::PVREMOVE, commands::pvremove::run;
    "pvresize", "Change the size of physical volumes", "PV|@TAG ...", sets::PVRESIZE, commands::pvresize::run;

    // Volume groups.
    "vgcfgbackup", "Back up metadata of volume groups", "[VG ...]", sets::VGCFGBACKUP, commands::vgcfgbackup::run;
    "vgcfgrestore", "Restore metadata of a volume group", "[VG]", sets::VGCFGRESTORE, commands::vgcfgrestore::run;
    "vgchange", "Change volume groups, activate and deactivate them", "[VG|@TAG ...]", sets::VGCHANGE, commands::vgchange::run;
    "vgck", "Check the metadata of volume groups", "[VG|@TAG ...]", sets::VGCK, commands::vgck::run;
    "vgcreate", "Make a volume group", "VG PV ...", sets::VGCREATE, commands::vgcreate::run;
    "vgexport", "Mark volume groups as belonging to no host", "VG|@TAG ...", sets::VGEXPORT, commands::vgexport::export;
    "vgextend", "Add physical volumes to a volume group", "VG PV ...", sets::VGEXTEND, commands::vgextend::run;
    "vgimport", "Take exported volume groups in", "VG|@TAG ...", sets::VGIMPORT, commands::vgexport::import;
    "vgimportclone", "Give copied physical volumes a volume group and identities of their own", "PV ...", sets::VGIMPORTCLONE, commands::vgimportclone::run;
    "vgmerge", "Put all of one volume group into another", "VG VG", sets::VGMERGE, commands::vgmerge::run;
    "vgmknodes", "Make device nodes of active logical volumes", "[VG|LV|@TAG ...]", sets::VGMKNODES, commands::vgmknodes::run;
    "vgreduce", "Take physical volumes out of a volume group", "VG [PV ...]", sets::VGREDUCE, commands::vgreduce::run;
    "vgremove", "Remove volume groups", "VG|@TAG ...", sets::VGREMOVE, commands::vgremove::run;
    "vgrename", "Rename a volume group", "VG|UUID NEW", sets::VGRENAME, commands::vgrename::run;
    "vgsplit", "Move physical volumes into another volume group", "VG VG [PV ...]", sets::VGSPLIT, commands::vgsplit::run;

    // Logical volumes.
    "lvchange", "Change the properties of logical volumes", "VG|LV|@TAG ...", sets::LVCHANGE, commands::lvchange::run;
    "lvcreate", "Create a logical volume", "VG [PV[:RANGE] ...]", sets::LVCREATE, commands::lvcreate::run;
    "lvextend", "Make a logical volume larger", "LV [PV[:RANGE] ...]", sets::LVEXTEND, commands::lvresize::extend;
    "lvreduce", "Make a logical volume smaller", "LV", sets::LVREDUCE, commands::lvresize::reduce;
    "lvremove", "Remove logical volumes", "VG|LV|@TAG ...", sets::LVREMOVE, commands::lvremove::run;
    "lvconvert", "Change how a logical volume is mirrored", "LV [PV ...]", sets::LVCONVERT, commands::lvconvert::run;
    "lvrename", "Rename a logical volume", "VG LV LVNEW", sets::LVRENAME, commands::lvrename::run;
    "lvresize", "Change the size of a logical volume", "LV [PV[:RANGE] ...]", sets::LVRESIZE, commands::lvresize::resize;

    // ulvm's own.
    "bench", "Load a logical volume, a table or a file and report how fast it is", "LV|FILE", sets::BENCH, commands::bench::run;
    "blkdeactivate", "Unmount and deactivate what is live, those above first", "[DEVICE ...]", sets::BLKDEACTIVATE, commands::blkdeactivate::run;
    "ccd", "Print or serve the tables of ccd configurations", "\"NAME INTERLEAVE FLAGS DEVICE...\"|FILE ...", sets::CCD, commands::ccd::run;
    "daemon", "Own live devices, or show and end what owns them", "", sets::DAEMON, commands::daemon::run;
    "demo", "Show the main job on image files in a folder", "", sets::DEMO, commands::demo::run;
    "dmsetup", "Make, change and show devices of device-mapper tables", commands::dmsetup::OPERANDS, sets::DMSETUP, commands::dmsetup::run;
    "events", "Show what has happened to live devices and the daemon", "", sets::EVENTS, commands::events::run;
    "completions", "Print completions for a shell", "bash|elvish|fish|powershell|zsh", &[], commands::completions::run;
    "manpages", "Write the manual pages into a directory", "DIRECTORY", &[], commands::manpages::run;
    "read", "Copy the contents of a logical volume to standard output", "LV", sets::READ, commands::read::run;
    "serve", "Serve logical volumes to NBD clients or as files, in the foreground", "LV ...", sets::SERVE, commands::serve::run;
    "write", "Copy standard input into a logical volume", "LV", sets::WRITE, commands::write::run;
}

/// The row of a command.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.name == name)
}

/// Runs the command that an argument vector names: by its first word (a link named as a command),
/// or by its second (`ulvm COMMAND`, `lvm COMMAND`).
pub fn run(argv: &[String], terminal: &Rc<Terminal>) -> std::result::Result<(), Failure> {
    let own = argv
        .first()
        .and_then(|a| Path::new(a).file_name()?.to_str())
        .unwrap_or("ulvm");
    let (command, rest) = match find(own) {
        Some(command) => (command, argv.get(1..).unwrap_or_default()),
        None => (named(own, argv.get(1))?, argv.get(2..).unwrap_or_default()),
    };
    let args = args::parse(command, rest).map_err(|e| failure(command, e))?;
    if args.has(Opt::Help) || args.has(Opt::LongHelp) {
        terminal.put(&commands::help::of(command));
        return Ok(());
    }
    if args.has(Opt::Version) {
        terminal.put(&commands::version::text());
        return Ok(());
    }
    let typed: Vec<&str> = std::iter::once(command.name)
        .chain(rest.iter().map(String::as_str))
        .collect();
    let context = Context::new(Rc::clone(terminal), &args, typed.join(" "))?;
    (command.run)(&context, &args).map_err(|e| failure(command, e.into()))
}

/// A failure in the manner of the command's family.
fn failure(command: &Command, failure: Failure) -> Failure {
    match command.name {
        commands::dmsetup::COMMAND => Failure::Dmsetup(commands::dmsetup::words(&failure)),
        _ => failure,
    }
}

/// `ulvm --help` and the like are taken for the commands they stand for.
fn named(own: &str, word: Option<&String>) -> std::result::Result<&'static Command, Failure> {
    let word = match word.map(String::as_str) {
        None => {
            return Err(Failure::NoSuchCommand(format!(
                "Please name a command.  Try '{own} help'."
            )));
        }
        Some("--help" | "-h") => "help",
        Some("--version" | "-V") => "version",
        Some(word) => word,
    };
    find(word).ok_or_else(|| {
        Failure::NoSuchCommand(match LVM2_ONLY.contains(&word) {
            true => format!("{word} is not supported yet.  Try '{own} help'."),
            false => format!("No such command.  Try '{own} help'."),
        })
    })
}

/// Commands of LVM2 that a user may look for, and that are not there yet.
const LVM2_ONLY: &[&str] = &["lvpoll", "vgimportdevices"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_makes_a_parser() {
        for command in COMMANDS {
            args::builder(command).debug_assert();
        }
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = COMMANDS.iter().map(|c| c.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
    }
}
