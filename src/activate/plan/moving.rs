//! Tables of movers: what was moved is at its new place, what is copied is a mirror, the rest is where it
//! was.

use ulvm_metadata::model::{LvKey, PvKey, SegmentKind, Vg};
use ulvm_metadata::ops::pvmove;
use ulvm_metadata::units::{Extents, Sectors};

use super::{Map, On, PlanError, Row, Under};

/// A run that is copied: a mirror with its log in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moving {
    /// Sectors in a region.
    pub region: Sectors,
    /// The old place and the new.
    pub legs: [On; 2],
}

impl Moving {
    /// The table's words from the target's name on.
    pub(super) fn line(&self, name: &dyn Fn(Under) -> String) -> String {
        let mut text = format!("mirror core 1 {} 2", self.region);
        for leg in &self.legs {
            text.push_str(&format!(" {} {}", name(leg.under), leg.offset));
        }
        text
    }
}

/// The rows of a mover. `copying`: the first segment that is not moved yet is copied.
pub fn mover_rows(
    vg: &Vg,
    mover: LvKey,
    missing: &dyn Fn(PvKey) -> bool,
    copying: bool,
) -> Result<Vec<Row>, PlanError> {
    let lv = &vg.lvs[mover];
    let name = || format!("{}/{}", vg.name, lv.name);
    let sectors = |extents: Extents| {
        let sectors = u64::from(extents.0).checked_mul(vg.extent_size.0);
        let fits = sectors.filter(|s| *s <= i64::MAX as u64 / 512);
        fits.map(Sectors).ok_or_else(|| PlanError::Beyond(name()))
    };
    let on = |(pv, extent): (PvKey, Extents)| {
        let entry = &vg.pvs[pv];
        if missing(pv) {
            return Err(PlanError::Missing {
                lv: name(),
                pv: entry.id.to_string(),
                hint: entry.device_hint.clone(),
                sector: Sectors(0),
            });
        }
        let offset = sectors(extent)?.0.checked_add(entry.pe_start.0);
        let offset = offset.ok_or_else(|| PlanError::Beyond(name()))?;
        Ok(On {
            under: Under::Pv(pv),
            offset: Sectors(offset),
        })
    };
    let runs = pvmove::runs(vg, mover);
    let covered: u64 = runs.iter().map(|run| run.len.get()).sum();
    if runs.is_empty() || covered != lv.extents().get() {
        return Err(PlanError::Type {
            lv: name(),
            segment: "pvmove in a form that pvmove does not make".into(),
        });
    }
    let now = runs.iter().find(|run| !run.moved).map(|run| run.segment);
    let mut rows = Vec::with_capacity(runs.len());
    for run in runs {
        let map = match (run.moved, copying && now == Some(run.segment)) {
            (true, _) => Map::Linear(on(run.to)?),
            (false, false) => Map::Linear(on(run.from)?),
            (false, true) => Map::Moving(Moving {
                region: region(vg, mover, run.segment),
                legs: [on(run.from)?, on(run.to)?],
            }),
        };
        rows.push(Row {
            start: sectors(run.at)?,
            len: sectors(run.len)?,
            map,
        });
    }
    Ok(rows)
}

fn region(vg: &Vg, mover: LvKey, segment: usize) -> Sectors {
    match vg.lvs[mover].segments.get(segment).map(|s| &s.kind) {
        Some(SegmentKind::Mirror(mirror)) => mirror.region_size,
        _ => Sectors(0),
    }
}
