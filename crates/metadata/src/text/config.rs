//! Configuration files: the same grammar, and keys that are paths.

use std::collections::HashMap;

use super::{MAX_DEPTH, TextError, parse_str};
use crate::tree::{Item, Node, Section};

/// Parses lvm.conf, a profile or the argument of `--config`: a key `a/b` stands for key `b` in
/// section `a`, sections that occur twice are merged, of keys that occur twice the last rules.
pub fn parse_config(text: &str) -> Result<Section, TextError> {
    let doc = parse_str(text)?;
    let mut out = Merged::default();
    out.add(doc.root().to_tree());
    let out = out.into_section();
    if depth(&out) > MAX_DEPTH {
        return Err(TextError {
            line: 1,
            col: 1,
            what: "sections and paths are nested too deep",
        });
    }
    Ok(out)
}

/// How deep sections nest. (Paths in sections in paths: at most the square of [`MAX_DEPTH`].)
fn depth(section: &Section) -> usize {
    let inner = section.items.iter().filter_map(|i| match &i.node {
        Node::Section(s) => Some(1 + depth(s)),
        Node::Value(_) => None,
    });
    inner.max().unwrap_or(0)
}

/// Merges sections that occur twice and drops all but the last of values that occur twice, at all
/// depths; what remains stands where its first occurrence stood.
pub fn merge_duplicates(section: Section) -> Section {
    let mut out = Merged {
        split_paths: false,
        ..Merged::default()
    };
    out.add(section);
    out.into_section()
}

/// A section in the making.
struct Merged {
    split_paths: bool,
    order: Vec<(String, Slot)>,
    index: HashMap<String, usize>,
}

enum Slot {
    Value(crate::tree::Value),
    Section(Merged),
}

impl Default for Merged {
    fn default() -> Self {
        Self {
            split_paths: true,
            order: Vec::new(),
            index: HashMap::new(),
        }
    }
}

impl Merged {
    fn add(&mut self, section: Section) {
        for item in section.items {
            let (target, key) = self.descend(&item.key);
            match item.node {
                Node::Value(v) => target.put_value(key, v),
                Node::Section(s) => target.section(&key).add(s),
            }
        }
    }

    /// The section a key belongs to, and the last part of the key. A path is at most as deep as
    /// the parser nests; further slashes stay in the key.
    fn descend(&mut self, key: &str) -> (&mut Self, String) {
        if !self.split_paths || key.matches('/').count() >= MAX_DEPTH {
            return (self, key.to_owned());
        }
        let mut parts = key.split('/').filter(|p| !p.is_empty()).peekable();
        let mut target = self;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return (target, part.to_owned());
            }
            target = target.section(part);
        }
        (target, key.to_owned())
    }

    fn put_value(&mut self, key: String, value: crate::tree::Value) {
        match self.index.get(&key) {
            Some(i) => self.order[*i].1 = Slot::Value(value),
            None => {
                self.index.insert(key.clone(), self.order.len());
                self.order.push((key, Slot::Value(value)));
            }
        }
    }

    fn section(&mut self, key: &str) -> &mut Self {
        let i = match self.index.get(key) {
            Some(i) => *i,
            None => {
                self.index.insert(key.to_owned(), self.order.len());
                self.order.push((key.to_owned(), self.empty()));
                self.order.len() - 1
            }
        };
        if matches!(self.order[i].1, Slot::Value(_)) {
            self.order[i].1 = self.empty();
        }
        match &mut self.order[i].1 {
            Slot::Section(s) => s,
            Slot::Value(_) => unreachable!("made a section above"),
        }
    }

    fn empty(&self) -> Slot {
        Slot::Section(Self {
            split_paths: self.split_paths,
            ..Self::default()
        })
    }

    fn into_section(self) -> Section {
        Section {
            items: self
                .order
                .into_iter()
                .map(|(key, slot)| Item {
                    key,
                    node: match slot {
                        Slot::Value(v) => Node::Value(v),
                        Slot::Section(s) => Node::Section(s.into_section()),
                    },
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_sections_are_one() {
        let c = parse_config(
            "devices { dir = \"/dev\" scan_lvs = 0 }\ndevices/scan_lvs = 1 global/units=\"h\"\n\
             devices { x = [ ] }",
        )
        .unwrap();
        let devices = c.section("devices").unwrap();
        assert_eq!(devices.str("dir"), Some("/dev"));
        assert_eq!(devices.int("scan_lvs"), Some(1));
        assert!(devices.value("x").is_some());
        assert_eq!(c.section("global").unwrap().str("units"), Some("h"));
        assert_eq!(c.items.len(), 2);
    }

    #[test]
    fn paths_nest_no_deeper_than_sections() {
        let path = "a/".repeat(MAX_DEPTH - 1) + "b=1";
        assert!(parse_config(&path).is_ok());
        assert!(parse_config(&format!("x {{ y {{ {path} }} }}")).is_err());
    }

    #[test]
    fn merging_without_paths_keeps_slashes() {
        let tree = parse_str("a/b = 1 a/b = 2 s { x = 1 } s { y = 2 x = 3 }").unwrap();
        let m = merge_duplicates(tree.root().to_tree());
        assert_eq!(m.int("a/b"), Some(2));
        assert_eq!(m.section("s").unwrap().int("x"), Some(3));
        assert_eq!(m.section("s").unwrap().items.len(), 2);
    }
}
