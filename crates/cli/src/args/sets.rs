//! Which options each of LVM2's commands takes beside [`COMMON`]. Where two options of a command
//! have the same short letter, the first one listed gets it.

use super::table::Opt;

/// Options of every command.
pub const COMMON: &[Opt] = &[
    Opt::Debug,
    Opt::Help,
    Opt::Quiet,
    Opt::Verbose,
    Opt::Yes,
    Opt::Test,
    Opt::CommandProfile,
    Opt::Config,
    Opt::DriverLoaded,
    Opt::NoLocking,
    Opt::LockOptions,
    Opt::LongHelp,
    Opt::Profile,
    Opt::Version,
    Opt::DevicesFile,
    Opt::Devices,
    Opt::NoHints,
    Opt::Journal,
];
/// Options of `config` beside the common ones.
pub const CONFIG: &[Opt] = &[
    Opt::AtVersion,
    Opt::File,
    Opt::IgnoreAdvanced,
    Opt::IgnoreLocal,
    Opt::Ignoreunsupported,
    Opt::List,
    Opt::MergedConfig,
    Opt::MetadataProfile,
    Opt::Select,
    Opt::Showdeprecated,
    Opt::Showunsupported,
    Opt::SinceVersion,
    Opt::TypeConfig,
    Opt::Unconfigured,
    Opt::Units,
    Opt::Validate,
    Opt::WithComments,
    Opt::Withgeneralpreamble,
    Opt::Withlocalpreamble,
    Opt::WithSpaces,
    Opt::WithSummary,
    Opt::WithVersions,
];
/// Options of `devtypes` beside the common ones.
pub const DEVTYPES: &[Opt] = &[
    Opt::Aligned,
    Opt::Binary,
    Opt::NamePrefixes,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::ReportFormat,
    Opt::Rows,
    Opt::Select,
    Opt::Separator,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
    Opt::Unquoted,
];
/// Options of `dumpconfig` beside the common ones.
pub const DUMPCONFIG: &[Opt] = &[
    Opt::AtVersion,
    Opt::File,
    Opt::IgnoreAdvanced,
    Opt::IgnoreLocal,
    Opt::Ignoreunsupported,
    Opt::List,
    Opt::MergedConfig,
    Opt::MetadataProfile,
    Opt::Select,
    Opt::Showdeprecated,
    Opt::Showunsupported,
    Opt::SinceVersion,
    Opt::TypeConfig,
    Opt::Unconfigured,
    Opt::Units,
    Opt::Validate,
    Opt::WithComments,
    Opt::Withgeneralpreamble,
    Opt::Withlocalpreamble,
    Opt::WithSpaces,
    Opt::WithSummary,
    Opt::WithVersions,
];
/// Options of `formats` beside the common ones.
pub const FORMATS: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `fullreport` beside the common ones.
pub const FULLREPORT: &[Opt] = &[
    Opt::Aligned,
    Opt::All,
    Opt::Binary,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::NamePrefixes,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::ReadOnly,
    Opt::ReportFormat,
    Opt::Rows,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
    Opt::Unquoted,
];
/// Options of `help` beside the common ones.
pub const HELP: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `lastlog` beside the common ones.
pub const LASTLOG: &[Opt] = &[Opt::ReportFormat, Opt::Select, Opt::Units];
/// Options of `lvchange` beside the common ones.
pub const LVCHANGE: &[Opt] = &[
    Opt::Activate,
    Opt::ActivationMode,
    Opt::AddTag,
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::Available,
    Opt::Cachemode,
    Opt::Cachepolicy,
    Opt::Cachesettings,
    Opt::Compression,
    Opt::Contiguous,
    Opt::Deduplication,
    Opt::DelTag,
    Opt::DetachProfile,
    Opt::Discards,
    Opt::Errorwhenfull,
    Opt::Force,
    Opt::IgnoreActivationSkip,
    Opt::IgnoreLockingFailure,
    Opt::Ignoremonitoring,
    Opt::Major,
    Opt::Maxrecoveryrate,
    Opt::MetadataProfile,
    Opt::Minor,
    Opt::Minrecoveryrate,
    Opt::Monitor,
    Opt::Noudevsync,
    Opt::Partial,
    Opt::Permission,
    Opt::Persistent,
    Opt::Poll,
    Opt::Raidmaxrecoveryrate,
    Opt::Raidminrecoveryrate,
    Opt::Raidrebuild,
    Opt::Raidsyncaction,
    Opt::Raidwritebehind,
    Opt::Raidwritemostly,
    Opt::ReadAhead,
    Opt::ReadOnly,
    Opt::Rebuild,
    Opt::Refresh,
    Opt::ReportFormat,
    Opt::Resync,
    Opt::Select,
    Opt::SetActivationSkip,
    Opt::SetAutoActivation,
    Opt::Syncaction,
    Opt::Sysinit,
    Opt::Units,
    Opt::Vdosettings,
    Opt::Writebehind,
    Opt::Writemostly,
    Opt::Zero,
];
/// Options of `lvconvert` beside the common ones.
pub const LVCONVERT: &[Opt] = &[
    Opt::Alloc,
    Opt::Background,
    Opt::Cache,
    Opt::Cachedevice,
    Opt::Cachemetadataformat,
    Opt::Cachemode,
    Opt::Cachepolicy,
    Opt::Cachepool,
    Opt::Cachesettings,
    Opt::Cachesize,
    Opt::Cachevol,
    Opt::ChunkSize,
    Opt::Compression,
    Opt::Corelog,
    Opt::Deduplication,
    Opt::Discards,
    Opt::Errorwhenfull,
    Opt::Force,
    Opt::Interval,
    Opt::Merge,
    Opt::Mergemirrors,
    Opt::Mergesnapshot,
    Opt::Mergethin,
    Opt::MetadataProfile,
    Opt::Mirrorlog,
    Opt::Mirrors,
    Opt::Name,
    Opt::Noudevsync,
    Opt::Originname,
    Opt::PoolMetadata,
    Opt::Poolmetadatasize,
    Opt::Poolmetadataspare,
    Opt::Raidintegrity,
    Opt::Raidintegrityblocksize,
    Opt::Raidintegritymode,
    Opt::ReadAhead,
    Opt::RegionSize,
    Opt::Repair,
    Opt::Replace,
    Opt::Select,
    Opt::Snapshot,
    Opt::Splitcache,
    Opt::Splitmirrors,
    Opt::Splitsnapshot,
    Opt::Startpoll,
    Opt::StripeSize,
    Opt::Stripes,
    Opt::Swapmetadata,
    Opt::Thin,
    Opt::Thinpool,
    Opt::Trackchanges,
    Opt::Type,
    Opt::Uncache,
    Opt::Units,
    Opt::Usepolicies,
    Opt::Vdopool,
    Opt::Vdosettings,
    Opt::VirtualSize,
    Opt::Zero,
];
/// Options of `lvcreate` beside the common ones.
pub const LVCREATE: &[Opt] = &[
    Opt::Activate,
    Opt::AddTag,
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::Available,
    Opt::Cache,
    Opt::Cachedevice,
    Opt::Cachemetadataformat,
    Opt::Cachemode,
    Opt::Cachepolicy,
    Opt::Cachepool,
    Opt::Cachesettings,
    Opt::Cachesize,
    Opt::Cachevol,
    Opt::ChunkSize,
    Opt::Compression,
    Opt::Contiguous,
    Opt::Corelog,
    Opt::Deduplication,
    Opt::Discards,
    Opt::Errorwhenfull,
    Opt::Extents,
    Opt::IgnoreActivationSkip,
    Opt::Ignoremonitoring,
    Opt::Major,
    Opt::Maxrecoveryrate,
    Opt::MetadataProfile,
    Opt::Minor,
    Opt::Minrecoveryrate,
    Opt::Mirrorlog,
    Opt::Mirrors,
    Opt::Monitor,
    Opt::Name,
    Opt::Nosync,
    Opt::Noudevsync,
    Opt::Permission,
    Opt::Persistent,
    Opt::Poolmetadatasize,
    Opt::Poolmetadataspare,
    Opt::Raidintegrity,
    Opt::Raidintegrityblocksize,
    Opt::Raidintegritymode,
    Opt::Raidmaxrecoveryrate,
    Opt::Raidminrecoveryrate,
    Opt::ReadAhead,
    Opt::RegionSize,
    Opt::ReportFormat,
    Opt::Select,
    Opt::SetActivationSkip,
    Opt::SetAutoActivation,
    Opt::Size,
    Opt::Snapshot,
    Opt::StripeSize,
    Opt::Stripes,
    Opt::Thin,
    Opt::Thinpool,
    Opt::Type,
    Opt::Units,
    Opt::Vdo,
    Opt::Vdopool,
    Opt::Vdosettings,
    Opt::VirtualSize,
    Opt::Virtualoriginsize,
    Opt::WipeSignatures,
    Opt::Zero,
];
/// Options of `lvdisplay` beside the common ones.
pub const LVDISPLAY: &[Opt] = &[
    Opt::Aligned,
    Opt::All,
    Opt::Binary,
    Opt::Colon,
    Opt::Columns,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::History,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::Maps,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::ReadOnly,
    Opt::Segments,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
];
/// Options of `lvextend` beside the common ones.
pub const LVEXTEND: &[Opt] = &[
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::Extents,
    Opt::Force,
    Opt::Mirrors,
    Opt::Nofsck,
    Opt::Nosync,
    Opt::Noudevsync,
    Opt::Poolmetadatasize,
    Opt::ReportFormat,
    Opt::ResizeFs,
    Opt::Select,
    Opt::Size,
    Opt::StripeSize,
    Opt::Stripes,
    Opt::Type,
    Opt::Units,
    Opt::Usepolicies,
];
/// Options of `lvmchange` beside the common ones.
pub const LVMCHANGE: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `lvmconfig` beside the common ones.
pub const LVMCONFIG: &[Opt] = &[
    Opt::AtVersion,
    Opt::File,
    Opt::IgnoreAdvanced,
    Opt::IgnoreLocal,
    Opt::Ignoreunsupported,
    Opt::List,
    Opt::MergedConfig,
    Opt::MetadataProfile,
    Opt::Select,
    Opt::Showdeprecated,
    Opt::Showunsupported,
    Opt::SinceVersion,
    Opt::TypeConfig,
    Opt::Unconfigured,
    Opt::Units,
    Opt::Validate,
    Opt::WithComments,
    Opt::Withgeneralpreamble,
    Opt::Withlocalpreamble,
    Opt::WithSpaces,
    Opt::WithSummary,
    Opt::WithVersions,
];
/// Options of `lvmdevices` beside the common ones.
pub const LVMDEVICES: &[Opt] = &[
    Opt::Adddev,
    Opt::Addpvid,
    Opt::Check,
    Opt::Deldev,
    Opt::Delpvid,
    Opt::Deviceidtype,
    Opt::Select,
    Opt::Units,
    Opt::Update,
];
/// Options of `lvmdiskscan` beside the common ones.
pub const LVMDISKSCAN: &[Opt] = &[Opt::LvmPartition, Opt::ReadOnly, Opt::Select, Opt::Units];
/// Options of `lvmsadc` beside the common ones.
pub const LVMSADC: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `lvmsar` beside the common ones.
pub const LVMSAR: &[Opt] = &[Opt::Full, Opt::Select, Opt::Stdin, Opt::Units];
/// Options of `lvpoll` beside the common ones.
pub const LVPOLL: &[Opt] = &[
    Opt::Abort,
    Opt::AutoBackup,
    Opt::Handlemissingpvs,
    Opt::Interval,
    Opt::Polloperation,
    Opt::Select,
    Opt::Units,
];
/// Options of `lvreduce` beside the common ones.
pub const LVREDUCE: &[Opt] = &[
    Opt::AutoBackup,
    Opt::Extents,
    Opt::Force,
    Opt::Nofsck,
    Opt::Noudevsync,
    Opt::ReportFormat,
    Opt::ResizeFs,
    Opt::Select,
    Opt::Size,
    Opt::Units,
];
/// Options of `lvremove` beside the common ones.
pub const LVREMOVE: &[Opt] = &[
    Opt::AutoBackup,
    Opt::Force,
    Opt::Nohistory,
    Opt::Noudevsync,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `lvrename` beside the common ones.
pub const LVRENAME: &[Opt] = &[
    Opt::AutoBackup,
    Opt::Noudevsync,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `lvresize` beside the common ones.
pub const LVRESIZE: &[Opt] = &[
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::Extents,
    Opt::Force,
    Opt::Nofsck,
    Opt::Nosync,
    Opt::Noudevsync,
    Opt::Poolmetadatasize,
    Opt::ReportFormat,
    Opt::ResizeFs,
    Opt::Select,
    Opt::Size,
    Opt::StripeSize,
    Opt::Stripes,
    Opt::Type,
    Opt::Units,
];
/// Options of `lvs` beside the common ones.
pub const LVS: &[Opt] = &[
    Opt::Aligned,
    Opt::All,
    Opt::Binary,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::History,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::NamePrefixes,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::Partial,
    Opt::ReadOnly,
    Opt::ReportFormat,
    Opt::Rows,
    Opt::Segments,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Sort,
    Opt::Trustcache,
    Opt::Unbuffered,
    Opt::Units,
    Opt::Unquoted,
];
/// Options of `lvscan` beside the common ones.
pub const LVSCAN: &[Opt] = &[
    Opt::All,
    Opt::Blockdevice,
    Opt::IgnoreLockingFailure,
    Opt::ReadOnly,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `pvchange` beside the common ones.
pub const PVCHANGE: &[Opt] = &[
    Opt::AddTag,
    Opt::All,
    Opt::Allocatable,
    Opt::AutoBackup,
    Opt::DelTag,
    Opt::Force,
    Opt::MetadataIgnore,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
    Opt::Uuid,
];
/// Options of `pvck` beside the common ones.
pub const PVCK: &[Opt] = &[
    Opt::Dump,
    Opt::File,
    Opt::LabelSector,
    Opt::PvMetadataCopies,
    Opt::Repair,
    Opt::RepairType,
    Opt::Select,
    Opt::Settings,
    Opt::Units,
];
/// Options of `pvcreate` beside the common ones.
pub const PVCREATE: &[Opt] = &[
    Opt::BootloaderAreaSize,
    Opt::DataAlignment,
    Opt::DataAlignmentOffset,
    Opt::Force,
    Opt::IgnoreLockingFailure,
    Opt::LabelSector,
    Opt::MetadataIgnore,
    Opt::MetadataSize,
    Opt::Metadatacopies,
    Opt::Metadatatype,
    Opt::NoRestoreFile,
    Opt::PvMetadataCopies,
    Opt::ReportFormat,
    Opt::RestoreFile,
    Opt::Select,
    Opt::SetPhysicalVolumeSize,
    Opt::Units,
    Opt::UuidValue,
    Opt::Zero,
];
/// Options of `pvdata` beside the common ones.
pub const PVDATA: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `pvdisplay` beside the common ones.
pub const PVDISPLAY: &[Opt] = &[
    Opt::Aligned,
    Opt::All,
    Opt::Binary,
    Opt::Colon,
    Opt::Columns,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::Maps,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::ReadOnly,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Short,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
];
/// Options of `pvmove` beside the common ones.
pub const PVMOVE: &[Opt] = &[
    Opt::Abort,
    Opt::Alloc,
    Opt::Atomic,
    Opt::AutoBackup,
    Opt::Background,
    Opt::Interval,
    Opt::Name,
    Opt::Noudevsync,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `pvremove` beside the common ones.
pub const PVREMOVE: &[Opt] = &[Opt::Force, Opt::ReportFormat, Opt::Select, Opt::Units];
/// Options of `pvresize` beside the common ones.
pub const PVRESIZE: &[Opt] = &[
    Opt::ReportFormat,
    Opt::Select,
    Opt::SetPhysicalVolumeSize,
    Opt::Units,
];
/// Options of `pvs` beside the common ones.
pub const PVS: &[Opt] = &[
    Opt::Aligned,
    Opt::All,
    Opt::Binary,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::NamePrefixes,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::Partial,
    Opt::ReadOnly,
    Opt::ReportFormat,
    Opt::Rows,
    Opt::Segments,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
    Opt::Unquoted,
];
/// Options of `pvscan` beside the common ones.
pub const PVSCAN: &[Opt] = &[
    Opt::Autoactivation,
    Opt::Cache,
    Opt::Checkcomplete,
    Opt::Exported,
    Opt::IgnoreLockingFailure,
    Opt::ListLvs,
    Opt::ListVg,
    Opt::Major,
    Opt::Minor,
    Opt::NoVolumeGroup,
    Opt::Noudevsync,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Short,
    Opt::Udevoutput,
    Opt::Units,
    Opt::Uuid,
    Opt::Vgonline,
];
/// Options of `segtypes` beside the common ones.
pub const SEGTYPES: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `systemid` beside the common ones.
pub const SYSTEMID: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `tags` beside the common ones.
pub const TAGS: &[Opt] = &[Opt::Select, Opt::Units];
/// Options of `version` beside the common ones.
pub const VERSION: &[Opt] = &[];
/// Options of `vgcfgbackup` beside the common ones.
pub const VGCFGBACKUP: &[Opt] = &[
    Opt::File,
    Opt::Foreign,
    Opt::IgnoreLockingFailure,
    Opt::ReadOnly,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgcfgrestore` beside the common ones.
pub const VGCFGRESTORE: &[Opt] = &[
    Opt::File,
    Opt::Force,
    Opt::List,
    Opt::Metadatatype,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgchange` beside the common ones.
pub const VGCHANGE: &[Opt] = &[
    Opt::Activate,
    Opt::ActivationMode,
    Opt::AddTag,
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::Autoactivation,
    Opt::Available,
    Opt::DelTag,
    Opt::DetachProfile,
    Opt::Force,
    Opt::IgnoreActivationSkip,
    Opt::IgnoreLockingFailure,
    Opt::Ignoremonitoring,
    Opt::LockType,
    Opt::Lockstart,
    Opt::Lockstop,
    Opt::Logicalvolume,
    Opt::MaxPhysicalVolumes,
    Opt::MetadataProfile,
    Opt::Monitor,
    Opt::Noudevsync,
    Opt::Partial,
    Opt::PhysicalExtentSize,
    Opt::Poll,
    Opt::PvMetadataCopies,
    Opt::ReadOnly,
    Opt::Refresh,
    Opt::ReportFormat,
    Opt::Resizable,
    Opt::Resizeable,
    Opt::Select,
    Opt::SetAutoActivation,
    Opt::Sysinit,
    Opt::SystemId,
    Opt::Units,
    Opt::Uuid,
    Opt::VgMetadataCopies,
];
/// Options of `vgck` beside the common ones.
pub const VGCK: &[Opt] = &[
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
    Opt::UpdateMetadata,
];
/// Options of `vgconvert` beside the common ones.
pub const VGCONVERT: &[Opt] = &[
    Opt::BootloaderAreaSize,
    Opt::Force,
    Opt::LabelSector,
    Opt::MetadataSize,
    Opt::Metadatacopies,
    Opt::Metadatatype,
    Opt::PvMetadataCopies,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgcreate` beside the common ones.
pub const VGCREATE: &[Opt] = &[
    Opt::AddTag,
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::Clustered,
    Opt::DataAlignment,
    Opt::DataAlignmentOffset,
    Opt::Force,
    Opt::LabelSector,
    Opt::LockType,
    Opt::MaxLogicalVolumes,
    Opt::MaxPhysicalVolumes,
    Opt::MetadataProfile,
    Opt::MetadataSize,
    Opt::Metadatacopies,
    Opt::Metadatatype,
    Opt::PhysicalExtentSize,
    Opt::PvMetadataCopies,
    Opt::ReportFormat,
    Opt::Select,
    Opt::SetAutoActivation,
    Opt::Shared,
    Opt::SystemId,
    Opt::Units,
    Opt::VgMetadataCopies,
    Opt::Zero,
];
/// Options of `vgdisplay` beside the common ones.
pub const VGDISPLAY: &[Opt] = &[
    Opt::ActiveVolumeGroups,
    Opt::Aligned,
    Opt::Binary,
    Opt::Colon,
    Opt::Columns,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::ReadOnly,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Short,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
];
/// Options of `vgexport` beside the common ones.
pub const VGEXPORT: &[Opt] = &[Opt::All, Opt::ReportFormat, Opt::Select, Opt::Units];
/// Options of `vgextend` beside the common ones.
pub const VGEXTEND: &[Opt] = &[
    Opt::AutoBackup,
    Opt::DataAlignment,
    Opt::DataAlignmentOffset,
    Opt::Force,
    Opt::LabelSector,
    Opt::MetadataIgnore,
    Opt::MetadataSize,
    Opt::Metadatacopies,
    Opt::Metadatatype,
    Opt::PvMetadataCopies,
    Opt::ReportFormat,
    Opt::RestoreMissing,
    Opt::Select,
    Opt::Units,
    Opt::Zero,
];
/// Options of `vgimport` beside the common ones.
pub const VGIMPORT: &[Opt] = &[
    Opt::All,
    Opt::Force,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgimportclone` beside the common ones.
pub const VGIMPORTCLONE: &[Opt] = &[
    Opt::BaseVgName,
    Opt::Import,
    Opt::ImportDevices,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgimportdevices` beside the common ones.
pub const VGIMPORTDEVICES: &[Opt] = &[
    Opt::All,
    Opt::Foreign,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgmerge` beside the common ones.
pub const VGMERGE: &[Opt] = &[
    Opt::AutoBackup,
    Opt::List,
    Opt::Poolmetadataspare,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgmknodes` beside the common ones.
pub const VGMKNODES: &[Opt] = &[
    Opt::IgnoreLockingFailure,
    Opt::Refresh,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgreduce` beside the common ones.
pub const VGREDUCE: &[Opt] = &[
    Opt::All,
    Opt::AutoBackup,
    Opt::Force,
    Opt::MirrorsOnly,
    Opt::RemoveMissing,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgremove` beside the common ones.
pub const VGREMOVE: &[Opt] = &[
    Opt::Force,
    Opt::Noudevsync,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgrename` beside the common ones.
pub const VGRENAME: &[Opt] = &[
    Opt::AutoBackup,
    Opt::Force,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgs` beside the common ones.
pub const VGS: &[Opt] = &[
    Opt::Aligned,
    Opt::All,
    Opt::Binary,
    Opt::ConfigReport,
    Opt::Foreign,
    Opt::IgnoreLockingFailure,
    Opt::LogOnly,
    Opt::NamePrefixes,
    Opt::NoHeadings,
    Opt::NoSuffix,
    Opt::Options,
    Opt::Partial,
    Opt::ReadOnly,
    Opt::ReportFormat,
    Opt::Rows,
    Opt::Select,
    Opt::Separator,
    Opt::Shared,
    Opt::Sort,
    Opt::Unbuffered,
    Opt::Units,
    Opt::Unquoted,
];
/// Options of `vgscan` beside the common ones.
pub const VGSCAN: &[Opt] = &[
    Opt::IgnoreLockingFailure,
    Opt::Mknodes,
    Opt::Notifydbus,
    Opt::ReportFormat,
    Opt::Select,
    Opt::Units,
];
/// Options of `vgsplit` beside the common ones.
pub const VGSPLIT: &[Opt] = &[
    Opt::Alloc,
    Opt::AutoBackup,
    Opt::MaxLogicalVolumes,
    Opt::MaxPhysicalVolumes,
    Opt::Metadatatype,
    Opt::Name,
    Opt::Poolmetadataspare,
    Opt::Select,
    Opt::Units,
    Opt::VgMetadataCopies,
];

/// Options of `bench` beside the common ones.
pub const BENCH: &[Opt] = &[
    Opt::ActivationMode,
    Opt::BlockSize,
    Opt::Direct,
    Opt::IoDepth,
    Opt::IoDriver,
    Opt::Jobs,
    Opt::Json,
    Opt::Runtime,
    Opt::Rw,
    Opt::Table,
];

/// Options of `ccd` beside the common ones.
pub const CCD: &[Opt] = &[Opt::Fuse, Opt::Nbd, Opt::ReadOnly];

/// Options of `demo` beside the common ones.
pub const DEMO: &[Opt] = &[Opt::KeepDir];

/// Options of `read` beside the common ones.
pub const READ: &[Opt] = &[Opt::ActivationMode, Opt::Length, Opt::Offset];

/// Options of `write` beside the common ones.
pub const WRITE: &[Opt] = &[Opt::ActivationMode, Opt::Offset];

/// Options of `serve` beside the common ones.
pub const SERVE: &[Opt] = &[
    Opt::ActivationMode,
    Opt::Fuse,
    Opt::Name,
    Opt::Nbd,
    Opt::ReadOnly,
    Opt::Table,
];
