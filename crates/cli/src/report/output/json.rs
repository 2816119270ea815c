//! JSON: LVM2's own shape (every value a string, one row a line), and the one with types.

use super::{Object, Table};
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
    let plain = |c: u8| matches!(c, b' '..=b'~') && c != b'"' && c != b'\\';
    if text.bytes().all(plain) {
        out.push_str(text);
    } else {
        push_escaped(out, text);
    }
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
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
}

/// Writes the whole document.
pub fn write(objects: &[Object<'_>], style: &Style, typed: bool, put: &mut dyn FnMut(&str)) {
    let line = |put: &mut dyn FnMut(&str), depth: usize, text: &str| {
        put(&format!("  {}{text}\n", " ".repeat(4 * depth)));
    };
    line(put, 0, "{");
    line(put, 1, "\"report\": [");
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            line(put, 2, ",");
        }
        line(put, 2, "{");
        for (j, table) in object.iter().enumerate() {
            if j > 0 {
                line(put, 3, ",");
            }
            line(put, 3, &format!("\"{}\": [", table.name));
            put_rows(table, style, typed, put);
            line(put, 3, "]");
        }
        line(put, 2, "}");
    }
    line(put, 1, "]");
    line(put, 0, "}");
}

fn put_rows(table: &Table<'_>, style: &Style, typed: bool, put: &mut dyn FnMut(&str)) {
    let keys: Vec<String> = (table.columns.iter().enumerate())
        .map(|(c, field)| format!("{}\"{}\":", if c > 0 { ", " } else { "" }, field.id))
        .collect();
    let mut line = String::new();
    for r in 0..table.rows.len() {
        line.clear();
        line.push_str("                  {");
        for (c, field) in table.columns.iter().enumerate() {
            line.push_str(&keys[c]);
            let value = table.value(r, c);
            if typed {
                push_typed(&mut line, &value, field.kind, style);
            } else {
                push_string(&mut line, &value, style);
            }
        }
        line.push_str(if r + 1 < table.rows.len() {
            "},\n"
        } else {
            "}\n"
        });
        put(&line);
    }
}

/// Any value as a string.
fn push_string(out: &mut String, value: &Value<'_>, style: &Style) {
    match value {
        // Nothing to escape in digits and letters.
        Value::Blank | Value::Number(_) | Value::Size(_) => {
            out.push('"');
            value.push(style, out);
            out.push('"');
        }
        _ => push_quoted(out, &value.show(style)),
    }
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
        Value::Size(_) | Value::Flag(..) | Value::Percent(_) => {
            let text = value.show(style);
            if text.parse::<f64>().is_ok_and(f64::is_finite) {
                out.push_str(&text);
            } else {
                push_quoted(out, &text);
            }
        }
        Value::Text(_) | Value::Named(..) | Value::NamedSize(..) | Value::Time(_) => {
            push_quoted(out, &value.show(style));
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
