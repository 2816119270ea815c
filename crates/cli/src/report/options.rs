//! What the command line and the configuration ask of a report.

use ulvm::activate::live::Live;
use ulvm::config::Config;
use ulvm::error::{Error, Kind, Result};
use ulvm_metadata::tree::Value as Tree;

use super::columns::Columns;
use super::fields::{Field, Group};
use super::output::{Format, Layout};
use super::select::{self, Expr, Lines, Setting};
use super::time::TimeFormat;
use super::units::Units;
use super::value::Style;
use crate::args::{Args, Opt};
use crate::commands::lv_activation::live;
use crate::context::Context;

/// Which report a command makes by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base {
    /// vgs
    Vg,
    /// lvs
    Lv,
    /// lvs --segments
    Segment,
    /// pvs
    Pv,
    /// pvs --segments
    PvSegment,
}

/// What a report has one row of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowKind {
    /// Volume groups.
    Vg,
    /// Logical volumes.
    Lv,
    /// Segments of logical volumes.
    Segment,
    /// Physical volumes.
    Pv,
    /// Runs of extents of physical volumes.
    PvSegment,
}

/// A report's defaults: configuration key and built-in value.
type Default = (&'static str, &'static str);

impl Base {
    /// The group whose prefix may be left out.
    pub fn own(self) -> Group {
        match self {
            Self::Vg => Group::Vg,
            Self::Lv => Group::Lv,
            Self::Segment => Group::Segment,
            Self::Pv => Group::Pv,
            Self::PvSegment => Group::PvSegment,
        }
    }
    /// What it is called in documents and by `--configreport`.
    pub fn document_name(self) -> &'static str {
        match self {
            Self::Vg => "vg",
            Self::Lv => "lv",
            Self::Segment => "seg",
            Self::Pv => "pv",
            Self::PvSegment => "pvseg",
        }
    }
    /// Are the operands PVs?
    pub fn of_pvs(self) -> bool {
        matches!(self, Self::Pv | Self::PvSegment)
    }

    fn columns(self, verbose: bool) -> Default {
        match (self, verbose) {
            (Self::Lv, false) => (
                "report/lvs_cols",
                "lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,copy_percent,convert_lv",
            ),
            (Self::Lv, true) => (
                "report/lvs_cols_verbose",
                "lv_name,vg_name,seg_count,lv_attr,lv_size,lv_major,lv_minor,lv_kernel_major,lv_kernel_minor,pool_lv,origin,data_percent,metadata_percent,move_pv,copy_percent,mirror_log,convert_lv,lv_uuid,lv_profile",
            ),
            (Self::Vg, false) => (
                "report/vgs_cols",
                "vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free",
            ),
            (Self::Vg, true) => (
                "report/vgs_cols_verbose",
                "vg_name,vg_attr,vg_extent_size,pv_count,lv_count,snap_count,vg_size,vg_free,vg_uuid,vg_profile",
            ),
            (Self::Pv, false) => (
                "report/pvs_cols",
                "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free",
            ),
            (Self::Pv, true) => (
                "report/pvs_cols_verbose",
                "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,dev_size,pv_uuid",
            ),
            (Self::Segment, false) => (
                "report/segs_cols",
                "lv_name,vg_name,lv_attr,stripes,segtype,seg_size",
            ),
            (Self::Segment, true) => (
                "report/segs_cols_verbose",
                "lv_name,vg_name,lv_attr,seg_start,seg_size,stripes,segtype,stripe_size,chunk_size",
            ),
            (Self::PvSegment, false) => (
                "report/pvsegs_cols",
                "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size",
            ),
            (Self::PvSegment, true) => (
                "report/pvsegs_cols_verbose",
                "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size,lv_name,seg_start_pe,segtype,seg_pe_ranges",
            ),
        }
    }

    fn sort(self) -> Default {
        match self {
            Self::Vg => ("report/vgs_sort", "vg_name"),
            Self::Lv => ("report/lvs_sort", "vg_name,lv_name"),
            Self::Segment => ("report/segs_sort", "vg_name,lv_name,seg_start"),
            Self::Pv => ("report/pvs_sort", "pv_name"),
            Self::PvSegment => ("report/pvsegs_sort", "pv_name,pvseg_start"),
        }
    }

    fn full_columns(self) -> Default {
        match self {
            Self::Vg => ("report/vgs_cols_full", "vg_all"),
            Self::Lv => ("report/lvs_cols_full", "lv_all"),
            Self::Segment => ("report/segs_cols_full", "seg_all,lv_uuid"),
            Self::Pv => ("report/pvs_cols_full", "pv_all"),
            Self::PvSegment => ("report/pvsegs_cols_full", "pvseg_all,pv_uuid,lv_uuid"),
        }
    }

    fn full_sort(self) -> Default {
        match self {
            Self::Vg => ("report/vgs_sort_full", "vg_name"),
            Self::Lv => ("report/lvs_sort_full", "vg_name,lv_name"),
            Self::Segment => ("report/segs_sort_full", "lv_uuid,seg_start"),
            Self::Pv => ("report/pvs_sort_full", "pv_name"),
            Self::PvSegment => ("report/pvsegs_sort_full", "pv_uuid,pvseg_start"),
        }
    }

    /// What such a report has one row of, when it needs these fields.
    fn row_kind(self, fields: &[&Field]) -> Result<RowKind> {
        let any = |test: fn(Group) -> bool| fields.iter().any(|f| test(f.group));
        let pv = any(|g| matches!(g, Group::Pv | Group::Label)) || self == Self::Pv;
        let run = any(|g| g == Group::PvSegment) || self == Self::PvSegment;
        let segment = any(|g| g == Group::Segment) || self == Self::Segment;
        let lv = any(Group::of_lv) || self == Self::Lv;
        if !self.of_pvs() && (pv || run) && (lv || segment) {
            return Err(Error::refused(format!(
                "Can't report LV and PV fields at the same time in report type \"{}\".",
                self.document_name()
            )));
        }
        Ok(if run || (pv && (lv || segment)) {
            RowKind::PvSegment
        } else if pv {
            RowKind::Pv
        } else if segment {
            RowKind::Segment
        } else if lv {
            RowKind::Lv
        } else {
            RowKind::Vg
        })
    }
}

