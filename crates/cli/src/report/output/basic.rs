//! In columns.

use super::{Layout, Table, shown};
use crate::report::value::Style;

/// Writes one table; one without rows is not written at all.
pub fn write(table: &Table<'_>, layout: &Layout, style: &Style, put: &mut dyn FnMut(&str)) {
    if table.rows.is_empty() || table.columns.is_empty() {
        return;
    }
    let cells: Vec<Vec<String>> = (0..table.rows.len())
        .map(|r| {
            (0..table.columns.len())
                .map(|c| cell(table, r, c, style))
                .collect()
        })
        .collect();
    if layout.rows_as_columns {
        transposed(table, &cells, layout, put);
    } else {
        plain(table, &cells, layout, put);
    }
}

fn cell(table: &Table<'_>, row: usize, column: usize, style: &Style) -> String {
    let value = table.value(row, column);
    shown(&value, style).into_owned()
}

/// What stands before and behind a value.
fn frame(table: &Table<'_>, column: usize, layout: &Layout) -> (String, &'static str) {
    if !layout.prefixes {
        return (String::new(), "");
    }
    let quote = if layout.quoted { "'" } else { "" };
    let name = table.columns[column].id.to_ascii_uppercase();
    (format!("LVM2_{name}={quote}"), quote)
}

fn plain(table: &Table<'_>, cells: &[Vec<String>], layout: &Layout, put: &mut dyn FnMut(&str)) {
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(c, field)| {
            let longest = cells.iter().map(|r| width(&r[c])).max().unwrap_or(0);
            longest.max(field.width).max(field.heading.len())
        })
        .collect();
    let padded = |line: &mut String, text: &str, column: usize, right: bool| {
        let room = match layout.aligned {
            true => widths[column].saturating_sub(width(text)),
            false => 0,
        };
        let blanks = std::iter::repeat_n(' ', room);
        if right {
            line.extend(blanks);
            line.push_str(text);
        } else {
            line.push_str(text);
            line.extend(blanks);
        }
    };
    let mut line = String::with_capacity(256);
    if layout.headings {
        line.push_str("  ");
        for (c, field) in table.columns.iter().enumerate() {
            padded(&mut line, field.heading, c, false);
            if c + 1 < table.columns.len() || table.cut {
                line.push_str(&layout.separator);
            }
        }
        line.push('\n');
        put(&line);
    }
    let frames: Vec<(String, &str)> = (0..table.columns.len())
        .map(|c| frame(table, c, layout))
        .collect();
    for row in cells {
        line.clear();
        line.push_str("  ");
        for (c, text) in row.iter().enumerate() {
            if c > 0 {
                line.push_str(&layout.separator);
            }
            line.push_str(&frames[c].0);
            padded(&mut line, text, c, table.columns[c].kind.right());
            line.push_str(frames[c].1);
        }
        line.push('\n');
        put(&line);
    }
}

fn transposed(
    table: &Table<'_>,
    cells: &[Vec<String>],
    layout: &Layout,
    put: &mut dyn FnMut(&str),
) {
    for (c, field) in table.columns.iter().enumerate() {
        let (before, behind) = frame(table, c, layout);
        let heading = layout.headings.then(|| field.heading.to_owned());
        let values = cells.iter().map(|r| format!("{before}{}{behind}", r[c]));
        let texts: Vec<String> = heading.into_iter().chain(values).collect();
        put(&format!("  {}\n", texts.join(&layout.separator)));
    }
}

/// Bytes, as LVM2 counts.
fn width(text: &str) -> usize {
    text.len()
}
