//! Every option that any command takes: one row each. A command lists the rows it takes in
//! [`super::sets`]; help, man pages and completions come from the same rows.

use super::value::ValueKind;

/// Words of `--activate`.
const ACTIVATE: &[&str] = &[
    "y", "n", "ay", "ey", "sy", "ly", "ln", "e", "s", "a", "an", "en", "sn", "aey", "asy", "aln",
    "aly",
];
/// Words of `--alloc`.
const ALLOC: &[&str] = &[
    "contiguous",
    "cling",
    "cling_by_tags",
    "normal",
    "anywhere",
    "inherit",
];

/// What is known of an option.
#[derive(Clone, Copy, Debug)]
pub struct OptSpec {
    /// Name of its row, unique.
    pub id: &'static str,
    /// One-letter spelling. Several options may share one as long as no command takes both.
    pub short: Option<char>,
    /// Long spelling, without the two hyphens.
    pub long: &'static str,
    /// What it takes.
    pub value: ValueKind,
    /// One line.
    pub help: &'static str,
}

macro_rules! options {
    ($($name:ident, $short:expr, $long:literal, $kind:expr, $help:literal;)*) => {
        /// An option.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Opt {
            $(#[doc = $help] $name,)*
        }
        /// All options in the order of [`Opt`].
        pub const OPTIONS: &[OptSpec] = &[
            $({
                #[allow(unused_imports)]
                use ValueKind::*;
                OptSpec {
                    id: stringify!($name),
                    short: $short,
                    long: $long,
                    value: $kind,
                    help: $help,
                }
            },)*
        ];
    };
}