/// Everything about one report but the objects.
pub struct Options {
    /// The command's report.
    pub base: Base,
    /// One row per what.
    pub rows: RowKind,
    /// Columns and order.
    pub columns: Columns,
    /// Which rows.
    pub selection: Option<Expr>,
    /// How it is written.
    pub layout: Layout,
    /// How values are written.
    pub style: Style,
    /// `-a`: hidden LVs, devices that are no PVs.
    pub all: bool,
    /// Directory of device nodes.
    pub dev_dir: String,
    /// What the daemon serves.
    pub live: Live,
    /// `activation/monitoring`
    pub monitoring: bool,
}

/// What the command line asks for.
pub enum Prepared {
    /// A report.
    Report(Box<Options>),
    /// `-o help`
    FieldHelp,
    /// `-S help`
    SelectionHelp,
}

/// A setting of the configuration, or the default.
fn setting(config: &Config, (path, default): Default) -> String {
    match config.lookup(path) {
        Some((Tree::Str(s), _)) => s.clone(),
        Some((Tree::Int(n), _)) => n.to_string(),
        Some((Tree::Array(items), _)) => {
            let words: Vec<&str> = items
                .iter()
                .filter_map(|i| match i {
                    Tree::Str(s) => Some(s.as_str()),
                    _ => None,
                })
                .collect();
            words.join(",")
        }
        _ => default.to_owned(),
    }
}

fn switch(config: &Config, path: &'static str, default: bool) -> bool {
    setting(config, (path, if default { "1" } else { "0" })) != "0"
}

/// Lines of a field list or selection that cannot be used.
fn refused(lines: Lines) -> Error {
    Error::new(Kind::Refused, lines.join("\n"))
}

/// Puts command line and configuration together.
pub fn prepare(ctx: &Context, args: &Args, base: Base) -> Result<Prepared> {
    let config = ctx.config();
    let own = base.own();
    let verbose = args.count(Opt::Verbose) > 0;
    let defaults = (
        setting(config, base.columns(verbose)),
        setting(config, base.sort()),
    );
    let mut columns = Columns::new(&defaults.0, &defaults.1, own).map_err(refused)?;
    let mut selection = None;
    let packed = setting(config, ("report/compact_output_cols", ""));
    columns.compact(&packed, own);
    let mut ours = true;
    for (_, opt, text) in args.in_order(&[Opt::Options, Opt::Sort, Opt::Select, Opt::ConfigReport])
    {
        match opt {
            Opt::ConfigReport => ours = text == base.document_name(),
            _ if !ours => {}
            Opt::Options => columns.options(text, own).map_err(refused)?,
            Opt::Sort => columns.sort_by(text, own).map_err(refused)?,
            _ => selection = Some(text),
        }
    }
    if columns.help {
        return Ok(Prepared::FieldHelp);
    }
    if matches!(selection, Some("help" | "?")) {
        return Ok(Prepared::SelectionHelp);
    }
    let selection = match selection {
        Some(text) => select::parse(text, Setting::new(own)).map_err(refused)?,
        None => None,
    };
    for line in std::mem::take(&mut columns.complaints) {
        ctx.ui().error(line);
    }
    Ok(Prepared::Report(Box::new(finish(
        ctx, args, base, columns, selection,
    )?)))
}

