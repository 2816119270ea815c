//! A neutral tree of keys and values: what ulvm does not understand is kept in it, word for word,
//! and written back. Also the shape of configuration files.

/// One `key = value` or `key { ... }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// The key, unquoted.
    pub key: String,
    /// What stands behind it.
    pub node: Node,
}

/// Right-hand side of an [`Item`].
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// `key = value`
    Value(Value),
    /// `key { ... }`
    Section(Section),
}

/// The items between a pair of braces (or of a whole file), in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Section {
    /// In the order they were read.
    pub items: Vec<Item>,
}

/// A value. Numbers that are not integers keep their spelling.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Integer.
    Int(i64),
    /// A number with a decimal point, spelled as it was read.
    Float(String),
    /// String, without quotes and escapes.
    Str(String),
    /// `[ ... ]`, scalars only.
    Array(Vec<Value>),
}

impl Section {
    /// The last item with that key (a later duplicate overrides).
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.items
            .iter()
            .rev()
            .find(|i| i.key == key)
            .map(|i| &i.node)
    }
    /// The value of a key, if it is a value.
    pub fn value(&self, key: &str) -> Option<&Value> {
        match self.get(key)? {
            Node::Value(v) => Some(v),
            Node::Section(_) => None,
        }
    }
    /// A string value.
    pub fn str(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }
    /// An integer value.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }
    /// A subsection.
    pub fn section(&self, key: &str) -> Option<&Section> {
        match self.get(key)? {
            Node::Section(s) => Some(s),
            Node::Value(_) => None,
        }
    }
}
