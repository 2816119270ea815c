//! Lists of the configuration that pick LVs: `activation/volume_list`,
//! `activation/auto_activation_volume_list`, `activation/read_only_volume_list`. What entries mean:
//! lvm.conf(5).

use ulvm_metadata::model::arena::Key;
use ulvm_metadata::model::{Lv, LvKey, PvKey, Vg};
use ulvm_metadata::ops::lv_tree::is_visible;
use ulvm_metadata::ops::pvmove::settled;
use ulvm_metadata::tree::Node;

use super::plan::{self, Missing};

use crate::config::Config;
use crate::host;

/// May the LV be activated at all?
pub fn may_activate(config: &Config, vg: &Vg, lv: &Lv) -> bool {
    let tags = host_tags(config);
    let list = given(config, "activation/volume_list");
    // Without a list the tags of the host, if it has any, are one.
    list.map_or(tags.is_empty() || tagged(&tags, vg, lv), |list| {
        picks(&list, &tags, vg, lv)
    })
}

/// Is it among those that are activated by themselves, as far as lists say?
pub fn by_itself(config: &Config, vg: &Vg, lv: &Lv) -> bool {
    let list = given(config, "activation/auto_activation_volume_list");
    list.is_none_or(|list| picks(&list, &host_tags(config), vg, lv))
}

/// Is it to be read-only whatever its metadata say?
pub fn read_only(config: &Config, vg: &Vg, lv: &Lv) -> bool {
    let list = given(config, "activation/read_only_volume_list");
    list.is_some_and(|list| picks(&list, &host_tags(config), vg, lv))
}

/// Is the LV activated when its VG is told to be by an event? So say the marks in the metadata and the
/// lists.
pub fn by_event(config: &Config, vg: &Vg, lv: LvKey) -> bool {
    let flags = &vg.lvs[lv].flags;
    let alone = flags.no_autoactivate || vg.flags.no_autoactivate || flags.activation_skip;
    let lists = || by_itself(config, vg, &vg.lvs[lv]) && may_activate(config, vg, &vg.lvs[lv]);
    !alone && is_visible(vg, lv) && lists()
}

/// The PVs that LVs which are activated by an event lie on. What ulvm does not run is not waited for.
pub fn needed_by_event(config: &Config, vg: &Vg) -> Vec<PvKey> {
    let mut pvs: Vec<PvKey> = Vec::new();
    let vg = &*settled(vg);
    for lv in vg.lvs.keys().filter(|lv| by_event(config, vg, *lv)) {
        let planned = plan::plan(vg, lv, &|_| false, Missing::Refuse);
        pvs.extend(planned.map(|plan| plan.pvs()).unwrap_or_default());
    }
    pvs.sort_unstable_by_key(|pv| pv.slot());
    pvs.dedup_by_key(|pv| pv.slot());
    pvs
}

fn given(config: &Config, path: &str) -> Option<Vec<String>> {
    config.is_set(path).then(|| config.list(path))
}

/// Does an entry name the LV, its VG or a tag of one of them?
fn picks(list: &[String], host_tags: &[String], vg: &Vg, lv: &Lv) -> bool {
    list.iter().any(|entry| match entry.strip_prefix('@') {
        Some("*") => tagged(host_tags, vg, lv),
        Some(tag) => has_tag(tag, vg, lv),
        None => match entry.split_once('/') {
            Some((of, name)) => of == vg.name && name == lv.name,
            None => *entry == vg.name,
        },
    })
}

fn tagged(tags: &[String], vg: &Vg, lv: &Lv) -> bool {
    tags.iter().any(|tag| has_tag(tag, vg, lv))
}

fn has_tag(tag: &str, vg: &Vg, lv: &Lv) -> bool {
    vg.tags.iter().chain(&lv.tags).any(|t| t == tag)
}

/// Tags of this host: its name with `tags/hosttags`, and each section of `tags` whose `host_list`
/// names it, or that has none.
fn host_tags(config: &Config) -> Vec<String> {
    let own = host::name();
    let mut tags: Vec<String> = Vec::new();
    if config.bool("tags/hosttags") {
        tags.push(own.clone());
    }
    for (_, layer) in config.layers() {
        let Some(section) = layer.section("tags") else {
            continue;
        };
        for item in &section.items {
            if !matches!(item.node, Node::Section(_)) {
                continue;
            }
            let hosts = format!("tags/{}/host_list", item.key);
            let ours = !config.is_set(&hosts) || config.list(&hosts).contains(&own);
            let tag = item.key.trim_start_matches('@');
            if ours && !tags.iter().any(|t| t == tag) {
                tags.push(tag.to_owned());
            }
        }
    }
    tags
}