fn finish(
    ctx: &Context,
    args: &Args,
    base: Base,
    mut columns: Columns,
    selection: Option<Expr>,
) -> Result<Options> {
    let mut used: Vec<&Field> = columns.shown.clone();
    used.extend(columns.sort.iter().map(|k| k.field));
    if let Some(expr) = &selection {
        let mut compared = Vec::new();
        expr.fields(&mut compared);
        used.extend(compared);
    }
    let layout = layout(ctx, args)?;
    // What is sorted by default only. The keys still say what a row is of.
    if layout.unbuffered {
        columns.sort.clear();
    }
    let env = &ctx.settings().env;
    let dev_dir = env.dev_dir.as_ref().map_or("/dev".to_owned(), |d| {
        d.to_string_lossy().trim_end_matches('/').to_owned()
    });
    Ok(Options {
        base,
        rows: base.row_kind(&used)?,
        columns,
        selection,
        layout,
        style: style(ctx, args)?,
        all: args.has(Opt::All),
        dev_dir,
        monitoring: ctx.config().bool("activation/monitoring"),
        live: live(ctx, true)?,
    })
}

fn layout(ctx: &Context, args: &Args) -> Result<Layout> {
    let config = ctx.config();
    let name = match args.text(Opt::ReportFormat) {
        Some(name) => name.to_owned(),
        None => setting(config, ("report/output_format", "basic")),
    };
    let format = Format::parse(&name)
        .ok_or_else(|| Error::usage(format!("Unknown report format {name}.")))?;
    let prefixes = args.has(Opt::NamePrefixes) || switch(config, "report/prefixes", false);
    let separator = args.text(Opt::Separator).map(str::to_owned);
    let buffered = !args.has(Opt::Unbuffered) && switch(config, "report/buffered", true);
    let rows_as_columns = args.has(Opt::Rows) || switch(config, "report/columns_as_rows", false);
    let aligned =
        args.has(Opt::Aligned) || (separator.is_none() && switch(config, "report/aligned", true));
    Ok(Layout {
        format,
        // Prefixes by configuration leave the columns aligned, as LVM2 has it.
        aligned: aligned && !args.has(Opt::NamePrefixes),
        headings: !args.has(Opt::NoHeadings) && switch(config, "report/headings", true),
        separator: separator.unwrap_or_else(|| setting(config, ("report/separator", " "))),
        prefixes,
        quoted: !args.has(Opt::Unquoted) && switch(config, "report/quoted", true),
        rows_as_columns,
        compact: switch(config, "report/compact_output", false),
        unbuffered: !buffered && !args.has(Opt::Sort),
    })
}

/// How sizes and other values are written.
pub fn style(ctx: &Context, args: &Args) -> Result<Style> {
    let config = ctx.config();
    Ok(Style {
        units: units(ctx, args)?,
        binary: args.has(Opt::Binary) || switch(config, "report/binary_values_as_numeric", false),
        list_separator: setting(config, ("report/list_item_separator", ",")),
        time: TimeFormat::new(
            &setting(config, ("report/time_format", "")),
            ulvm::host::zone().0,
        ),
        mark_hidden: switch(config, "report/mark_hidden_devices", true),
        two_word_unknown: switch(config, "report/two_word_unknown_device", false),
    })
}

/// `--units`, else `global/units`.
pub fn units(ctx: &Context, args: &Args) -> Result<Units> {
    let config = ctx.config();
    let units = match args.text(Opt::Units) {
        Some(text) => text.to_owned(),
        None => setting(config, ("global/units", "r")),
    };
    let suffix = !args.has(Opt::NoSuffix) && switch(config, "global/suffix", true);
    Units::parse(&units, suffix).ok_or_else(|| {
        let command = ctx
            .settings()
            .command_line
            .split(' ')
            .next()
            .unwrap_or("ulvm");
        Error::usage(format!(
            "Invalid units specification\nRun `{command} --help' for more information."
        ))
    })
}

/// Options of the parts of a full report: VG, PVs, LVs, runs, segments.
pub fn prepare_full(ctx: &Context, args: &Args) -> Result<Vec<Options>> {
    const PARTS: [Base; 5] = [Base::Vg, Base::Pv, Base::Lv, Base::PvSegment, Base::Segment];
    PARTS
        .iter()
        .map(|base| part_of_full(ctx, args, *base))
        .collect()
}

fn part_of_full(ctx: &Context, args: &Args, base: Base) -> Result<Options> {
    let config = ctx.config();
    let own = base.own();
    let defaults = (
        setting(config, base.full_columns()),
        setting(config, base.full_sort()),
    );
    let mut columns = Columns::new(&defaults.0, &defaults.1, own).map_err(refused)?;
    let mut selection = None;
    let mut ours = false;
    for (_, opt, text) in args.in_order(&[Opt::Options, Opt::Sort, Opt::Select, Opt::ConfigReport])
    {
        match opt {
            Opt::ConfigReport => ours = text == base.document_name(),
            _ if !ours => {}
            Opt::Options => columns.options(text, own).map_err(refused)?,
            Opt::Sort => columns.sort_by(text, own).map_err(refused)?,
            _ => selection = select::parse(text, Setting::new(own)).map_err(refused)?,
        }
    }
    finish(ctx, args, base, columns, selection)
}
