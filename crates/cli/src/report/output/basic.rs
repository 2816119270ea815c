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
                .map(|c| cell(table, r, c, layout, style))
                .collect()
        })
        .collect();
    if layout.rows_as_columns {
        transposed(table, &cells, layout, put);
    } else {
        plain(table, &cells, layout, put);
    }
}

fn cell(table: &Table<'_>, row: usize, column: usize, layout: &Layout, style: &Style) -> String {
    let value = table.value(row, column);
    let text = shown(&value, style);
    if !layout.prefixes {
        return text.into_owned();
    }
    let quote = if layout.quoted { "'" } else { "" };
    format!(
        "LVM2_{}={quote}{text}{quote}",
        table.columns[column].id.to_ascii_uppercase()
    )
}

fn plain(table: &Table<'_>, cells: &[Vec<String>], layout: &Layout, put: &mut dyn FnMut(&str)) {
    let aligned = layout.aligned && !layout.prefixes;
    let widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(c, field)| {
            let longest = cells.iter().map(|r| width(&r[c])).max().unwrap_or(0);
            longest.max(field.width).max(field.heading.len())
        })
        .collect();
    let mut line = String::with_capacity(256);
    let mut emit = |texts: &mut dyn Iterator<Item = (&str, bool)>| {
        line.clear();
        line.push_str("  ");
        for (c, (text, right)) in texts.enumerate() {
            if c > 0 {
                line.push_str(&layout.separator);
            }
            let room = if aligned {
                widths[c].saturating_sub(width(text))
            } else {
                0
            };
            if right {
                line.extend(std::iter::repeat_n(' ', room));
            }
            line.push_str(text);
            if !right {
                line.extend(std::iter::repeat_n(' ', room));
            }
        }
        line.push('\n');
        put(&line);
    };
    if layout.headings {
        emit(&mut table.columns.iter().map(|f| (f.heading, false)));
    }
    for row in cells {
        emit(
            &mut row
                .iter()
                .zip(&table.columns)
                .map(|(text, f)| (text.as_str(), f.kind.right())),
        );
    }
}

fn transposed(
    table: &Table<'_>,
    cells: &[Vec<String>],
    layout: &Layout,
    put: &mut dyn FnMut(&str),
) {
    for (c, field) in table.columns.iter().enumerate() {
        let heading = layout.headings.then_some(field.heading);
        let texts: Vec<&str> = heading
            .into_iter()
            .chain(cells.iter().map(|r| r[c].as_str()))
            .collect();
        put(&format!("  {}\n", texts.join(&layout.separator)));
    }
}

/// Bytes, as LVM2 counts.
fn width(text: &str) -> usize {
    text.len()
}
