//! Which fields a report shows and sorts by: `-o`, `-O`.

use super::fields::{self, Field, Group};
use super::select::Lines;

/// A field to sort by.
#[derive(Clone, Copy)]
pub struct SortKey {
    /// The field.
    pub field: &'static Field,
    /// From the greatest to the least.
    pub descending: bool,
}

/// Columns and order of one report.
#[derive(Clone, Default)]
pub struct Columns {
    /// Shown, in order.
    pub shown: Vec<&'static Field>,
    /// Most important first.
    pub sort: Vec<SortKey>,
    /// Fields whose columns are left out when all rows are blank.
    pub compact: Vec<&'static Field>,
    /// Things to say that do not stop the report.
    pub complaints: Lines,
    /// `help` or `?` was among the fields.
    pub help: bool,
}

/// Names of a comma-separated list.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ', '\t']).filter(|n| !n.is_empty())
}

fn resolve(name: &str, own: Group) -> Option<Vec<&'static Field>> {
    match fields::find(name, own) {
        Some(field) => Some(vec![field]),
        None => fields::group_of(name, own),
    }
}

impl Columns {
    /// From the default lists.
    pub fn new(shown: &str, sort: &str, own: Group) -> Result<Self, Lines> {
        let mut out = Self::default();
        out.options(shown, own)?;
        out.sort_by(sort, own)?;
        Ok(out)
    }

    /// One `-o`.
    pub fn options(&mut self, list: &str, own: Group) -> Result<(), Lines> {
        if list.is_empty() {
            return Err(vec![format!("Invalid options string: {list}")]);
        }
        match list.split_at_checked(1) {
            Some(("+", rest)) => self.add(rest, own),
            Some(("-", rest)) => {
                // Each name takes one column away, the last of that name.
                for field in names(rest).filter_map(|n| resolve(n, own)).flatten() {
                    if let Some(at) = self.shown.iter().rposition(|f| f.id == field.id) {
                        self.shown.remove(at);
                    }
                }
                Ok(())
            }
            Some(("#", rest)) => {
                self.compact(rest, own);
                Ok(())
            }
            _ => {
                self.shown.clear();
                self.add(list, own)
            }
        }
    }

    fn add(&mut self, list: &str, own: Group) -> Result<(), Lines> {
        for name in names(list) {
            let found =
                resolve(name, own).ok_or_else(|| vec![format!("Unrecognised field: {name}")])?;
            self.help |= found.iter().any(|f| matches!(f.id, "help" | "?"));
            self.shown.extend(found);
        }
        Ok(())
    }

    /// Columns to leave out when blank.
    pub fn compact(&mut self, list: &str, own: Group) {
        for name in names(list) {
            match resolve(name, own) {
                Some(found) => self.compact.extend(found),
                None => self.complaints.extend([
                    format!("dm_report: Unrecognized field: {name}"),
                    "Failed to compact given columns in report output.".to_owned(),
                ]),
            }
        }
    }

    /// One `-O`; an empty one leaves rows as they come.
    pub fn sort_by(&mut self, list: &str, own: Group) -> Result<(), Lines> {
        self.sort.clear();
        for word in names(list) {
            let (name, descending) = match word.strip_prefix('-') {
                Some(rest) => (rest, true),
                None => (word.strip_prefix('+').unwrap_or(word), false),
            };
            let found = resolve(name, own)
                .ok_or_else(|| vec![format!("dm_report: Unrecognised field: {name}")])?;
            self.sort
                .extend(found.into_iter().map(|field| SortKey { field, descending }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &[&str]) -> Vec<&'static str> {
        let mut columns = Columns::new("lv_name,lv_size", "lv_name", Group::Lv).unwrap();
        for one in list {
            columns.options(one, Group::Lv).unwrap();
        }
        columns.shown.iter().map(|f| f.id).collect()
    }

    #[test]
    fn lists_add_remove_and_replace_in_order() {
        assert_eq!(shown(&["+vg_name"]), ["lv_name", "lv_size", "vg_name"]);
        assert_eq!(shown(&["-size"]), ["lv_name"]);
        assert_eq!(shown(&["-size,nonsense"]), ["lv_name"]);
        assert_eq!(
            shown(&["tags", "+name,name", "-tags"]),
            ["lv_name", "lv_name"]
        );
        assert_eq!(
            shown(&["+size,tags", "-size"]),
            ["lv_name", "lv_size", "lv_tags"]
        );
        assert_eq!(shown(&["size,,name"]), ["lv_size", "lv_name"]);
        assert_eq!(shown(&["#lv_size"]), ["lv_name", "lv_size"]);
    }

    #[test]
    fn unknown_names_are_named() {
        let mut columns = Columns::new("lv_name", "", Group::Lv).unwrap();
        assert_eq!(
            columns.options("foo", Group::Lv).unwrap_err(),
            ["Unrecognised field: foo"]
        );
        assert_eq!(
            columns.options("", Group::Lv).unwrap_err(),
            ["Invalid options string: "]
        );
        assert_eq!(
            columns.sort_by("-foo", Group::Lv).unwrap_err(),
            ["dm_report: Unrecognised field: foo"]
        );
        columns.options("#+x", Group::Lv).unwrap();
        assert_eq!(columns.complaints.len(), 2);
    }
}
