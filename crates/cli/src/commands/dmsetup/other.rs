//! The rest: help, versions, names, and what has no effect here.

use ulvm::daemon::dm::Refusal;
use ulvm::error::Result;
use ulvm_engine::target::{REGISTRY, TargetType};

use super::change::each;
use super::failed;
use super::report;
use super::session::{Session, ioctl};
use crate::args::Opt;

/// `help`
pub fn help(session: &Session<'_>, _: &[&str]) -> Result<()> {
    session.put(&format!("{}\n", super::usage()));
    if session.has(Opt::DmColumns) {
        session.put(&format!("\n{}", report::list()));
    }
    Ok(())
}

/// `version`
pub fn version(session: &Session<'_>, _: &[&str]) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    session.put(&format!(
        "Library version:   {version}\nDriver version:    {version} (ulvm)\n"
    ));
    Ok(())
}

fn line(target: &TargetType) -> String {
    let [major, minor, patch] = target.version;
    format!("{:<16} v{major}.{minor}.{patch}\n", target.name)
}

/// `targets`
pub fn targets(session: &Session<'_>, _: &[&str]) -> Result<()> {
    session.put(&REGISTRY.iter().map(line).collect::<String>());
    Ok(())
}

/// `target-version`
pub fn target_version(session: &Session<'_>, names: &[&str]) -> Result<()> {
    for name in names {
        let Some(target) = REGISTRY.iter().find(|t| t.name == *name) else {
            return Err(ioctl("target-version", name, &Refusal::invalid()));
        };
        session.put(&line(target));
    }
    Ok(())
}

/// `splitname`
pub fn splitname(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let subsystem = operands.get(1).copied().unwrap_or("LVM");
    let name = operands.first().copied().unwrap_or_default();
    report::splitname(session, name, subsystem)
}

/// `mangle`: names are never kept in another form here.
pub fn mangle(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let all = match operands {
        [] => session.all()?,
        _ => {
            let targets = session.targets(operands)?;
            let found = targets.iter().map(|t| session.need("info", t));
            found.collect::<Result<Vec<_>>>()?
        }
    };
    for device in all {
        let (uuid, also) = match device.uuid.as_str() {
            "" => ("[no UUID]", ""),
            uuid => (uuid, "and UUID "),
        };
        session.put(&format!(
            "{}: {uuid}: name {also}already in correct form\n",
            device.name
        ));
    }
    Ok(())
}

/// `mknodes`: makes links again that are gone.
pub fn mknodes(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let devices = match operands {
        [] => session.all()?,
        _ => {
            let targets = session.targets(operands)?;
            let found = targets.iter().map(|t| session.need("mknodes", t));
            found.collect::<Result<Vec<_>>>()?
        }
    };
    session.make_links(devices.into_iter().map(|d| d.name).collect())
}

/// `setgeometry`: there is no geometry here, and nobody who would read one.
pub fn setgeometry(session: &Session<'_>, operands: &[&str]) -> Result<()> {
    let (name, numbers) = operands.split_at(1);
    if numbers.iter().any(|n| n.parse::<u64>().is_err()) {
        return Err(failed("Invalid geometry."));
    }
    each(session, name, |target| {
        session.need("setgeometry", target).map(drop)
    })
}

/// `stats`
pub fn stats(_: &Session<'_>, _: &[&str]) -> Result<()> {
    Err(failed("stats is not supported: see ulvm daemon --status."))
}
