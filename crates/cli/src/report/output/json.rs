//! JSON: LVM2's own shape (every value a string, one row a line), and the one with types.

use super::{Object, Table, shown};
use crate::report::fields::Kind;
use crate::report::value::{Style, Value};

/// A JSON string with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes the whole document.
pub fn write(objects: &[Object<'_>], style: &Style, typed: bool, put: &mut dyn FnMut(&str)) {
    let mut line = |depth: usize, text: &str| put(&format!("  {}{text}\n", " ".repeat(4 * depth)));
    line(0, "{");
    line(1, "\"report\": [");
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            line(2, ",");
        }
        line(2, "{");
        for (j, table) in object.iter().enumerate() {
            if j > 0 {
                line(3, ",");
            }
            line(3, &format!("\"{}\": [", table.name));
            for r in 0..table.rows.len() {
                let comma = if r + 1 < table.rows.len() { "," } else { "" };
                line(4, &format!("{}{comma}", row(table, r, style, typed)));
            }
            line(3, "]");
        }
        line(2, "}");
    }
    line(1, "]");
    line(0, "}");
}

fn row(table: &Table<'_>, r: usize, style: &Style, typed: bool) -> String {
    let mut out = String::with_capacity(64 * table.columns.len());
    out.push('{');
    for (c, field) in table.columns.iter().enumerate() {
        if c > 0 {
            out.push_str(", ");
        }
        out.push('"');
        out.push_str(field.id);
        out.push_str("\":");
        let value = table.value(r, c);
        if typed {
            push_typed(&mut out, &value, field.kind, style);
        } else {
            push_quoted(&mut out, &shown(&value, style));
        }
    }
    out.push('}');
    out
}

/// Numbers bare, lists as arrays, what is undefined as null. Sizes are numbers only if their unit
/// leaves no letter behind them.
fn push_typed(out: &mut String, value: &Value<'_>, kind: Kind, style: &Style) {
    match value {
        Value::Blank => out.push_str("null"),
        Value::Number(-1) => out.push_str("null"),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::List(list) => {
            let items: Vec<String> = list.items.iter().map(|i| quote(i)).collect();
            out.push('[');
            out.push_str(&items.join(","));
            out.push(']');
        }
        Value::Flag(None, _) if kind == Kind::Number => out.push_str("null"),
        Value::Size(_) | Value::Flag(..) => {
            let text = shown(value, style);
            if text.parse::<f64>().is_ok_and(f64::is_finite) {
                out.push_str(&text);
            } else {
                push_quoted(out, &text);
            }
        }
        Value::Text(_) | Value::Named(..) | Value::NamedSize(..) | Value::Time(_) => {
            push_quoted(out, &shown(value, style));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quote("a\"b\\c\nd\u{1}"), "\"a\\\"b\\\\c\\nd\\u0001\"");
    }
}
