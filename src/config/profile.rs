//! Profiles: small configuration files that may set only what their kind is for.

use ulvm_metadata::tree::{Node, Section};

use crate::error::{Error, Result};

/// What a profile is applied to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProfileKind {
    /// The command at hand (`--commandprofile`).
    Command,
    /// A VG or LV, which remembers its name (`--metadataprofile`).
    Metadata,
}

impl ProfileKind {
    /// As messages name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Metadata => "metadata",
        }
    }
    /// May a profile of this kind set it?
    pub fn may_set(self, path: &str) -> bool {
        match self {
            Self::Command => {
                (path.starts_with("report/") && path != "report/two_word_unknown_device")
                    || COMMAND.contains(&path)
            }
            Self::Metadata => {
                METADATA.contains(&path) || path.starts_with("allocation/cache_settings/")
            }
        }
    }
}

/// What command profiles may set beside all of `report` (seen of `lvmconfig --typeconfig profilable-command`).
const COMMAND: [&str; 8] = [
    "global/lvdisplay_shows_full_device_path",
    "global/si_unit_consistency",
    "global/suffix",
    "global/units",
    "log/command_log_cols",
    "log/command_log_selection",
    "log/command_log_sort",
    "log/report_command_log",
];

/// What metadata profiles may set (seen of `lvmconfig --typeconfig profilable-metadata`, and of LVM2's
/// messages for settings without a built-in value).
const METADATA: [&str; 35] = [
    "activation/thin_pool_autoextend_percent",
    "activation/thin_pool_autoextend_threshold",
    "activation/vdo_pool_autoextend_percent",
    "activation/vdo_pool_autoextend_threshold",
    "allocation/cache_metadata_format",
    "allocation/cache_mode",
    "allocation/cache_policy",
    "allocation/cache_pool_chunk_size",
    "allocation/cache_pool_max_chunks",
    "allocation/cache_pool_metadata_require_separate_pvs",
    "allocation/cache_settings",
    "allocation/thin_pool_chunk_size",
    "allocation/thin_pool_chunk_size_policy",
    "allocation/thin_pool_discards",
    "allocation/thin_pool_zero",
    "allocation/vdo_ack_threads",
    "allocation/vdo_bio_rotation",
    "allocation/vdo_bio_threads",
    "allocation/vdo_block_map_cache_size_mb",
    "allocation/vdo_block_map_period",
    "allocation/vdo_check_point_frequency",
    "allocation/vdo_cpu_threads",
    "allocation/vdo_hash_zone_threads",
    "allocation/vdo_index_memory_size_mb",
    "allocation/vdo_logical_threads",
    "allocation/vdo_max_discard",
    "allocation/vdo_minimum_io_size",
    "allocation/vdo_physical_threads",
    "allocation/vdo_pool_header_size",
    "allocation/vdo_slab_size_mb",
    "allocation/vdo_use_compression",
    "allocation/vdo_use_deduplication",
    "allocation/vdo_use_metadata_hints",
    "allocation/vdo_use_sparse_index",
    "allocation/vdo_write_policy",
];

/// The first setting that a profile of the kind may not set.
fn first_wrong(kind: ProfileKind, section: &Section, prefix: &str) -> Option<String> {
    section.items.iter().find_map(|item| {
        let path = match prefix {
            "" => item.key.clone(),
            prefix => format!("{prefix}/{}", item.key),
        };
        match &item.node {
            Node::Section(inner) => first_wrong(kind, inner, &path),
            Node::Value(_) => (!kind.may_set(&path)).then_some(path),
        }
    })
}

/// Refuses a profile that sets something that its kind is not for.
pub(super) fn check(kind: ProfileKind, name: &str, section: &Section) -> Result<()> {
    let Some(path) = first_wrong(kind, section, "") else {
        return Ok(());
    };
    let other = match kind {
        ProfileKind::Command => ProfileKind::Metadata,
        ProfileKind::Metadata => ProfileKind::Command,
    };
    let (own, other_word) = (kind.word(), other.word());
    let what = if other.may_set(&path) {
        format!("is customizable by {other_word} profile only, not {own} profile.")
    } else {
        "is not customizable by a profile.".to_owned()
    };
    Err(
        Error::refused(format!("Configuration option \"{path}\" {what}"))
            .and(format!("Ignoring invalid {own} profile {name}.")),
    )
}

#[cfg(test)]
mod tests {
    use ulvm_metadata::text::parse_config;

    use super::*;

    #[test]
    fn each_kind_sets_what_it_is_for_and_nothing_else() {
        let (command, metadata) = (ProfileKind::Command, ProfileKind::Metadata);
        for (kind, text, allowed) in [
            (command, "report { headings = 0 }", true),
            (command, "global/units = \"k\"", true),
            (command, "allocation { thin_pool_zero = 0 }", false),
            (command, "devices/dir = \"/x\"", false),
            (metadata, "allocation { thin_pool_zero = 0 }", true),
            (metadata, "allocation { cache_settings { x = 1 } }", true),
            (metadata, "report { headings = 0 }", false),
            (metadata, "global { umask = 0 }", false),
        ] {
            let section = parse_config(text).unwrap();
            assert_eq!(check(kind, "p", &section).is_ok(), allowed, "{text}");
        }
    }
}
