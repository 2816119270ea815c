//! ulvm host layer: the one place that knows devices, files, locks and configuration, and joins the
//! metadata library and the engine.
//!
//! Every command goes through a [`session::Session`]: settings -> lock -> scan -> read -> edit ->
//! commit. Nothing here prints; what is to be said goes to [`ui::Ui`]. The environment is read in
//! [`env`] and nowhere else.

pub mod activate;
mod assemble;
pub mod backup;
mod commit;
pub mod config;
pub mod daemon;
pub mod devices_file;
pub mod discover;
pub mod disk;
pub mod env;
pub mod error;
pub mod filesystem;
pub mod filter;
pub mod host;
pub mod in_use;
pub mod inventory;
pub mod lock;
pub mod lv_disk;
pub mod lv_wipe;
pub mod mirror_marks;
mod mounts;
pub mod online;
pub mod partition;
pub mod pvmove;
mod scan;
pub mod serve;
pub mod session;
pub mod signatures;
pub mod sound;
mod sys;
mod texts;
pub mod ui;
