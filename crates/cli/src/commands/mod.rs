//! One module per command.

// Reports and information.
pub mod devtypes;
mod display;
pub mod formats;
pub mod fullreport;
pub mod help;
pub mod lvdisplay;
pub mod lvmconfig;
pub mod lvmdiskscan;
pub mod lvs;
pub mod lvscan;
pub mod pvdisplay;
pub mod pvs;
pub mod pvscan;
pub mod segtypes;
pub mod systemid;
pub mod tags;
pub mod version;
pub mod vgdisplay;
pub mod vgs;
pub mod vgscan;

// Physical volumes.
mod pv_make;
mod pv_operands;

pub mod pvchange;
pub mod pvck;
mod pvck_repair;
pub mod pvcreate;
pub mod pvmove;
pub mod pvremove;
pub mod pvresize;

// Volume groups.
pub mod lvmdevices;
mod selected;
mod vg_args;
mod vg_file;
pub mod vgcfgbackup;
pub mod vgcfgrestore;
pub mod vgchange;
pub mod vgck;
pub mod vgcreate;
pub mod vgexport;
pub mod vgextend;
pub mod vgimportclone;
pub mod vgmerge;
pub mod vgmknodes;
pub mod vgreduce;
pub mod vgremove;
pub mod vgrename;
pub mod vgsplit;

// Logical volumes.
pub mod lv_activation;
mod lv_args;
mod lv_filesystem;
mod lv_mirror_args;
pub mod lvchange;
mod lvchange_mirror;
pub mod lvconvert;
pub mod lvcreate;
pub mod lvremove;
pub mod lvrename;
pub mod lvresize;

// ulvm's own.
pub mod bench;
pub mod blkdeactivate;
pub mod ccd;
pub mod completions;
pub mod content;
pub mod daemon;
pub mod demo;
pub mod dmsetup;
pub mod events;
pub mod manpages;
pub mod read;
pub mod serve;
pub mod serve_limits;
pub mod write;
