//! Operations on volume groups: pure functions from the old VG to the new.
//!
//! Each takes `&Vg` and a request, and returns a whole new VG that has passed
//! [`model::check`](crate::model::check::check), with what the user is told on the way, or an
//! [`OpError`]. Nothing here prints, reads a clock or makes identifiers on its own.

#[cfg(test)]
mod fixture;
mod history;
pub mod lv_change;
pub mod lv_create;
pub mod lv_name;
pub mod lv_remove;
pub mod lv_rename;
pub mod lv_resize;
mod lv_segments;
#[cfg(test)]
mod lv_tests;
pub mod lv_tree;
pub mod mirror;
pub mod pv_alias;
pub mod pv_args;
pub mod pv_change;
pub mod pvmove;
pub mod released;
pub mod size;
pub mod tags;
pub mod vg_change;
pub mod vg_create;
pub mod vg_export;
mod vg_extent_size;
mod vg_graft;
pub mod vg_merge;
pub mod vg_missing;
pub mod vg_pvs;
pub mod vg_settle;
pub mod vg_split;

use std::fmt;

use crate::model::Vg;
use crate::model::check::{Broken, check};
use crate::notice::Notice;

/// Result of an operation.
#[derive(Clone, PartialEq, Debug)]
pub struct Done<T = ()> {
    /// The new VG, checked. `seqno` is the old one: the commit counts it up.
    pub vg: Vg,
    /// What the user is told, in order.
    pub notices: Vec<Notice>,
    /// What the operation hands back beside the VG.
    pub value: T,
}

impl<T> Done<T> {
    /// Checks the new VG and wraps it.
    pub fn checked(vg: Vg, notices: Vec<Notice>, value: T) -> Result<Self, OpError> {
        match check(&vg) {
            Ok(()) => Ok(Self { vg, notices, value }),
            Err(broken) => Err(OpError::from(broken).after(notices)),
        }
    }
}

/// Sort of an [`OpError`]; decides the exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpErrorKind {
    /// The request makes no sense whatever the VG holds (exit code 3).
    Usage,
    /// A named object does not exist.
    NotFound,
    /// A name is taken.
    Exists,
    /// Not enough (suitable) extents.
    NoSpace,
    /// A limit would be passed (LVs, PVs, lengths).
    Limit,
    /// The state of the VG or of an object in it forbids the operation.
    Refused,
    /// The new VG would break an invariant: a defect of ulvm, nothing was changed.
    Broken,
}

/// Why an operation was not done. The VG is unchanged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpError {
    /// Sort.
    pub kind: OpErrorKind,
    /// For the user; names the object. May have several lines.
    pub message: String,
    /// What the user had been told before it failed, in order: shown before the message.
    pub notices: Vec<Notice>,
    /// The broken invariant, for [`OpErrorKind::Broken`].
    pub source: Option<Broken>,
}

impl OpError {
    /// An error of that sort.
    pub fn new(kind: OpErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            notices: Vec::new(),
            source: None,
        }
    }
    /// [`OpErrorKind::Usage`]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Usage, message)
    }
    /// [`OpErrorKind::NotFound`]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::NotFound, message)
    }
    /// [`OpErrorKind::Exists`]
    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Exists, message)
    }
    /// [`OpErrorKind::NoSpace`]
    pub fn no_space(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::NoSpace, message)
    }
    /// [`OpErrorKind::Limit`]
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Limit, message)
    }
    /// [`OpErrorKind::Refused`]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(OpErrorKind::Refused, message)
    }
    /// Puts earlier notices before those it has.
    pub fn after(mut self, mut notices: Vec<Notice>) -> Self {
        notices.append(&mut self.notices);
        self.notices = notices;
        self
    }
}

impl From<Broken> for OpError {
    fn from(broken: Broken) -> Self {
        Self {
            source: Some(broken.clone()),
            ..Self::new(
                OpErrorKind::Broken,
                format!("Internal error: {broken}. Nothing was changed."),
            )
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for OpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|b| b as _)
    }
}
