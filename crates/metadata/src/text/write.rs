//! Text out: lines with or without indentation and comments, and whole trees.

use crate::tree::{Item, Node, Section, Value};
use crate::units::{Bytes, Extents, Sectors};
use crate::uuid::LvmUuid;

/// A number that is written in decimal digits. A text of ten thousand LVs holds a hundred thousand
/// of them, so they do without the general formatter.
pub trait Number {
    /// Sign and magnitude.
    fn parts(self) -> (bool, u64);
}

macro_rules! number {
    ($($signed:ty),*; $($unsigned:ty),*; $($unit:ty),*) => {
        $(impl Number for $signed {
            fn parts(self) -> (bool, u64) {
                (self < 0, u64::from(self.unsigned_abs()))
            }
        })*
        $(impl Number for $unsigned {
            fn parts(self) -> (bool, u64) {
                (false, self as u64)
            }
        })*
        $(impl Number for $unit {
            fn parts(self) -> (bool, u64) {
                (false, self.get())
            }
        })*
    };
}

number!(i32, i64; u32, u64, usize; Bytes, Sectors, Extents);

fn push_number(out: &mut String, n: impl Number) {
    let (negative, mut rest) = n.parts();
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if negative {
        out.push('-');
    }
    out.extend(digits[at..].iter().map(|d| char::from(*d)));
}

/// Builds a text line by line.
#[derive(Debug)]
pub struct Writer {
    out: String,
    depth: usize,
    indent: bool,
    comments: bool,
}

impl Writer {
    /// Without indentation and comments, as in metadata areas.
    pub fn raw() -> Self {
        Self {
            out: String::new(),
            depth: 0,
            indent: false,
            comments: false,
        }
    }
    /// With a tab per level and comments, as in backup files.
    pub fn commented() -> Self {
        Self {
            out: String::new(),
            depth: 0,
            indent: true,
            comments: true,
        }
    }
    /// The same in the memory of a string whose content is no longer needed.
    pub fn reusing(self, mut room: String) -> Self {
        room.clear();
        Self { out: room, ..self }
    }
    /// What has been written.
    pub fn finish(self) -> String {
        self.out
    }
    /// Room for `bytes` more.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }
    /// Are lines indented?
    pub fn is_indented(&self) -> bool {
        self.indent
    }

    fn begin(&mut self) {
        if self.indent {
            for _ in 0..self.depth {
                self.out.push('\t');
            }
        }
    }
    fn key(&mut self, key: &str) {
        self.begin();
        self.out.push_str(key);
        self.out.push_str(" = ");
    }
    /// `key = "xxxxxx-xxxx-..."`
    pub fn id(&mut self, key: &str, id: &LvmUuid) {
        self.key(key);
        self.out.push('"');
        id.push_to(&mut self.out);
        self.out.push_str("\"\n");
    }
    /// An empty line.
    pub fn blank(&mut self) {
        self.out.push('\n');
    }
    /// A line as it is.
    pub fn line(&mut self, text: &str) {
        self.begin();
        self.out.push_str(text);
        self.out.push('\n');
    }
    /// `key {`, one level deeper from here on.
    pub fn open(&mut self, key: &str) {
        self.begin();
        push_key(&mut self.out, key);
        self.out.push_str(" {\n");
        self.depth += 1;
    }
    /// `}`
    pub fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.line("}");
    }
    /// `key = [`, elements follow as lines.
    pub fn open_array(&mut self, key: &str) {
        self.key(key);
        self.out.push_str("[\n");
        self.depth += 1;
    }
    /// `]`
    pub fn close_array(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.line("]");
    }
    /// `key = 5`
    pub fn int(&mut self, key: &str, n: impl Number) {
        self.key(key);
        push_number(&mut self.out, n);
        self.out.push('\n');
    }
    /// `key = 5`, with a comment behind a tab where comments are written.
    pub fn int_with(&mut self, key: &str, n: impl Number, comment: impl FnOnce() -> String) {
        self.int_tabbed(key, n, 1, comment);
    }
    /// [`Writer::int_with`] with several tabs.
    pub fn int_tabbed(
        &mut self,
        key: &str,
        n: impl Number,
        tabs: usize,
        comment: impl FnOnce() -> String,
    ) {
        self.key(key);
        push_number(&mut self.out, n);
        self.comment(tabs, comment);
    }
    /// `key = "text"`
    pub fn str(&mut self, key: &str, text: &str) {
        self.key(key);
        push_quoted(&mut self.out, text);
        self.out.push('\n');
    }
    /// `key = "text"`, with a comment behind tabs where comments are written.
    pub fn str_with(&mut self, key: &str, text: &str, tabs: usize, comment: &str) {
        self.key(key);
        push_quoted(&mut self.out, text);
        self.comment(tabs, || comment.to_owned());
    }
    /// `key = ["a", "b"]`
    pub fn strs<'s>(&mut self, key: &str, words: impl IntoIterator<Item = &'s str>) {
        self.key(key);
        self.out.push('[');
        for (i, word) in words.into_iter().enumerate() {
            if i > 0 {
                self.out.push_str(", ");
            }
            push_quoted(&mut self.out, word);
        }
        self.out.push_str("]\n");
    }
    /// `key = value` of any kind.
    pub fn value(&mut self, key: &str, value: &Value) {
        self.begin();
        push_key(&mut self.out, key);
        self.out.push_str(" = ");
        push_value(&mut self.out, value);
        self.out.push('\n');
    }
    /// `"name", 5` and a comma unless it is the last one.
    pub fn area(&mut self, name: &str, extent: u32, last: bool) {
        self.begin();
        push_quoted(&mut self.out, name);
        self.out.push_str(", ");
        push_number(&mut self.out, extent);
        self.out.push_str(if last { "\n" } else { ",\n" });
    }
    /// An item with all that is in it.
    pub fn item(&mut self, item: &Item) {
        match &item.node {
            Node::Value(v) => self.value(&item.key, v),
            Node::Section(s) => {
                self.open(&item.key);
                self.items(s);
                self.close();
            }
        }
    }
    /// All items of a section.
    pub fn items(&mut self, section: &Section) {
        for item in &section.items {
            self.item(item);
        }
    }
    fn comment(&mut self, tabs: usize, comment: impl FnOnce() -> String) {
        if self.comments {
            for _ in 0..tabs {
                self.out.push('\t');
            }
            self.out.push_str("# ");
            self.out.push_str(&comment());
        }
        self.out.push('\n');
    }
}

/// A tree as text without indentation. Parsing it gives the tree again.
pub fn plain(section: &Section) -> String {
    let mut w = Writer::raw();
    w.items(section);
    w.finish()
}

/// A key, quoted where a bare word would be read otherwise.
fn push_key(out: &mut String, key: &str) {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"+_.-/:@".contains(&c));
    if bare {
        out.push_str(key);
    } else {
        push_quoted(out, key);
    }
}

/// A string with its quotes; `"` and `\` are escaped.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    if text.contains(['"', '\\']) {
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
    } else {
        out.push_str(text);
    }
    out.push('"');
}

/// A value as it stands behind `=`.
pub fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Int(n) => {
            push_number(out, *n);
        }
        Value::Float(f) => out.push_str(f),
        Value::Str(s) => push_quoted(out, s),
        Value::Array(elements) => {
            out.push('[');
            for (i, e) in elements.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                push_value(out, e);
            }
            out.push(']');
        }
    }
}
