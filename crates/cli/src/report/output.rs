//! Rows as text: in columns, as JSON, as YAML.

mod basic;
mod json;
mod yaml;

pub use json::quote;

use super::fields::Field;
use super::row::Row;
use super::value::{Style, Value};

/// How a report is laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Which of the formats.
    pub format: Format,
    /// Columns padded to one width.
    pub aligned: bool,
    /// With headings.
    pub headings: bool,
    /// Between columns.
    pub separator: String,
    /// `LVM2_LV_NAME='..'`
    pub prefixes: bool,
    /// Quotes around values with prefixes.
    pub quoted: bool,
    /// One line per column in place of one per row.
    pub rows_as_columns: bool,
    /// All columns without any value are left out.
    pub compact: bool,
    /// Each row is written when it is found: unsorted, as wide as it needs itself.
    pub unbuffered: bool,
}

/// `--reportformat`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Columns for people.
    Basic,
    /// JSON, every value a string.
    Json,
    /// JSON with numbers, arrays and nulls.
    JsonStd,
    /// YAML.
    Yaml,
}

impl Format {
    /// From its name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "basic" => Self::Basic,
            "json" => Self::Json,
            "json_std" => Self::JsonStd,
            "yaml" => Self::Yaml,
            _ => return None,
        })
    }
}

/// A report ready to be written.
pub struct Table<'a> {
    /// What it is called in documents: `lv`, `vg`, ...
    pub name: &'static str,
    /// The columns.
    pub columns: Vec<&'static Field>,
    /// The rows, in order.
    pub rows: Vec<Row<'a>>,
    /// The last column was left out because it is blank: LVM2 still ends the heading with a
    /// separator.
    pub cut: bool,
}

impl<'a> Table<'a> {
    fn value(&self, row: usize, column: usize) -> Value<'a> {
        (self.columns[column].get)(&self.rows[row])
    }
    /// Drops columns of `fields` that are blank in every row.
    pub fn drop_blank(&mut self, fields: impl Fn(&Field) -> bool, style: &Style) {
        let keep: Vec<bool> = (0..self.columns.len())
            .map(|c| {
                !fields(self.columns[c])
                    || (0..self.rows.len()).any(|r| !self.value(r, c).show(style).is_empty())
            })
            .collect();
        self.cut = keep.last() == Some(&false);
        let mut keep = keep.into_iter();
        self.columns.retain(|_| keep.next().unwrap_or(true));
    }
}

/// One object of a document: its tables.
pub type Object<'a> = Vec<Table<'a>>;

/// Writes reports: one object for pvs, vgs and lvs, one per VG for fullreport.
pub fn write(objects: &[Object<'_>], layout: &Layout, style: &Style, put: &mut dyn FnMut(&str)) {
    match layout.format {
        Format::Basic => objects
            .iter()
            .flatten()
            .for_each(|t| basic::write(t, layout, style, put)),
        Format::Json => json::write(objects, style, false, put),
        Format::JsonStd => json::write(objects, style, true, put),
        Format::Yaml => yaml::write(objects, style, put),
    }
}
