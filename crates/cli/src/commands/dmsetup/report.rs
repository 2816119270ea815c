//! `info -c` and `splitname`: fields in columns.

use std::cmp::Ordering;

use ulvm::daemon::dm::DmDevice;
use ulvm::error::{Error, Result};

use super::fields::{self, Cell, FIELDS, Field, Group, Row};
use super::select;
use super::session::Session;
use crate::args::Opt;

const INFO: &str = "name,major,minor,attr,open,segments,events,uuid";
const SPLIT: &str = "vg_name,lv_name,lv_layer";

/// `info -c`
pub fn info(session: &Session<'_>, devices: &[DmDevice], all: &[DmDevice]) -> Result<()> {
    let rows = devices.iter().map(|device| Row {
        device,
        all,
        name: session.shown(&device.name),
        subsystem: None,
    });
    report(session, rows.collect(), INFO)
}

/// `splitname`
pub fn splitname(session: &Session<'_>, name: &str, subsystem: &str) -> Result<()> {
    let device = DmDevice {
        name: name.to_owned(),
        uuid: String::new(),
        number: (0, 0),
        node: None,
        read_only: false,
        suspended: false,
        open: None,
        events: 0,
        live: None,
        loaded: None,
        status: String::new(),
        deferred: false,
    };
    let row = Row {
        device: &device,
        all: &[],
        name: name.to_owned(),
        subsystem: Some(subsystem.to_owned()),
    };
    report(session, vec![row], SPLIT)
}

/// All fields with what they are.
pub fn list() -> String {
    let mut out = String::new();
    for (group, all, heading) in Group::ALL {
        out.push_str(&format!("{heading}\n{}\n", "-".repeat(heading.len())));
        out.push_str(&format!("  {all:<16} - All of these.\n"));
        for field in FIELDS.iter().filter(|f| f.group == group) {
            out.push_str(&format!("  {:<16} - {}.\n", field.id, field.help));
        }
        out.push('\n');
    }
    out
}

/// The fields of a list; none asks for help.
fn chosen(list: &str, of: Option<Group>) -> Option<Vec<&'static Field>> {
    let mut out = Vec::new();
    for name in list.split(',').filter(|name| !name.is_empty()) {
        let group = Group::ALL.iter().find(|g| g.1 == name).map(|g| g.0);
        match (name, group, fields::find(name)) {
            ("all", ..) => out.extend(FIELDS.iter().filter(|f| of.is_none_or(|of| f.group == of))),
            (_, Some(group), _) => out.extend(FIELDS.iter().filter(|f| f.group == group)),
            (_, None, Some(field)) => out.push(field),
            (_, None, None) => return None,
        }
    }
    Some(out)
}

fn report(session: &Session<'_>, mut rows: Vec<Row<'_>>, default: &str) -> Result<()> {
    let of = (default == SPLIT).then_some(Group::Split);
    let mut shown = default.to_owned();
    for list in session.args.texts(Opt::Options) {
        match list.strip_prefix('+') {
            Some(more) => shown = format!("{shown},{more}"),
            None => list.clone_into(&mut shown),
        }
    }
    if matches!(shown.as_str(), "help" | "?") {
        session.ctx.terminal().error_line(&list());
        return Ok(());
    }
    let unknown = || Error::refused(list().trim_end());
    let columns = chosen(&shown, of).ok_or_else(unknown)?;
    if let Some(text) = session.args.texts(Opt::Select).last() {
        let filter = select::parse(text)?;
        rows.retain(|row| filter.matches(row));
    }
    if let Some(keys) = session.args.texts(Opt::Sort).last() {
        sort(&mut rows, keys).ok_or_else(unknown)?;
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|f| (f.get)(row).text()).collect())
        .collect();
    if !cells.is_empty() {
        session.put(&Layout::of(session).write(&columns, &cells));
    }
    Ok(())
}

/// Sorts by fields; `-` before one turns the order round. None if there is no such field.
fn sort(rows: &mut [Row<'_>], keys: &str) -> Option<()> {
    let mut by = Vec::new();
    for key in keys.split(',').filter(|key| !key.is_empty()) {
        let (name, down) = match key.strip_prefix('-') {
            Some(name) => (name, true),
            None => (key.strip_prefix('+').unwrap_or(key), false),
        };
        by.push((fields::find(name)?, down));
    }
    rows.sort_by(|a, b| {
        let orders = by.iter().map(|(field, down)| {
            let order = compare(&(field.get)(a), &(field.get)(b));
            if *down { order.reverse() } else { order }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    });
    Some(())
}

fn compare(a: &Cell, b: &Cell) -> Ordering {
    match (a, b) {
        (Cell::Number(a), Cell::Number(b)) => a.cmp(b),
        _ => a.text().cmp(&b.text()),
    }
}

/// How cells become lines.
struct Layout {
    headings: bool,
    separator: String,
    aligned: bool,
    prefixes: bool,
    quote: &'static str,
    rows_as_columns: bool,
}

impl Layout {
    fn of(session: &Session<'_>) -> Self {
        let headings = !session.has(Opt::NoHeadings);
        let given = session.args.text(Opt::Separator);
        let prefixes = session.has(Opt::NamePrefixes);
        let rows_as_columns = session.has(Opt::Rows);
        Self {
            headings,
            separator: given.unwrap_or(if headings { " " } else { ":" }).to_owned(),
            aligned: headings && given.is_none() && !prefixes && !rows_as_columns,
            prefixes,
            quote: if session.has(Opt::Unquoted) { "" } else { "'" },
            rows_as_columns,
        }
    }

    fn cell(&self, field: &Field, text: &str) -> String {
        match self.prefixes {
            true => {
                let name = field.id.to_ascii_uppercase();
                format!("DM_{name}={}{text}{}", self.quote, self.quote)
            }
            false => text.to_owned(),
        }
    }

    fn write(&self, columns: &[&Field], cells: &[Vec<String>]) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        if self.headings {
            lines.push(columns.iter().map(|f| f.heading.to_owned()).collect());
        }
        for row in cells {
            let texts = columns.iter().zip(row).map(|(f, text)| self.cell(f, text));
            lines.push(texts.collect());
        }
        if self.rows_as_columns {
            let column = |n: usize| lines.iter().map(|line| line[n].clone()).collect();
            lines = (0..columns.len()).map(column).collect();
        }
        if self.aligned {
            self.align(columns, &mut lines);
        }
        let joined = lines.iter().map(|line| line.join(&self.separator));
        joined.map(|line| line + "\n").collect()
    }

    fn align(&self, columns: &[&Field], lines: &mut [Vec<String>]) {
        for (n, field) in columns.iter().enumerate() {
            let longest = lines.iter().map(|line| line[n].len()).max().unwrap_or(0);
            let width = longest.max(field.width);
            for (at, line) in lines.iter_mut().enumerate() {
                let room = " ".repeat(width - line[n].len());
                line[n] = match field.right && at > 0 {
                    true => format!("{room}{}", line[n]),
                    false => format!("{}{room}", line[n]),
                };
            }
        }
    }
}
