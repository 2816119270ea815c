//! LVM2's text format: `key = value` and `key { ... }`, in metadata areas, backup files and
//! configuration files.
//!
//! [`parse`] is the fast way in: one pass, strings borrowed from the text, everything in one
//! vector. [`parse_config`] gives the owned [`tree::Section`](crate::tree::Section) and knows what
//! only configuration files have: `a/b = c` and sections that occur twice. [`write`] is the way
//! out.

mod config;
mod doc;
mod parse;
pub mod write;

pub use config::{merge_duplicates, parse_config};
pub use doc::{Comment, Doc, Elements, ItemRef, Items, NodeRef, SectionRef};
pub use parse::{MAX_DEPTH, TextError, parse, parse_str};
