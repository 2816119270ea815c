//! Reports: pvs, vgs, lvs, fullreport and the column forms of the display commands.
//!
//! [`options`] turns the command line into columns, selection and layout; [`collect`] makes the
//! rows over what a session scanned; [`fields`] knows every column; [`output`] writes.

pub mod collect;
mod columns;
pub mod fields;
mod full;
mod help;
pub mod kind;
mod layout;
pub mod options;
pub mod output;
pub mod row;
pub mod select;
mod time;
pub mod units;
pub mod value;
pub mod view;

use std::cmp::Ordering;

use ulvm::error::Result;
use ulvm::session::Session;

use crate::args::Args;
use crate::context::Context;
use crate::exit::Worst;
use crate::report::collect::Wanted;
use crate::report::columns::SortKey;
use crate::report::options::{Options, Prepared};
use crate::report::output::Table;
use crate::report::row::{Row, World};
use crate::report::value::Value;
use crate::report::view::VgView;

pub use full::run as full;
pub use options::Base;

/// Runs a report command.
pub fn run(ctx: &Context, args: &Args, base: Base) -> Result<()> {
    let Some(options) = prepare(ctx, args, base)? else {
        return Ok(());
    };
    let mut worst = Worst::default();
    let mut session = ctx.session()?;
    let wanted = collect::read(ctx, &mut session, args, options.base, &mut worst)?;
    print(ctx, &session, &wanted, &options, &mut worst);
    session.leave();
    worst.finish()
}

/// Options of a report; `None` when help was asked for and given.
fn prepare(ctx: &Context, args: &Args, base: Base) -> Result<Option<Options>> {
    match options::prepare(ctx, args, base)? {
        Prepared::Report(options) => Ok(Some(*options)),
        Prepared::FieldHelp => {
            ctx.terminal()
                .error_line(help::fields().trim_end_matches('\n'));
            Ok(None)
        }
        Prepared::SelectionHelp => {
            ctx.terminal()
                .error_line(help::selection().trim_end_matches('\n'));
            Ok(None)
        }
    }
}

/// Makes the rows of one report and writes it.
pub fn print(
    ctx: &Context,
    session: &Session,
    wanted: &Wanted,
    options: &Options,
    worst: &mut Worst,
) {
    let inventory = session.inventory();
    let world = options.world(inventory);
    let views: Vec<VgView<'_>> = inventory
        .vgs
        .iter()
        .map(|v| VgView::new(v, inventory))
        .collect();
    let rows = collect::rows(ctx, &world, &views, wanted, options, worst);
    let table = table(rows, options);
    output::write(
        &[vec![table]],
        &options.layout,
        &options.style,
        &mut |text| ctx.terminal().put(text),
    );
}

/// Gives each object that a command names to `show`, in the order of the metadata: for commands
/// that write something else than columns.
pub fn each(
    ctx: &Context,
    args: &Args,
    base: Base,
    show: &mut dyn FnMut(&Row<'_>, &Options),
) -> Result<()> {
    let Some(options) = prepare(ctx, args, base)? else {
        return Ok(());
    };
    let mut worst = Worst::default();
    let mut session = ctx.session()?;
    let wanted = collect::read(ctx, &mut session, args, base, &mut worst)?;
    let inventory = session.inventory();
    let world = options.world(inventory);
    let views: Vec<VgView<'_>> = inventory
        .vgs
        .iter()
        .map(|v| VgView::new(v, inventory))
        .collect();
    for row in collect::rows(ctx, &world, &views, &wanted, &options, &mut worst) {
        if options.selection.as_ref().is_none_or(|s| s.matches(&row)) {
            show(&row, &options);
        }
    }
    worst.finish()
}

/// Selects, sorts, and packs columns.
fn table<'a>(rows: Vec<Row<'a>>, options: &Options) -> Table<'a> {
    let mut rows = rows;
    if let Some(selection) = &options.selection {
        for row in &mut rows {
            row.selected = selection.matches(row);
        }
        if !options.columns.shown.iter().any(|f| f.id == "selected") {
            rows.retain(|r| r.selected);
        }
    }
    sort(&mut rows, &options.columns.sort);
    let mut table = Table {
        name: options.base.document_name(),
        columns: options.columns.shown.clone(),
        rows,
        cut: false,
    };
    if options.layout.compact {
        table.drop_blank(|_| true, &options.style);
    } else if !options.columns.compact.is_empty() {
        table.drop_blank(
            |f| options.columns.compact.iter().any(|c| c.id == f.id),
            &options.style,
        );
    }
    table
}

/// Sorts by keys worked out once per row; equal rows stay in the order they were found.
fn sort(rows: &mut Vec<Row<'_>>, keys: &[SortKey]) {
    if keys.is_empty() {
        return;
    }
    let values: Vec<Value<'_>> = rows
        .iter()
        .flat_map(|row| keys.iter().map(|key| sort_value(key, row)))
        .collect();
    let of_row = |row: usize| &values[row * keys.len()..(row + 1) * keys.len()];
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| {
        for ((x, y), key) in of_row(*a).iter().zip(of_row(*b)).zip(keys) {
            let order = if key.descending {
                y.compare(x)
            } else {
                x.compare(y)
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    });
    if !order.is_sorted() {
        *rows = order.into_iter().map(|row| rows[row]).collect();
    }
}

/// Hidden LVs sort by their names, not by their brackets.
fn sort_value<'a>(key: &SortKey, row: &Row<'a>) -> Value<'a> {
    match (key.field.id, row.lv()) {
        ("lv_name", Some(lv)) => Value::text(lv.name.as_str()),
        _ => (key.field.get)(row),
    }
}

impl Options {
    /// What all rows share.
    fn world<'a>(&'a self, inventory: &'a ulvm::inventory::Inventory) -> World<'a> {
        World {
            inventory,
            mark_hidden: self.style.mark_hidden,
            two_word_unknown: self.style.two_word_unknown,
            dev_dir: self.dev_dir.clone(),
            monitoring: self.monitoring,
            live: &self.live,
        }
    }
}
