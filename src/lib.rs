//! ulvm host layer: the one place that knows devices, files, locks and configuration, and joins the
//! metadata library and the engine.
//!
//! Every command goes through a [`session::Session`]: settings -> lock -> scan -> read -> edit ->
//! commit. Nothing here prints; what is to be said goes to [`ui::Ui`]. The environment is read in
//! [`env`] and nowhere else.

pub mod config;
pub mod env;
pub mod error;
pub mod inventory;
pub mod session;
pub mod ui;
