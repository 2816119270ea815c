//! A parsed text that borrows its strings: one flat vector of 16 bytes an entry, in which a
//! section or array is followed by what it holds.

use crate::tree::{Item, Node, Section, Value};

/// A parsed text.
#[derive(Debug)]
pub struct Doc<'a> {
    pub(super) text: &'a str,
    pub(super) entries: Vec<Entry>,
    /// Strings that are not spelled in the text as they are meant.
    pub(super) unescaped: Vec<String>,
    pub(super) comments: Vec<Comment<'a>>,
}

/// A comment outside of all sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Comment<'a> {
    /// Index of the top-level entry that ends before it.
    pub(super) after: Option<usize>,
    /// What stands behind the `#`, without the blanks around it.
    pub text: &'a str,
}

/// A string: place in the text, or number of an unescaped string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub at: u32,
    pub len: u32,
}

impl Span {
    /// Length of a span whose `at` is an index into `unescaped`.
    pub const UNESCAPED: u32 = (1 << 28) - 1;
    /// No string; the key of an element of an array.
    pub const EMPTY: Self = Self { at: 0, len: 0 };
}

/// Key and value of an item, or an element of an array. What the fields hold is packed; see
/// [`Entry::new`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    key_at: u32,
    /// Length of the key, and the kind of the value in the low bits.
    key_len_kind: u32,
    value: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Raw {
    Int(i64),
    Float(Span),
    Str(Span),
    /// Number of entries that follow and belong to it.
    Array(u32),
    /// Number of entries that follow and belong to it.
    Section(u32),
}

impl Entry {
    const KIND_BITS: u32 = 3;

    /// Spans are shorter than 2^28 bytes, since texts are.
    #[inline]
    pub fn new(key: Span, raw: Raw) -> Self {
        let span = |s: Span| u64::from(s.at) << 32 | u64::from(s.len);
        let (kind, value) = match raw {
            Raw::Int(n) => (0, n as u64),
            Raw::Float(s) => (1, span(s)),
            Raw::Str(s) => (2, span(s)),
            Raw::Array(n) => (3, u64::from(n)),
            Raw::Section(n) => (4, u64::from(n)),
        };
        Self {
            key_at: key.at,
            key_len_kind: key.len << Self::KIND_BITS | kind,
            value,
        }
    }

    #[inline]
    fn key(self) -> Span {
        Span {
            at: self.key_at,
            len: self.key_len_kind >> Self::KIND_BITS,
        }
    }

    /// The same key with another value.
    pub fn with(self, raw: Raw) -> Self {
        Self::new(self.key(), raw)
    }

    #[inline]
    fn raw(self) -> Raw {
        let span = Span {
            at: (self.value >> 32) as u32,
            len: self.value as u32,
        };
        match self.key_len_kind & ((1 << Self::KIND_BITS) - 1) {
            0 => Raw::Int(self.value as i64),
            1 => Raw::Float(span),
            2 => Raw::Str(span),
            3 => Raw::Array(self.value as u32),
            _ => Raw::Section(self.value as u32),
        }
    }
}

/// A section of a [`Doc`].
#[derive(Clone, Copy, Debug)]
pub struct SectionRef<'d, 'a> {
    entries: Entries<'d, 'a>,
}

/// A run of entries of a document.
#[derive(Clone, Copy, Debug)]
struct Entries<'d, 'a> {
    doc: &'d Doc<'a>,
    run: &'d [Entry],
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
    entries: Entries<'d, 'a>,
}

/// Items of a section.
#[derive(Clone, Debug)]
pub struct Items<'d, 'a> {
    entries: Entries<'d, 'a>,
}

impl<'a> Doc<'a> {
    /// The items outside of all sections.
    pub fn root(&self) -> SectionRef<'_, 'a> {
        SectionRef {
            entries: Entries {
                doc: self,
                run: &self.entries,
            },
        }
    }
    /// Comments outside of all sections, in order.
    pub fn comments(&self) -> &[Comment<'a>] {
        &self.comments
    }
    /// Key of the top-level item directly before a comment.
    pub fn key_before(&self, comment: &Comment<'a>) -> Option<&str> {
        let entry = self.entries.get(comment.after?)?;
        Some(self.string(entry.key()))
    }

    #[inline]
    fn string(&self, span: Span) -> &str {
        if span.len == Span::UNESCAPED {
            self.unescaped
                .get(span.at as usize)
                .map_or("", String::as_str)
        } else {
            let at = span.at as usize;
            self.text.get(at..at + span.len as usize).unwrap_or("")
        }
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
        self.entries.run.len()
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

impl<'d, 'a> Entries<'d, 'a> {
    /// Takes one node and what belongs to it off the front.
    #[inline]
    fn take(&mut self) -> Option<(&'d str, NodeRef<'d, 'a>)> {
        let doc = self.doc;
        let (first, rest) = self.run.split_first()?;
        let (node, rest) = match first.raw() {
            Raw::Int(n) => (NodeRef::Int(n), rest),
            Raw::Float(s) => (NodeRef::Float(doc.string(s)), rest),
            Raw::Str(s) => (NodeRef::Str(doc.string(s)), rest),
            Raw::Array(n) => {
                let (run, rest) = rest.split_at(rest.len().min(n as usize));
                let entries = Entries { doc, run };
                (NodeRef::Array(Elements { entries }), rest)
            }
            Raw::Section(n) => {
                let (run, rest) = rest.split_at(rest.len().min(n as usize));
                let entries = Entries { doc, run };
                (NodeRef::Section(SectionRef { entries }), rest)
            }
        };
        self.run = rest;
        Some((doc.string(first.key()), node))
    }
}

impl<'d, 'a> Iterator for Items<'d, 'a> {
    type Item = ItemRef<'d, 'a>;
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (key, node) = self.entries.take()?;
        Some(ItemRef { key, node })
    }
}

impl<'d, 'a> Iterator for Elements<'d, 'a> {
    type Item = NodeRef<'d, 'a>;
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.entries.take()?.1)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.entries.run.len(), Some(self.entries.run.len()))
    }
}

impl ExactSizeIterator for Elements<'_, '_> {}
