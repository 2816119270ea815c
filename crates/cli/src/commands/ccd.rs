//! `ccd`: the tables of ccd configurations, printed, or served where `--nbd`, `--fuse` or `--ublk` says so.

use std::path::Path;

use ulvm::error::{Error, Kind, Result};
use ulvm_engine::backend::{Backing, Direct, OpenHow};
use ulvm_engine::ccd::{CcdError, Component, Config};

use super::lv_args::usage;
use super::serve::{of_text, serve_devices};
use crate::args::{Args, Opt};
use crate::context::Context;

/// An operand is a line of ccd.conf (it has blanks), or the path of such a file.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let mut configs = Vec::new();
    for operand in args.operands() {
        configs.extend(read(operand)?);
    }
    if configs.is_empty() {
        let text = "Please give a line as in ccd.conf, \"ccd0 32 none DEVICE...\", or such a file.";
        return Err(usage("ccd", text));
    }
    let mut tables = Vec::with_capacity(configs.len());
    for config in &configs {
        tables.push((&config.name, table(config)?));
    }
    if [Opt::Nbd, Opt::Fuse, Opt::Ublk]
        .into_iter()
        .any(|o| args.has(o))
    {
        return serve_devices(ctx, args, "ccd", || {
            let device = |(name, text): &(&String, String)| of_text(args, name, text, name);
            tables.iter().map(device).collect()
        });
    }
    for (name, text) in &tables {
        if tables.len() > 1 {
            ctx.terminal().put(&format!("# {name}\n"));
        }
        ctx.terminal().put(text);
    }
    Ok(())
}

fn refused(e: CcdError) -> Error {
    Error::refused(e.to_string()).with_source(e)
}

fn read(operand: &str) -> Result<Vec<Config>> {
    if operand.contains(char::is_whitespace) {
        return Ok(vec![Config::parse(operand).map_err(refused)?]);
    }
    let text = std::fs::read_to_string(operand);
    let text = text.map_err(|e| Error::io(format!("read {operand}"), e))?;
    let named = |e: CcdError| Error::refused(format!("{operand}: {e}")).with_source(e);
    Config::parse_file(&text).map_err(named)
}

fn table(config: &Config) -> Result<String> {
    let how = OpenHow {
        read_only: true,
        direct: Direct::Never,
        ..OpenHow::default()
    };
    let mut components = Vec::with_capacity(config.components.len());
    for path in &config.components {
        let backing = Backing::open(Path::new(path), &how);
        let backing = backing.map_err(|e| Error::new(Kind::Io, e.to_string()).with_source(e))?;
        components.push(Component {
            blocks: backing.size() / 512,
            sector: backing.logical_block(),
        });
    }
    config.table(&components).map_err(refused)
}
