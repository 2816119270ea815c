//! pvmove

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use ulvm::activate::live::Live;
use ulvm::error::{Error, Kind, Result};
use ulvm::host;
use ulvm::inventory::{DevKey, VgRead};
use ulvm::pvmove::{self, Mover};
use ulvm::session::{Allow, RandomIds, Session};
use ulvm_metadata::model::{AllocPolicy, Creation, LvKey, PvKey, Vg};
use ulvm_metadata::notice::Notice;
use ulvm_metadata::ops::lv_tree::full_name;
use ulvm_metadata::ops::pv_args::PvArg;
use ulvm_metadata::ops::pvmove as ops;

use super::lv_activation::live;
use super::lv_args::{Name, alloc_config, invalid, parse_name, pv_args, usage};
use super::lv_mirror_args::configured_region;
use super::vg_args::done;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::exit::Worst;

/// Options that say what a new move is like.
const OF_A_NEW_ONE: &[Opt] = &[Opt::Name, Opt::Alloc, Opt::Atomic];

/// Moves extents to other physical volumes, goes on with moves, or gives them up.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    let interval = interval(ctx, args)?;
    let abort = args.has(Opt::Abort);
    let operands = args.operands();
    if operands.iter().take(1).any(|o| o.starts_with('@')) {
        return Err(usage("pvmove", "Tags cannot be used with this command."));
    }
    if let (true, Some(extra)) = (abort, operands.get(1)) {
        let text = format!("Command does not accept argument: {extra}.");
        return Err(Error::usage(text));
    }
    let refused = OF_A_NEW_ONE.iter().find(|o| args.has(**o));
    if let (Some(opt), true) = (refused, operands.is_empty() || abort) {
        let value = args.text(*opt).map_or(String::new(), |v| format!(" {v}"));
        let text = format!(
            "Command does not accept option: --{}{value}.",
            opt.spec().long
        );
        return Err(Error::usage(text));
    }
    let how = How { abort, interval };
    let away = args.has(Opt::Background) && !abort && !ctx.settings().test;
    match operands {
        [] if away => in_background(args, None),
        [] => every_one(ctx, how),
        [from, ..] if abort => {
            let mut session = ctx.session()?;
            let pv = Source::find(&mut session, from)?;
            pv.abort(ctx, &mut session)
        }
        [from, to @ ..] => one(ctx, args, (from, to), how),
    }
}

/// What is done with a mover.
#[derive(Clone, Copy)]
struct How {
    abort: bool,
    /// How often to tell how far it is; `None` = not at all.
    interval: Option<Duration>,
}

/// `--interval`, or what is configured.
fn interval(ctx: &Context, args: &Args) -> Result<Option<Duration>> {
    let seconds = match args.text(Opt::Interval) {
        None => u64::try_from(ctx.config().int("activation/polling_interval")).unwrap_or(15),
        Some(text) => {
            let number = text.strip_prefix('+').unwrap_or(text);
            number
                .parse::<u32>()
                .map(u64::from)
                .map_err(|_| invalid(Opt::Interval, text, None))?
        }
    };
    Ok(Some(Duration::from_secs(seconds.max(1))))
}

/// The PV that is to be emptied.
struct Source {
    /// What it is called.
    name: String,
    /// From the first `:` behind the name on.
    ranges: String,
    device: DevKey,
    /// The VG it belongs to.
    vg: String,
}

impl Source {
    fn find(session: &mut Session, operand: &str) -> Result<Self> {
        let (name, device) = device(session, operand)?;
        session.scan()?;
        let inventory = session.inventory();
        let of = inventory.vgs.iter().find(|vg| key_of(vg, device).is_some());
        let Some(vg) = of else {
            let text = format!("Failed to find physical volume \"{name}\".");
            return Err(Error::not_found(text));
        };
        if vg.vg.status.exported {
            let text = format!("Cannot use PV {name} in exported VG {}.", vg.vg.name);
            return Err(Error::refused(text));
        }
        Ok(Self {
            vg: vg.vg.name.clone(),
            ranges: operand[name.len()..].to_owned(),
            name,
            device,
        })
    }

    fn abort(&self, ctx: &Context, session: &mut Session) -> Result<()> {
        let read = session.vg_for_write(&self.vg, Allow::default())?;
        let found = key_of(&read, self.device).and_then(|pv| ops::mover_of(&read.vg, pv));
        match found {
            Some(key) => {
                let mover = Mover::of(session, &read, key);
                pvmove::abort(session, &mut live(ctx, false)?, &mover)
            }
            None => {
                session.ui().print(format!(
                    "{}: No pvmove in progress - already finished or aborted.",
                    self.name
                ));
                session.unlock_all();
                pvmove::tidy(session, &self.vg)
            }
        }
    }
}

