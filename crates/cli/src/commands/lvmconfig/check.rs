//! `--validate`

use ulvm::config::defaults::{SETTINGS, Setting, Type, find};
use ulvm::error::{Error, Result};
use ulvm_metadata::tree::Value;

use super::flatten;
use crate::context::Context;

/// Says which settings are unknown or of a wrong type.
pub fn run(ctx: &Context) -> Result<()> {
    let mut good = true;
    for (_, layer) in ctx.config().layers() {
        flatten(layer, "", &mut |path, value| {
            if let Some(complaint) = complaint(&path, value) {
                ctx.ui().error(complaint);
                good = false;
            }
        });
    }
    if good {
        ctx.terminal().line("LVM configuration valid.");
        return Ok(());
    }
    ctx.ui().error("LVM configuration invalid.");
    Err(Error::reported())
}

fn complaint(path: &str, value: &Value) -> Option<String> {
    if path.starts_with("tags/") {
        return None;
    }
    match find(path) {
        Some(setting) => wrong_type(setting, value),
        None => {
            let section = path.split('/').next().unwrap_or(path);
            let known = SETTINGS
                .iter()
                .any(|s| s.path.split('/').next() == Some(section));
            Some(if known {
                format!("Configuration setting \"{path}\" unknown.")
            } else {
                format!("Configuration section \"{section}\" unknown.")
            })
        }
    }
}

fn wrong_type(setting: &Setting, value: &Value) -> Option<String> {
    let found = match value {
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Str(_) => "string",
        Value::Array(_) => "array",
    };
    let (good, expected) = match (setting.ty, value) {
        (Type::Bool, Value::Int(_) | Value::Str(_)) => (true, ""),
        (Type::Bool, _) => (false, "boolean"),
        (Type::Int, Value::Int(_)) => (true, ""),
        (Type::Int, _) => (false, "integer"),
        (Type::Str, Value::Str(_)) => (true, ""),
        (Type::Str, _) => (false, "string"),
        (Type::List, Value::Array(_) | Value::Str(_)) => (true, ""),
        (Type::List, _) => (false, "array"),
    };
    (!good).then(|| {
        format!(
            "WARNING: Configuration setting \"{}\" has invalid type. Found {found} but expected {expected}.",
            setting.path
        )
    })
}
