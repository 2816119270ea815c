//! A parsed text that borrows its strings: one flat vector, in which a section or array is
//! followed by what it holds.

use std::borrow::Cow;

use crate::tree::{Item, Node, Section, Value};

/// A parsed text.
#[derive(Debug)]
pub struct Doc<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) comments: Vec<Comment<'a>>,
}

/// A comment outside of all sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Comment<'a> {
    /// Key of the top-level item that ends before it, empty if there is none.
    pub after: Option<usize>,
    /// What stands behind the `#`, without the blanks around it.
    pub text: &'a str,
}

#[derive(Debug)]
pub(super) struct Entry<'a> {
    /// Empty for an element of an array.
    pub key: Cow<'a, str>,
    pub raw: Raw<'a>,
}

#[derive(Debug)]
pub(super) enum Raw<'a> {
    Int(i64),
    Float(&'a str),
    Str(Cow<'a, str>),
    /// Number of entries that follow and belong to it.
    Array(u32),
    /// Number of entries that follow and belong to it.
    Section(u32),
}

/// A section of a [`Doc`].
#[derive(Clone, Copy, Debug)]
pub struct SectionRef<'d, 'a> {
    entries: &'d [Entry<'a>],
}

/// One item of a section.
#[derive(Clone, Copy, Debug)]
pub struct ItemRef<'d, 'a> {
    /// Its key.
    pub key: &'d str,
    /// What stands behind it.
    pub node: NodeRef<'d, 'a>,
}

/// Right-hand side of an item, or an element of an array.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'d, 'a> {
    /// Integer.
    Int(i64),
    /// A number with a decimal point, as spelled.
    Float(&'d str),
    /// String without quotes and escapes.
    Str(&'d str),
    /// `[ ... ]`
    Array(Elements<'d, 'a>),
    /// `{ ... }`
    Section(SectionRef<'d, 'a>),
}

/// Elements of an array: an iterator over scalars.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'d, 'a> {
    entries: &'d [Entry<'a>],
}

/// Items of a section.
#[derive(Clone, Debug)]
pub struct Items<'d, 'a> {
    entries: &'d [Entry<'a>],
}

impl<'a> Doc<'a> {
    /// The items outside of all sections.
    pub fn root(&self) -> SectionRef<'_, 'a> {
        SectionRef {
            entries: &self.entries,
        }
    }
    /// Comments outside of all sections, in order.
    pub fn comments(&self) -> &[Comment<'a>] {
        &self.comments
    }
    /// Key of the top-level item directly before a comment.
    pub fn key_before(&self, comment: &Comment<'a>) -> Option<&str> {
        let entry = self.entries.get(comment.after?)?;
        Some(&entry.key)
    }
}

impl<'d, 'a> SectionRef<'d, 'a> {
    /// Items in order.
    pub fn items(self) -> Items<'d, 'a> {
        Items {
            entries: self.entries,
        }
    }
    /// The last item of that key.
    pub fn get(self, key: &str) -> Option<NodeRef<'d, 'a>> {
        self.items().filter(|i| i.key == key).last().map(|i| i.node)
    }
    /// Number of entries of all depths in it: an upper bound for the number of items.
    pub fn weight(self) -> usize {
        self.entries.len()
    }
    /// An owned copy.
    pub fn to_tree(self) -> Section {
        Section {
            items: self.items().map(ItemRef::to_tree).collect(),
        }
    }
}

impl<'d, 'a> ItemRef<'d, 'a> {
    /// An owned copy.
    pub fn to_tree(self) -> Item {
        Item {
            key: self.key.to_owned(),
            node: match self.node {
                NodeRef::Section(s) => Node::Section(s.to_tree()),
                value => Node::Value(value.to_value()),
            },
        }
    }
}

impl<'d, 'a> NodeRef<'d, 'a> {
    /// The string, if it is one.
    pub fn str(self) -> Option<&'d str> {
        match self {
            NodeRef::Str(s) => Some(s),
            _ => None,
        }
    }
    /// The integer, if it is one.
    pub fn int(self) -> Option<i64> {
        match self {
            NodeRef::Int(n) => Some(n),
            _ => None,
        }
    }
    /// The section, if it is one.
    pub fn section(self) -> Option<SectionRef<'d, 'a>> {
        match self {
            NodeRef::Section(s) => Some(s),
            _ => None,
        }
    }
    /// The elements of an array; a scalar is an array of one.
    fn to_value(self) -> Value {
        match self {
            NodeRef::Int(n) => Value::Int(n),
            NodeRef::Float(f) => Value::Float(f.to_owned()),
            NodeRef::Str(s) => Value::Str(s.to_owned()),
            NodeRef::Array(e) => Value::Array(e.map(NodeRef::to_value).collect()),
            // No array holds a section; the parser sees to it.
            NodeRef::Section(_) => Value::Array(Vec::new()),
        }
    }
}

/// Takes one node and what belongs to it off the front.
fn split<'d, 'a>(entries: &mut &'d [Entry<'a>]) -> Option<(&'d str, NodeRef<'d, 'a>)> {
    let (first, rest) = entries.split_first()?;
    let mut inner = |n: u32| {
        let (inner, rest) = rest.split_at(rest.len().min(n as usize));
        *entries = rest;
        inner
    };
    let node = match &first.raw {
        Raw::Array(n) => NodeRef::Array(Elements { entries: inner(*n) }),
        Raw::Section(n) => NodeRef::Section(SectionRef { entries: inner(*n) }),
        scalar => {
            *entries = rest;
            match scalar {
                Raw::Int(n) => NodeRef::Int(*n),
                Raw::Float(f) => NodeRef::Float(f),
                Raw::Str(s) => NodeRef::Str(s),
                Raw::Array(_) | Raw::Section(_) => return None,
            }
        }
    };
    Some((&first.key, node))
}

impl<'d, 'a> Iterator for Items<'d, 'a> {
    type Item = ItemRef<'d, 'a>;
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (key, node) = split(&mut self.entries)?;
        Some(ItemRef { key, node })
    }
}

impl<'d, 'a> Iterator for Elements<'d, 'a> {
    type Item = NodeRef<'d, 'a>;
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some(split(&mut self.entries)?.1)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.entries.len(), Some(self.entries.len()))
    }
}

impl ExactSizeIterator for Elements<'_, '_> {}
