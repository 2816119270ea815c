//! Sessions over image files.

mod damage;
mod open;
mod place;
mod reading;
mod restore;
mod returning;
mod writing;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ulvm_metadata::convert::{Style, TextHeader, export};
use ulvm_metadata::model::{Pv, Vg};
use ulvm_metadata::units::{Extents, Sectors};

use super::*;
use crate::inventory::{MdaState, VgRead};
use crate::ui::Recorder;

pub(in crate::session) use place::*;
