//! What the display commands write: long forms and colon forms.

mod lv;
mod map;
mod pv;
mod vg;

pub use lv::{colon as lv_colon, long as lv_long, scan as lv_scan};
pub use pv::{colon as pv_colon, long as pv_long, short as pv_short};
pub use vg::{colon as vg_colon, long as vg_long, short as vg_short};

use ulvm::error::{Error, Result};

use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::Base;

/// The line that ends a block.
pub const BLANK: &str = " ";

/// Refuses options that do not go together.
pub fn exclusive(ctx: &Context, args: &Args, one: Opt, others: &[Opt]) -> Result<()> {
    let command = ctx
        .settings()
        .command_line
        .split(' ')
        .next()
        .unwrap_or("ulvm");
    let letter = |o: Opt| o.spec().short.map_or(' ', |c| c);
    match others.iter().find(|o| args.has(**o) && args.has(one)) {
        Some(other) => Err(Error::usage(format!(
            "Option -{} is not allowed with option -{}\nRun `{command} --help' for more information.",
            letter(one),
            letter(*other)
        ))),
        None => Ok(()),
    }
}

/// Runs the column form (`-C`), if that is what the options ask for.
pub fn columns(ctx: &Context, args: &Args, base: Base, not_with: &[Opt]) -> Option<Result<()>> {
    const ONLY_COLUMNS: [Opt; 10] = [
        Opt::Options,
        Opt::Sort,
        Opt::Aligned,
        Opt::Binary,
        Opt::NoHeadings,
        Opt::Rows,
        Opt::Separator,
        Opt::Unbuffered,
        Opt::NamePrefixes,
        Opt::Unquoted,
    ];
    let wrong = if args.has(Opt::Columns) {
        not_with.iter().any(|o| args.has(*o))
    } else {
        ONLY_COLUMNS.iter().any(|o| args.has(*o))
    };
    if wrong {
        let command = ctx
            .settings()
            .command_line
            .split(' ')
            .next()
            .unwrap_or("ulvm");
        return Some(Err(Error::usage(format!(
            "Incompatible options selected\nRun `{command} --help' for more information."
        ))));
    }
    args.has(Opt::Columns)
        .then(|| crate::report::run(ctx, args, base))
}