/// The longest beginning of an operand, up to a colon, that names a device.
fn device(session: &mut Session, operand: &str) -> Result<(String, DevKey)> {
    let mut ends: Vec<usize> = operand.match_indices(':').map(|(at, _)| at).collect();
    ends.push(operand.len());
    for end in ends.iter().rev() {
        if let Ok(key) = session.name_device(&operand[..*end]) {
            return Ok((operand[..*end].to_owned(), key));
        }
    }
    let name = operand.split(':').next().unwrap_or(operand);
    let text = format!("Cannot use {name}: device not found");
    Err(Error::not_found(text))
}

fn key_of(read: &VgRead, device: DevKey) -> Option<PvKey> {
    let mut keys = read.vg.pvs.keys();
    keys.find(|key| read.pv(*key).device() == Some(device))
}

/// Goes on with a PV's move, or begins one.
fn one(ctx: &Context, args: &Args, (from, to): (&str, &[String]), how: How) -> Result<()> {
    let away = args.has(Opt::Background) && !ctx.settings().test;
    let mut session = ctx.session()?;
    // Whatever is wrong with the first operand is said to be wrong usage.
    let source = Source::find(&mut session, from).map_err(as_usage)?;
    let lv = match args.text(Opt::Name) {
        Some(text) => Some(lv_name(text, &source.vg)?),
        None => None,
    };
    let read = session
        .vg_for_write(&source.vg, Allow::default())
        .map_err(|e| cannot_process(ctx, e, &source))?;
    let Some(pv) = key_of(&read, source.device) else {
        let text = format!("Failed to find physical volume \"{}\".", source.name);
        return Err(usage("pvmove", text));
    };
    if let Some(key) = ops::mover_of(&read.vg, pv) {
        let ui = session.ui();
        ui.print(format!("Detected pvmove in progress for {}.", source.name));
        if !to.is_empty() || lv.is_some() {
            ui.warn("Ignoring remaining command line arguments.");
        }
        return match away {
            true => in_background(args, Some(&source.name)),
            false => go_on(ctx, &mut session, &read, key, how),
        };
    }
    let named = pv_args(&session, &read, to)?;
    let from = PvArg {
        pv,
        name: source.name.clone(),
        ranges: source.ranges.clone(),
    };
    let config = alloc_config(ctx);
    let outcome = ops::begin(
        &read.vg,
        &ops::Move {
            from: &from,
            lv: lv.as_deref(),
            to: (!to.is_empty()).then_some(&named),
            alloc: args.text(Opt::Alloc).and_then(AllocPolicy::from_word),
            atomic: args.has(Opt::Atomic),
            region: configured_region(ctx)?,
            creation: Creation {
                time: host::now(),
                host: host::name(),
            },
            config: &config,
        },
        &mut RandomIds,
    );
    let begun = done(&session, outcome)?;
    for user in ops::users(&begun.vg, begun.value) {
        let extents = moving(&begun.vg, user, begun.value);
        session.ui().say(&Notice::verbose(format!(
            "Moving {extents} extents of logical volume {}.",
            full_name(&begun.vg, user)
        )));
    }
    refuse_active(&live(ctx, false)?, &begun.vg, begun.value)?;
    let now = session.commit(&read, begun.vg)?;
    if ctx.settings().test {
        return Ok(());
    }
    if away {
        session.unlock_all();
        return in_background(args, Some(&source.name));
    }
    go_on(ctx, &mut session, &now, begun.value, how)
}

/// Options that another process needs to see the same devices in the same way.
const HANDED_ON: &[Opt] = &[
    Opt::CommandProfile,
    Opt::Config,
    Opt::Devices,
    Opt::DevicesFile,
    Opt::Interval,
];

/// Lets a process of its own go on with the move of a PV, or with all.
fn in_background(args: &Args, pv: Option<&str>) -> Result<()> {
    let failed = |e| Error::io("Cannot go on in the background", e);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("pvmove");
    for opt in HANDED_ON.iter().filter(|opt| args.has(**opt)) {
        for text in args.texts(*opt) {
            command.arg(format!("--{}={text}", opt.spec().long));
        }
    }
    command.args(pv);
    // What it meets is told by the next command, and by `lvs`.
    let null = (Stdio::null(), Stdio::null(), Stdio::null());
    command.stdin(null.0).stdout(null.1).stderr(null.2);
    command.process_group(0).spawn().map(drop).map_err(failed)
}

