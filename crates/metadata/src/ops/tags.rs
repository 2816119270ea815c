//! Adding and removing tags, alike for VGs, PVs and LVs.

use super::OpError;
use crate::name::check_tag;

/// Tags to remove and to add; removed first, as LVM2 does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TagEdit {
    /// `--addtag`, a leading `@` dropped.
    pub add: Vec<String>,
    /// `--deltag`, a leading `@` dropped. A tag that is not there is no error.
    pub del: Vec<String>,
}

impl TagEdit {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.del.is_empty()
    }
    /// Changes a list of tags; a tag is never listed twice.
    pub fn apply(&self, tags: &mut Vec<String>) -> Result<(), OpError> {
        for tag in &self.add {
            check_tag(tag).map_err(|e| OpError::usage(format!("Tag {tag}: {e}")))?;
        }
        tags.retain(|t| !self.del.contains(t));
        for tag in &self.add {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_comes_first_and_nothing_is_twice() {
        let mut tags = vec!["a".to_owned(), "b".to_owned()];
        let edit = TagEdit {
            add: vec!["c".into(), "b".into(), "a".into()],
            del: vec!["a".into(), "nosuch".into()],
        };
        edit.apply(&mut tags).unwrap();
        assert_eq!(tags, ["b", "c", "a"]);
        let bad = TagEdit {
            add: vec!["x y".into()],
            del: vec![],
        };
        assert!(bad.apply(&mut tags).is_err());
    }
}
