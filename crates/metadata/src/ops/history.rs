//! `historical_logical_volumes`: thin volumes that are gone, kept by LVM2 with
//! `metadata/record_lvs_history` for the ancestry of those that stay. ulvm keeps the section as it
//! is. A name must not be that of a live LV and a historical one, or LVM2 cannot read the VG.

use super::OpError;
use crate::model::Vg;
use crate::tree::{Item, Node, Section, Value};

/// Is it the name of a historical LV?
pub(super) fn is_historical(vg: &Vg, name: &str) -> bool {
    let items = vg.historical.iter().flat_map(|h| &h.items);
    items.into_iter().any(|item| item.key == name)
}

/// Moves the history of one VG to another.
pub(super) fn move_all(from: &mut Vg, to: &mut Vg) -> Result<(), OpError> {
    let Some(history) = from.historical.take() else {
        return Ok(());
    };
    for item in &history.items {
        if to.find_lv(&item.key).is_some() || is_historical(to, &item.key) {
            return Err(OpError::exists(format!(
                "Historical Logical Volume \"{}\" of volume group \"{}\" exists in volume group \"{}\", too",
                item.key, from.name, to.name
            )));
        }
    }
    to.historical
        .get_or_insert_with(Section::default)
        .items
        .extend(history.items);
    Ok(())
}

/// After a split: history goes where the LVs are that it is about.
pub(super) fn follow(rest: &mut Vg, into: &mut Vg) -> Result<(), OpError> {
    let Some(history) = &rest.historical else {
        return Ok(());
    };
    let live = live_names(history);
    let gone = live.iter().filter(|n| rest.find_lv(n).is_none()).count();
    if gone == 0 && !(rest.pvs.is_empty() && rest.lvs.is_empty()) {
        return Ok(());
    }
    if gone < live.len() {
        return Err(OpError::refused(format!(
            "The history of logical volumes in volume group \"{}\" cannot be divided. Remove it with lvremove of LVM2.",
            rest.name
        )));
    }
    move_all(rest, into)
}

/// Live LVs that descend from historical ones. Historical ones have a `-` before their names.
fn live_names(history: &Section) -> Vec<&str> {
    let fields = history.items.iter().filter_map(|item| match &item.node {
        Node::Section(s) => Some(&s.items),
        Node::Value(_) => None,
    });
    let lists = fields.flatten().filter_map(descendants);
    let mut out: Vec<&str> = lists
        .flatten()
        .filter_map(|value| match value {
            Value::Str(name) if !name.starts_with('-') => Some(name.as_str()),
            _ => None,
        })
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn descendants(item: &Item) -> Option<&[Value]> {
    match &item.node {
        Node::Value(Value::Array(values)) if item.key == "descendants" => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Ids, linear, vg_of};
    use super::super::lv_rename::lv_rename;
    use super::super::vg_merge::vg_merge;
    use super::*;
    use crate::model::LvKey;

    /// As LVM2 writes it.
    fn history(name: &str, descendants: &[&str]) -> Section {
        let names = descendants.iter().map(|d| Value::Str((*d).to_owned()));
        let fields = Section {
            items: vec![Item {
                key: "descendants".into(),
                node: Node::Value(Value::Array(names.collect())),
            }],
        };
        Section {
            items: vec![Item {
                key: name.into(),
                node: Node::Section(fields),
            }],
        }
    }

    fn first_linear(vg: &mut Vg, ids: &mut Ids, name: &str) -> LvKey {
        let pv = vg.pvs.keys().next().unwrap();
        linear(vg, ids, name, pv, 0, 2)
    }

    #[test]
    fn a_historical_name_is_not_free() {
        let mut ids = Ids::default();
        let mut vg = vg_of(&mut ids, 1);
        let lv = first_linear(&mut vg, &mut ids, "a");
        vg.historical = Some(history("old", &["a"]));
        let refused = lv_rename(&vg, lv, "old").unwrap_err();
        assert_eq!(
            refused.message,
            format!(
                "Historical Logical Volume \"old\" already exists in volume group \"{}\"",
                vg.name
            )
        );
        assert!(lv_rename(&vg, lv, "new").is_ok());
    }

    #[test]
    fn history_goes_along() {
        let mut ids = Ids::default();
        let into = vg_of(&mut ids, 1);
        let mut from = vg_of(&mut ids, 1);
        from.name = "from".into();
        first_linear(&mut from, &mut ids, "a");
        from.historical = Some(history("old", &["a"]));
        let merged = vg_merge(&into, &from).unwrap().vg;
        assert_eq!(merged.historical, from.historical);
        let mut taken = into.clone();
        first_linear(&mut taken, &mut ids, "old");
        assert!(vg_merge(&taken, &from).is_err());
        // A split that leaves the LVs, takes them, or takes one of two.
        let (mut rest, mut new) = (from.clone(), into.clone());
        follow(&mut rest, &mut new).unwrap();
        assert_eq!(
            (rest.historical.is_some(), new.historical.is_some()),
            (true, false)
        );
        rest.historical = Some(history("old", &["moved", "-older"]));
        follow(&mut rest, &mut new).unwrap();
        assert_eq!(
            (rest.historical.is_some(), new.historical.is_some()),
            (false, true)
        );
        rest.historical = Some(history("old", &["moved", "a"]));
        assert!(follow(&mut rest, &mut into.clone()).is_err());
    }
}