/// Extents of an LV that lie on a mover.
fn moving(vg: &Vg, user: LvKey, mover: LvKey) -> u64 {
    use ulvm_metadata::model::Area;
    let areas = vg.lvs[user].segments.iter().flat_map(|s| s.areas());
    let on = areas.filter(|(area, _)| matches!(area, Area::Lv { lv, .. } if *lv == mover));
    on.map(|(_, len)| len.get()).sum()
}

fn as_usage(e: Error) -> Error {
    let text = e.lines().join("\n");
    usage("pvmove", text)
}

/// A VG that cannot be changed: its PVs count as not found.
fn cannot_process(ctx: &Context, e: Error, source: &Source) -> Error {
    if e.kind() == Kind::Locked {
        return e;
    }
    for line in e.lines() {
        ctx.ui().error(line);
    }
    let text = format!("Cannot process volume group {}", source.vg);
    if !e.lines().contains(&text) {
        ctx.ui().error(text);
    }
    let text = format!("Failed to find physical volume \"{}\".", source.name);
    usage("pvmove", text)
}

/// `-n LV` or `-n VG/LV`: only the LV's name.
fn lv_name(text: &str, vg: &str) -> Result<String> {
    match parse_name(text).map_err(|e| usage("pvmove", e))? {
        Name::Plain(lv) => Ok(lv),
        Name::Path { vg: of, lv } if of == vg => Ok(lv),
        Name::Path { .. } => Err(usage(
            "pvmove",
            "Named LV and old PV must be in the same VG.\nFailed to find an LV name.",
        )),
    }
}

fn go_on(ctx: &Context, session: &mut Session, read: &VgRead, key: LvKey, how: How) -> Result<()> {
    if ctx.settings().test {
        return Ok(());
    }
    let mover = Mover::of(session, read, key);
    let mut live = live(ctx, false)?;
    session.unlock_all();
    match how.abort {
        true => pvmove::abort(session, &mut live, &mover),
        false => {
            refuse_active(&live, &read.vg, key)?;
            pvmove::carry_out(session, &mut live, &mover, how.interval)
        }
    }
}

/// Every move there is, in the order of VGs and LVs.
fn every_one(ctx: &Context, how: How) -> Result<()> {
    let mut session = ctx.session()?;
    session.scan()?;
    let inventory = session.inventory();
    let readable = inventory.vgs.iter().filter(|vg| !vg.vg.status.exported);
    let names: Vec<String> = readable
        .filter(|vg| !ops::movers(&vg.vg).is_empty() || !ops::leftovers(&vg.vg).is_empty())
        .map(|vg| vg.vg.name.clone())
        .collect();
    let mut worst = Worst::default();
    for name in names {
        let outcome = every_one_of(ctx, &mut session, &name, how);
        session.unlock_all();
        worst.add(ctx.ui(), outcome);
    }
    worst.finish()
}

fn every_one_of(ctx: &Context, session: &mut Session, name: &str, how: How) -> Result<()> {
    let read = session.vg_for_write(name, Allow::default())?;
    let keys = ops::movers(&read.vg);
    let movers: Vec<Mover> = keys
        .iter()
        .map(|key| Mover::of(session, &read, *key))
        .collect();
    session.unlock_all();
    let mut worst = Worst::default();
    for mover in movers {
        let read = session.vg_for_write(name, Allow::default())?;
        let found = read.vg.lvs.iter().find(|(_, lv)| lv.id == mover.lv);
        let outcome = match found.map(|(key, _)| key) {
            Some(key) => go_on(ctx, session, &read, key, how),
            None => Ok(()),
        };
        session.unlock_all();
        worst.add(ctx.ui(), outcome);
    }
    if !ctx.settings().test {
        pvmove::tidy(session, name)?;
    }
    worst.finish()
}

/// The daemon copies under LVs that are active as soon as it runs mirrors under volumes.
fn refuse_active(live: &Live, vg: &Vg, mover: LvKey) -> Result<()> {
    match live.moves(vg, mover) {
        false => Ok(()),
        true => Err(Error::refused(
            "Logical volumes that are to be moved are active; ulvm moves those that are not.",
        )
        .and("Deactivate them first: lvchange -an")),
    }
}
