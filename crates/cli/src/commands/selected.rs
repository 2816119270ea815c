//! `--select` for commands that change things: the same expressions that reports take.

use ulvm::activate::live::Live;
use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::{FoundPv, Inventory, VgRead};
use ulvm::session::Settings;
use ulvm_metadata::model::{LvKey, PvKey};

use super::lv_activation::live;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::report::fields::Group;
use crate::report::row::{PvRow, Row, World};
use crate::report::select::{Expr, Setting, parse};
use crate::report::view::VgView;

/// What `--select` takes; everything, if it was not given.
#[derive(Default)]
pub struct Selection {
    expr: Option<Expr>,
    segments: bool,
    dev_dir: String,
    live: Live,
}

impl Selection {
    /// From the option; `own` is what the command is about.
    pub fn new(settings: &Settings, args: &Args, own: Group) -> Result<Self> {
        let Some(text) = args.text(Opt::Select) else {
            return Ok(Self::default());
        };
        let expr = parse(text, Setting::new(own))
            .map_err(|lines| Error::new(Kind::Refused, lines.join("\n")))?;
        let mut fields = Vec::new();
        if let Some(expr) = &expr {
            expr.fields(&mut fields);
        }
        let env = &settings.env;
        let dev_dir = env.dev_dir.as_ref().map_or("/dev".to_owned(), |d| {
            d.to_string_lossy().trim_end_matches('/').to_owned()
        });
        Ok(Self {
            segments: fields.iter().any(|f| f.group == Group::Segment),
            expr,
            dev_dir,
            live: Live::off(),
        })
    }

    /// The same, for what is said of active LVs.
    pub fn seeing(self, ctx: &Context) -> Result<Self> {
        let live = match self.expr {
            Some(_) => live(ctx, true)?,
            None => Live::off(),
        };
        Ok(Self { live, ..self })
    }

    /// Is the VG taken?
    pub fn takes_vg(&self, inventory: &Inventory, read: &VgRead) -> bool {
        self.takes(inventory, read, |row, expr| expr.matches(&row))
    }

    /// Is the LV taken? If segments are asked about, one of them must match.
    pub fn takes_lv(&self, inventory: &Inventory, read: &VgRead, lv: LvKey) -> bool {
        self.takes(inventory, read, |row, expr| {
            let row = Row {
                lv: Some(lv),
                ..row
            };
            if !self.segments {
                return expr.matches(&row);
            }
            let count = read.vg.lvs.get(lv).map_or(0, |lv| lv.segments.len());
            (0..count).any(|n| {
                expr.matches(&Row {
                    segment: Some(n),
                    ..row
                })
            })
        })
    }

    /// Is the PV taken?
    pub fn takes_pv(&self, inventory: &Inventory, read: &VgRead, pv: PvKey) -> bool {
        self.takes(inventory, read, |row, expr| {
            let Some(view) = row.vg else {
                return false;
            };
            expr.matches(&Row {
                pv: Some(PvRow::member(view, pv)),
                ..row
            })
        })
    }

    /// Is the PV, which is in no VG, taken?
    pub fn takes_orphan(&self, inventory: &Inventory, found: &FoundPv) -> bool {
        let Some(expr) = &self.expr else {
            return true;
        };
        expr.matches(&Row {
            pv: Some(PvRow::orphan(found)),
            ..Row::new(&self.world(inventory))
        })
    }

    fn world<'a>(&'a self, inventory: &'a Inventory) -> World<'a> {
        World {
            inventory,
            mark_hidden: false,
            two_word_unknown: false,
            dev_dir: self.dev_dir.clone(),
            monitoring: true,
            live: &self.live,
        }
    }

    fn takes(
        &self,
        inventory: &Inventory,
        read: &VgRead,
        judge: impl FnOnce(Row<'_>, &Expr) -> bool,
    ) -> bool {
        let Some(expr) = &self.expr else {
            return true;
        };
        let world = self.world(inventory);
        let view = VgView::new(read, inventory);
        let row = Row {
            vg: Some(&view),
            ..Row::new(&world)
        };
        judge(row, expr)
    }
}
