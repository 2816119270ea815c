//! In columns.

use std::ops::Range;

use super::{Layout, Table};
use crate::report::value::Style;

/// Writes one table; one without rows is not written at all.
pub fn write(table: &Table<'_>, layout: &Layout, style: &Style, put: &mut dyn FnMut(&str)) {
    if table.rows.is_empty() || table.columns.is_empty() {
        return;
    }
    let cells = Cells::of(table, style);
    if layout.rows_as_columns {
        transposed(table, &cells, layout, put);
    } else {
        plain(table, &cells, layout, put);
    }
}

/// All values as text, in one string, since there may be millions of them: widths are known only
/// when all have been seen.
struct Cells {
    text: String,
    /// Where each ends, row by row.
    ends: Vec<usize>,
    columns: usize,
}

impl Cells {
    fn of(table: &Table<'_>, style: &Style) -> Self {
        let columns = table.columns.len();
        let mut cells = Self {
            text: String::new(),
            ends: Vec::with_capacity(table.rows.len() * columns),
            columns,
        };
        for row in 0..table.rows.len() {
            for column in 0..columns {
                table.value(row, column).push(style, &mut cells.text);
                cells.ends.push(cells.text.len());
            }
        }
        cells
    }

    fn rows(&self) -> usize {
        self.ends.len() / self.columns
    }

    fn get(&self, row: usize, column: usize) -> &str {
        let n = row * self.columns + column;
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.text[start..self.ends[n]]
    }

    fn column(&self, column: usize, rows: Range<usize>) -> impl Iterator<Item = &str> {
        rows.map(move |row| self.get(row, column))
    }
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

fn plain(table: &Table<'_>, cells: &Cells, layout: &Layout, put: &mut dyn FnMut(&str)) {
    // Rows that are written as they are found know nothing of those behind them.
    let run = match layout.unbuffered {
        true => 1,
        false => cells.rows(),
    };
    let widths_of = |rows: Range<usize>| -> Vec<usize> {
        let columns = table.columns.iter().enumerate();
        let widths = columns.map(|(c, field)| {
            let longest = cells.column(c, rows.clone()).map(width).max().unwrap_or(0);
            longest.max(field.width).max(field.heading.len())
        });
        widths.collect()
    };
    let mut widths = widths_of(0..run);
    let padded = |line: &mut String, text: &str, widest: usize, right: bool| {
        let room = match layout.aligned {
            true => widest.saturating_sub(width(text)),
            false => 0,
        };
        if right {
            push_blanks(line, room);
            line.push_str(text);
        } else {
            line.push_str(text);
            push_blanks(line, room);
        }
    };
    let mut line = String::with_capacity(256);
    if layout.headings {
        line.push_str("  ");
        for (c, field) in table.columns.iter().enumerate() {
            padded(&mut line, field.heading, widths[c], false);
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
    for row in 0..cells.rows() {
        if layout.unbuffered {
            widths = widths_of(row..row + 1);
        }
        line.clear();
        line.push_str("  ");
        for (c, field) in table.columns.iter().enumerate() {
            if c > 0 {
                line.push_str(&layout.separator);
            }
            line.push_str(&frames[c].0);
            padded(&mut line, cells.get(row, c), widths[c], field.kind.right());
            line.push_str(frames[c].1);
        }
        line.push('\n');
        put(&line);
    }
}

fn transposed(table: &Table<'_>, cells: &Cells, layout: &Layout, put: &mut dyn FnMut(&str)) {
    for (c, field) in table.columns.iter().enumerate() {
        let (before, behind) = frame(table, c, layout);
        let heading = layout.headings.then(|| field.heading.to_owned());
        let values = cells
            .column(c, 0..cells.rows())
            .map(|text| format!("{before}{text}{behind}"));
        let texts: Vec<String> = heading.into_iter().chain(values).collect();
        put(&format!("  {}\n", texts.join(&layout.separator)));
    }
}

/// Bytes, as LVM2 counts.
fn width(text: &str) -> usize {
    text.len()
}

fn push_blanks(line: &mut String, mut count: usize) {
    const BLANKS: &str = "                                ";
    while count > BLANKS.len() {
        line.push_str(BLANKS);
        count -= BLANKS.len();
    }
    line.push_str(&BLANKS[..count]);
}