options! {
    Abort, None, "abort", Flag, "Abort the operation and undo it where possible";
    Activate, Some('a'), "activate", Choice(ACTIVATE), "Whether LVs are to be active";
    ActivationMode, None, "activationmode", Choice(&["partial", "degraded", "complete"]), "Which incomplete LVs may be activated";
    ActiveVolumeGroups, Some('A'), "activevolumegroups", Flag, "Only VGs with active LVs";
    Adddev, None, "adddev", Text, "Add this device to the devices file";
    Addnodeoncreate, None, "addnodeoncreate", Flag, "Accepted without effect: a node is there from the start";
    Addnodeonresume, None, "addnodeonresume", Flag, "Accepted without effect: a node is there from the start";
    Addpvid, None, "addpvid", Text, "Add the device with this PV id to the devices file";
    AddTag, None, "addtag", List, "Tag to add; may be repeated";
    Aligned, None, "aligned", Flag, "Align columns even with a separator";
    All, Some('a'), "all", Flag, "Include what is hidden or unused";
    Alloc, None, "alloc", Choice(ALLOC), "Allocation policy";
    Allocatable, Some('x'), "allocatable", YesNo, "Whether new extents may be taken from the PV";
    Atomic, None, "atomic", Flag, "Finish all or nothing";
    AtVersion, None, "atversion", Text, "Configuration as that release knew it";
    Autoactivation, None, "autoactivation", Text, "Activation asked for by an event";
    AutoBackup, Some('A'), "autobackup", YesNo, "Back up metadata after the change";
    Available, None, "available", Choice(ACTIVATE), "Old name of --activate";
    Background, Some('b'), "background", Flag, "Go on in the background";
    BaseVgName, Some('n'), "basevgname", Text, "New VG name; a number is added if it is taken";
    Binary, None, "binary", Flag, "Yes-or-no fields as 1 and 0";
    Blockdevice, Some('b'), "blockdevice", Flag, "Accepted for old scripts";
    BlockSize, None, "bs", Size('b'), "Size of each request";
    BootloaderAreaSize, None, "bootloaderareasize", Size('m'), "Space for a boot loader area before the data";
    Cache, Some('H'), "cache", Flag, "Make the LV a cached one; with pvscan: record what is online";
    Cachedevice, None, "cachedevice", List, "Device for a new cache; may be repeated";
    Cachemetadataformat, None, "cachemetadataformat", Choice(&["auto", "1", "2"]), "Cache metadata format";
    Cachemode, None, "cachemode", Choice(&["writethrough", "writeback", "passthrough"]), "When a cached write is complete";
    Cachepolicy, None, "cachepolicy", Text, "Cache policy";
    Cachepool, None, "cachepool", Text, "Cache pool LV";
    Cachesettings, None, "cachesettings", List, "Cache policy settings, KEY=VALUE; may be repeated";
    Cachesize, None, "cachesize", Size('m'), "Size of a new cache";
    Cachevol, None, "cachevol", Text, "LV used as cache";
    Check, None, "check", Flag, "Check the entries";
    Checkcomplete, None, "checkcomplete", Flag, "Say whether the VG is complete";
    Checks, None, "checks", Flag, "Accepted without effect";
    ChunkSize, Some('c'), "chunksize", Size('k'), "Chunk size of a snapshot, thin pool or cache";
    Clustered, Some('c'), "clustered", YesNo, "Accepted for old scripts";
    Colon, Some('c'), "colon", Flag, "Colon-separated fields, for scripts";
    Columns, Some('C'), "columns", Flag, "In columns, as pvs, vgs and lvs do";
    CommandProfile, None, "commandprofile", Text, "Command profile to apply";
    Compression, None, "compression", YesNo, "VDO compression";
    Concise, None, "concise", Flag, "Devices as NAME,UUID,MINOR,FLAGS,LINE[,LINE...], with semicolons between them";
    Config, None, "config", Text, "Configuration that overrides lvm.conf";
    ConfigReport, None, "configreport", ConfigReports, "Which report the following options are about";
    Contiguous, Some('C'), "contiguous", YesNo, "Contiguous allocation";
    Corelog, None, "corelog", Flag, "Mirror log in memory";
    DaemonEnter, None, "enter", Text, "Have the running daemon go on in this root folder, when the initramfs is left";
    DaemonReplace, None, "replace", Flag, "Put this program in the place of the running daemon's; users of volumes see a pause";
    DaemonStatus, None, "status", Flag, "Show the state of the daemon";
    DaemonStop, None, "stop", Flag, "End the daemon, unless devices are active";
    DataAlignment, None, "dataalignment", Size('k'), "Align the start of the data to this";
    DataAlignmentOffset, None, "dataalignmentoffset", Size('k'), "Shift the start of the data by this";
    Debug, Some('d'), "debug", Count, "More debugging messages; may be repeated";
    Deduplication, None, "deduplication", YesNo, "VDO deduplication";
    Deferred, None, "deferred", Flag, "Remove what is in use when it is not any more";
    Deldev, None, "deldev", Text, "Remove this device from the devices file";
    Delpvid, None, "delpvid", Text, "Remove the device with this PV id from the devices file";
    DelTag, None, "deltag", List, "Tag to remove; may be repeated";
    Detach, None, "detach", Flag, "Leave the terminal";
    DetachProfile, None, "detachprofile", Flag, "Detach the metadata profile";
    Deviceidtype, None, "deviceidtype", Text, "Kind of device id to use";
    Devices, None, "devices", List, "Devices or image files to use, nothing else; may be repeated";
    DevicesFile, None, "devicesfile", Text, "Devices file to use, by its name";
    Direct, None, "direct", YesNo, "Pass the page cache by";
    Discards, None, "discards", Choice(&["passdown", "nopassdown", "ignore"]), "How a thin pool treats discards";
    DmColumns, Some('c'), "columns", Flag, "In columns, one device a line";
    DmMinor, Some('m'), "minor", Number, "Minor number: of the device meant, or for the one to be made";
    DmReadAhead, None, "readahead", Text, "Sectors to read ahead: [+]SECTORS, auto or none";
    DmReadOnly, Some('r'), "readonly", Flag, "Refuse writes";
    DmUuid, Some('u'), "uuid", Text, "UUID of the device meant, or for the one to be made";
    DriverLoaded, None, "driverloaded", YesNo, "Whether activation is attempted";
    Dump, None, "dump", Text, "What to print: headers, metadata, metadata_all, metadata_search, metadata_area";
    Errorwhenfull, None, "errorwhenfull", YesNo, "Whether writes to a full thin pool fail at once";
    Exec, None, "exec", Text, "Run a command for each device found";
    Export, None, "export", Choice(&["auto", "fuse", "loop", "nbd", "ublk"]), "How an active LV is shown: as a file, as a loop device over it, to NBD clients, or as a ublk device";
    Exported, Some('e'), "exported", Flag, "Only exported VGs";
    Extents, Some('l'), "extents", Extents, "Size in extents or percent of VG, FREE, PVS or ORIGIN";
    File, Some('f'), "file", Text, "File to read or write";
    Follow, None, "follow", Flag, "Go on with what is added";
    Force, Some('f'), "force", Count, "Override some checks; may be repeated";
    Fs, None, "fs", Choice(&["checksize", "resize", "resize_fsadm", "ignore"]), "What is done about the file system";
    FsMode, None, "fsmode", Choice(&["manage", "nochange", "offline"]), "Whether the file system may be mounted or unmounted for it";
    Foreign, None, "foreign", Flag, "Include VGs of other system ids";
    Fuse, None, "fuse", Text, "Folder in which each volume is a file";
    Gid, Some('G'), "gid", Number, "Group of the node";
    Help, Some('h'), "help", Flag, "Show help";
    History, Some('H'), "history", Flag, "Include historical LVs";
    IgnoreActivationSkip, Some('K'), "ignoreactivationskip", Flag, "Activate even LVs marked to be skipped";
    IgnoreAdvanced, None, "ignoreadvanced", Flag, "Leave out advanced settings";
    IgnoreLocal, None, "ignorelocal", Flag, "Leave out local settings";
    IgnoreLockingFailure, None, "ignorelockingfailure", Flag, "Go on without locks if they cannot be had";
    Ignoremonitoring, None, "ignoremonitoring", Flag, "Do not touch monitoring";
    Ignoreunsupported, None, "ignoreunsupported", Flag, "Leave out unsupported settings";
    Import, Some('i'), "import", Flag, "Import exported VGs too";
    ImportDevices, None, "importdevices", Flag, "Add the devices to the devices file";
    Inactive, None, "inactive", Flag, "The loaded table in place of the live one";
    Interval, Some('i'), "interval", Text, "Seconds between progress reports";
    IoDepth, None, "iodepth", Number, "Requests in flight";
    IoDriver, None, "driver", Choice(&["auto", "uring", "pool"]), "What carries the I/O";
    Jobs, None, "jobs", Number, "Load generators, each on a queue of its own";
    Journal, None, "journal", Text, "What to record in the journal";
    Json, None, "json", Flag, "Report as JSON";
    KeepDir, None, "keep", Text, "Work in this directory and keep it";
    LabelSector, None, "labelsector", Number, "Sector of the label, 0 to 3";
    Length, None, "length", Size('b'), "How much, in bytes";
    List, Some('l'), "list", Flag, "List";
    ListLvs, None, "listlvs", Flag, "List the LVs that use the device";
    ListVg, None, "listvg", Flag, "Print the VG of the device";
    LockOptions, None, "lockopt", Text, "Options for shared locks";
    Lockstart, None, "lockstart", Flag, "Start the lockspace";
    Lockstop, None, "lockstop", Flag, "Stop the lockspace";
    LockType, None, "locktype", Choice(&["sanlock", "dlm", "none"]), "Lock type of the VG";
    Logicalvolume, Some('l'), "logicalvolume", Number, "Most LVs; 0 for no limit";
    LogOnly, None, "logonly", Flag, "Only the command log report";
    LongHelp, None, "longhelp", Flag, "Show long help";
    LvmPartition, Some('l'), "lvmpartition", Flag, "Only PVs";
    Major, Some('j'), "major", Number, "Major number of the block device";
    ManglingMode, None, "manglename", Text, "How odd letters in names are written: none, hex or auto";
    Maps, Some('m'), "maps", Flag, "Show how extents are mapped";
    MaxBuffer, None, "maxbuffer", Size('b'), "Data of one client's requests under way and replies not taken, in bytes";
    MaxClients, None, "maxclients", Number, "NBD clients at one time";
    MaxMemory, None, "maxmemory", Size('b'), "Data of all clients' requests under way and replies not taken, in bytes";
    MaxLogicalVolumes, Some('l'), "maxlogicalvolumes", Number, "Most LVs; 0 for no limit";
    MaxPayload, None, "maxpayload", Size('b'), "Largest read or write of an NBD client, in bytes";
    MaxPhysicalVolumes, Some('p'), "maxphysicalvolumes", Number, "Most PVs; 0 for no limit";
    Maxrecoveryrate, None, "maxrecoveryrate", Size('k'), "Most recovery I/O per second and device";
    MaxRequests, None, "maxrequests", Number, "Requests of one NBD client under way";
    Merge, None, "merge", Flag, "Merge a snapshot or split image";
    MergedConfig, None, "mergedconfig", Flag, "As after merging all sources";
    Mergemirrors, None, "mergemirrors", Flag, "Merge split images back";
    Mergesnapshot, None, "mergesnapshot", Flag, "Merge a snapshot into its origin";
    Mergethin, None, "mergethin", Flag, "Merge a thin snapshot";
    Metadatacopies, None, "metadatacopies", Text, "Metadata areas per PV";
    MetadataIgnore, None, "metadataignore", YesNo, "Leave the metadata areas of the PV unused";
    MetadataProfile, None, "metadataprofile", Text, "Metadata profile to attach";
    MetadataSize, None, "metadatasize", Size('m'), "Size of each metadata area";
    Metadatatype, Some('M'), "metadatatype", Choice(&["lvm2", "2", "lvm1", "1"]), "Metadata format; only lvm2";
    Minor, None, "minor", Number, "Minor number of the block device";
    MinRate, None, "minrate", Size('b'), "Bytes a second that a client has to move while it is in the middle of a message; 0 for no such limit";
    Minrecoveryrate, None, "minrecoveryrate", Size('k'), "Least recovery I/O per second and device";
    Mirrorlog, None, "mirrorlog", Choice(&["core", "disk", "mirrored"]), "Where a mirror log lies";
    Mirrors, Some('m'), "mirrors", SignedNumber, "Copies beside the first";
    MirrorsOnly, None, "mirrorsonly", Flag, "Only drop images of mirrors";
    Mknodes, None, "mknodes", Flag, "Check the nodes in /dev";
    Mode, Some('M'), "mode", Text, "Permissions of the node, octal";
    Monitor, None, "monitor", YesNo, "Whether events are monitored";
    Name, Some('n'), "name", Text, "Name of the LV";
    NamePrefixes, None, "nameprefixes", Flag, "LVM2_FIELD='value' pairs";
    Nbd, None, "nbd", List, "Where NBD clients come to: unix:PATH or tcp:HOST:PORT";
    Noflush, None, "noflush", Flag, "Do not make durable what was written";
    Nofsck, Some('n'), "nofsck", Flag, "Do not check the file system before resizing";
    NoHeadings, None, "noheadings", Flag, "Without headings";
    NoHints, None, "nohints", Flag, "Do not use the hints file";
    Nohistory, None, "nohistory", Flag, "Keep no record of removed LVs";
    Nolockfs, None, "nolockfs", Flag, "Accepted without effect: file systems are not stopped";
    NoLocking, None, "nolocking", Flag, "Take no locks";
    Noopencount, None, "noopencount", Flag, "Do not find out what is open";
    NoRestoreFile, None, "norestorefile", Flag, "With --uuid, without a backup file";
    NoSuffix, None, "nosuffix", Flag, "Sizes without unit letters";
    Nosync, None, "nosync", Flag, "Assume that copies are in sync";
    Notable, Some('n'), "notable", Flag, "Make the device without a table";
    Notifydbus, None, "notifydbus", Flag, "Send a notice on D-Bus";
    Noudevrules, None, "noudevrules", Flag, "Accepted without effect";
    Noudevsync, None, "noudevsync", Flag, "Do not wait for udev";
    NoVolumeGroup, Some('n'), "novolumegroup", Flag, "Only PVs of no VG";
    Offset, None, "offset", Size('b'), "Where to begin, in bytes";
    Options, Some('o'), "options", List, "Fields to show; + adds, - removes, # packs";
    Originname, None, "originname", Text, "Name of the origin";
    Partial, Some('P'), "partial", Flag, "As --activationmode partial";
    Permission, Some('p'), "permission", Choice(&["r", "rw"]), "Read-only or read-write";
    Persistent, Some('M'), "persistent", Choice(&["y", "n"]), "Keep device numbers";
    PhysicalExtentSize, Some('s'), "physicalextentsize", Size('m'), "Extent size";
    Pin, None, "pin", Flag, "Bind each queue thread to a CPU";
    Poll, None, "poll", YesNo, "Whether unfinished moves and conversions go on";
    PoolMetadata, None, "poolmetadata", Text, "Metadata LV of a pool";
    Poolmetadatasize, None, "poolmetadatasize", SignedSize('m'), "Size of a pool's metadata LV";
    Poolmetadataspare, None, "poolmetadataspare", YesNo, "Keep a spare metadata LV";
    Profile, None, "profile", Text, "Command or metadata profile";
    PvMetadataCopies, None, "pvmetadatacopies", Choice(&["0", "1", "2"]), "Metadata areas per PV";
    Queues, None, "queues", Number, "Queue threads; at most one a CPU is started";
    Quiet, Some('q'), "quiet", Count, "Fewer messages; twice: answer no";
    Raidintegrity, None, "raidintegrity", YesNo, "Checksums under a raid LV";
    Raidintegrityblocksize, None, "raidintegrityblocksize", Number, "Block size of those checksums";
    Raidintegritymode, None, "raidintegritymode", Choice(&["journal", "bitmap"]), "How those checksums are kept";
    Raidmaxrecoveryrate, None, "raidmaxrecoveryrate", Size('k'), "Old name of --maxrecoveryrate";
    Raidminrecoveryrate, None, "raidminrecoveryrate", Size('k'), "Old name of --minrecoveryrate";
    Raidrebuild, None, "raidrebuild", List, "Old name of --rebuild";
    Raidsyncaction, None, "raidsyncaction", Choice(&["check", "repair"]), "Old name of --syncaction";
    Raidwritebehind, None, "raidwritebehind", Number, "Old name of --writebehind";
    Raidwritemostly, None, "raidwritemostly", List, "Old name of --writemostly";
    ReadAhead, Some('r'), "readahead", ReadAhead, "Sectors to read ahead";
    ReadOnly, None, "readonly", Flag, "Read without locks, change nothing";
    Rebuild, None, "rebuild", List, "Rebuild the images on this PV; may be repeated";
    Refresh, None, "refresh", Flag, "Load the tables again";
    RegionSize, Some('R'), "regionsize", Size('m'), "Size of a region of the sync log";
    RemoveMissing, None, "removemissing", Flag, "Drop missing PVs";
    Repair, None, "repair", Flag, "Repair";
    RepairType, None, "repairtype", Choice(&["pv_header", "metadata", "label_header"]), "What to repair";
    Replace, None, "replace", List, "Replace this PV; may be repeated";
    ReportFormat, None, "reportformat", Choice(&["basic", "json", "json_std", "yaml"]), "Format of the report";
    Resizable, None, "resizable", YesNo, "Old name of --resizeable";
    Resizeable, Some('x'), "resizeable", YesNo, "Whether PVs may be added and removed";
    ResizeFs, Some('r'), "resizefs", Flag, "Resize the file system too";
    RestoreFile, None, "restorefile", Text, "Backup file that describes the PV";
    RestoreMissing, None, "restoremissing", Flag, "Take a PV back that was missing";
    Resync, None, "resync", Flag, "Sync all copies anew";
    Retry, None, "retry", Flag, "Try again for a few seconds while the device is in use";
    Rows, None, "rows", Flag, "Rows as columns";
    Runtime, None, "runtime", Number, "Seconds";
    Rw, None, "rw", Choice(&["read", "write", "randread", "randwrite"]), "Kind of load";
    Segments, None, "segments", Flag, "One row per segment";
    Select, Some('S'), "select", List, "Only objects that match";
    Separator, None, "separator", Text, "String between columns";
    SetActivationSkip, Some('k'), "setactivationskip", YesNo, "Mark to be skipped on activation";
    SetAutoActivation, None, "setautoactivation", YesNo, "Whether autoactivation applies";
    SetPhysicalVolumeSize, None, "setphysicalvolumesize", Size('m'), "Size of the PV in place of the device's";
    Settings, None, "settings", List, "Settings, KEY=VALUE";
    Setuuid, None, "setuuid", Flag, "Set the uuid and not the name";
    Shared, None, "shared", Flag, "Shared VG (lvmlockd)";
    Short, Some('s'), "short", Flag, "Short listing";
    Showdeprecated, None, "showdeprecated", Flag, "Include deprecated settings";
    Showkeys, None, "showkeys", Flag, "Accepted without effect: no target has keys";
    Showunsupported, None, "showunsupported", Flag, "Include unsupported settings";
    SinceVersion, None, "sinceversion", Text, "Settings new since that release";
    Size, Some('L'), "size", SignedSize('m'), "Size";
    Snapshot, Some('s'), "snapshot", Flag, "A snapshot";
    Sort, Some('O'), "sort", List, "Fields to sort by; - before a name for descending order";
    Splitcache, None, "splitcache", Flag, "Detach the cache";
    Splitmirrors, None, "splitmirrors", Number, "Images to split off";
    Splitsnapshot, None, "splitsnapshot", Flag, "Detach the snapshot from its origin";
    Startpoll, None, "startpoll", Flag, "Start polling";
    Stripes, Some('i'), "stripes", Number, "Number of stripes";
    StripeSize, Some('I'), "stripesize", Size('k'), "Stripe size";
    Swapmetadata, None, "swapmetadata", Flag, "Swap the metadata LV of a pool";
    Syncaction, None, "syncaction", Choice(&["check", "repair"]), "Scrub a raid LV";
    Sysinit, None, "sysinit", Flag, "At boot, before file systems are writable";
    SystemId, None, "systemid", Text, "System ID of the VG";
    Table, None, "table", Text, "File with a device-mapper table; for dmsetup the table itself";
    Target, None, "target", Text, "Only devices, or lines, of this target";
    Test, Some('t'), "test", Flag, "Do everything but write";
    Thin, Some('T'), "thin", Flag, "Thin LV or pool";
    Thinpool, None, "thinpool", Text, "Thin pool LV";
    Trackchanges, None, "trackchanges", Flag, "Track changes to a split image";
    Tree, None, "tree", Flag, "As a tree";
    Trustcache, None, "trustcache", Flag, "Accepted for old scripts";
    Type, None, "type", Text, "Segment type";
    TypeConfig, None, "typeconfig", Choice(&["current", "default", "diff", "full", "list", "missing", "new", "profilable", "profilable-command", "profilable-metadata"]), "Which settings to print";
    Ublk, None, "ublk", Flag, "As block devices of the kernel's ublk driver";
    Udevcookie, None, "udevcookie", Text, "Accepted without effect";
    Udevoutput, None, "udevoutput", Flag, "Print for udev rules";
    Uid, Some('U'), "uid", Number, "Owner of the node";
    Unbuffered, None, "unbuffered", Flag, "Print each row at once";
    Uncache, None, "uncache", Flag, "Remove the cache";
    Unconfigured, None, "unconfigured", Flag, "Accepted for old scripts";
    Units, None, "units", Text, "Units of sizes: r h b s k m g t p e, capitals for powers of 1000";
    Unquoted, None, "unquoted", Flag, "With --nameprefixes: without quotes";
    Update, None, "update", Flag, "Update";
    UpdateMetadata, None, "updatemetadata", Flag, "Write out mended metadata";
    Usepolicies, None, "usepolicies", Flag, "By the policy of lvm.conf";
    Uuid, Some('u'), "uuid", Flag, "Change or show the UUID";
    UuidValue, Some('u'), "uuid", Text, "UUID to give to the PV";
    Validate, None, "validate", Flag, "Check the configuration";
    Vdo, None, "vdo", Flag, "VDO LV";
    Vdopool, None, "vdopool", Text, "VDO pool LV";
    Vdosettings, None, "vdosettings", List, "VDO settings, KEY=VALUE";
    DmOptions, Some('d'), "dmoptions", List, "For devices that are no LVs: retry (go on for a while with what is in use), force (no effect)";
    ShowErrors, Some('e'), "errors", Flag, "Show why something was not done";
    LvmOptions, Some('l'), "lvmoptions", List, "For LVs: retry (go on for a while with what is in use), wholevg (all of a VG or nothing)";
    MdraidOptions, Some('r'), "mdraidoptions", List, "Accepted without effect: arrays of md are left alone";
    MpathOptions, Some('m'), "mpathoptions", List, "Accepted without effect: multipath devices are left alone";
    VdoOptions, Some('o'), "vdooptions", List, "Accepted without effect: there are no VDO volumes";
    Umount, Some('u'), "umount", Flag, "Unmount what is mounted, and turn swap off";
    Verbose, Some('v'), "verbose", Count, "More messages; up to three times";
    Verifyudev, None, "verifyudev", Flag, "Accepted without effect";
    Version, None, "version", Flag, "Show version";
    VgMetadataCopies, None, "vgmetadatacopies", Text, "Metadata copies of the VG: all, unmanaged or a number";
    Vgonline, None, "vgonline", Flag, "Online files of the VG";
    Virtualoriginsize, None, "virtualoriginsize", Size('m'), "Old name of --virtualsize";
    VirtualSize, Some('V'), "virtualsize", Size('m'), "Virtual size";
    WipeSignatures, Some('W'), "wipesignatures", YesNo, "Wipe signatures found on a new LV";
    WithComments, None, "withcomments", Flag, "With a comment for each setting";
    Withgeneralpreamble, None, "withgeneralpreamble", Flag, "With the preamble of lvm.conf";
    Withlocalpreamble, None, "withlocalpreamble", Flag, "With the preamble of lvmlocal.conf";
    WithSpaces, None, "withspaces", Flag, "Spaces around the equals signs";
    WithSummary, None, "withsummary", Flag, "With a one-line summary for each setting";
    WithVersions, None, "withversions", Flag, "With the release that brought each setting";
    Writebehind, None, "writebehind", Number, "Outstanding writes to write-mostly images";
    Writemostly, None, "writemostly", List, "Image read last: PV[:t|n|y]";
    Yes, Some('y'), "yes", Flag, "Answer yes to every question";
    Zero, Some('Z'), "zero", YesNo, "Zero the start";
}

impl Opt {
    /// The option's row.
    pub fn spec(self) -> &'static OptSpec {
        &OPTIONS[self as usize]
    }
}
