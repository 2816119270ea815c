//! `tags`

use ulvm::error::Result;
use ulvm_metadata::tree::Node;

use crate::args::Args;
use crate::context::Context;

/// Lists the tags this host has by its configuration (`tags/NAME {}`).
pub fn run(ctx: &Context, _: &Args) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    for (_, layer) in ctx.config().layers() {
        let Some(section) = layer.section("tags") else {
            continue;
        };
        for item in &section.items {
            let name = item.key.trim_start_matches('@');
            if matches!(item.node, Node::Section(_)) && !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
    }
    for name in names {
        ctx.terminal().line(&name);
    }
    Ok(())
}
