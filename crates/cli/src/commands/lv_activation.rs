//! Activating and deactivating, as the options of several commands ask for it.

use ulvm::activate::lists;
use ulvm::activate::live::{Activation, Live, Place};
use ulvm::activate::plan::{self, Filler, Missing};
use ulvm::daemon::proto::Export;
use ulvm::daemon::ublk;
use ulvm::error::{Error, Kind, Result};
use ulvm::inventory::VgRead;
use ulvm::session::Session;
use ulvm_metadata::model::{LvKey, Vg};
use ulvm_metadata::notice::Notice;
use ulvm_metadata::ops::lv_tree::full_name;

use super::content::missing;
use super::vgcreate::dev_dir;
use crate::args::{Args, Opt};
use crate::context::Context;

/// The word of `--autoactivation`: activation is asked for by an event.
pub const EVENT: &str = "event";

/// What a word of `--activate` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Active.
    On,
    /// Active, if it is one of those that are activated by themselves.
    Auto,
    /// The same, by an event: what is missing may come with another.
    Event,
    /// Not active.
    Off,
}

/// `--activate`, or its old name.
pub fn wanted(args: &Args) -> Option<Wanted> {
    let word = args
        .text(Opt::Activate)
        .or_else(|| args.text(Opt::Available))?;
    Some(match word {
        word if word.contains('n') => Wanted::Off,
        word if word.starts_with('a') && word.ends_with('y') => Wanted::Auto,
        _ => Wanted::On,
    })
}

/// What is live; nothing with `--driverloaded n` or `--test`, with which nothing is activated.
pub fn live(ctx: &Context, open: bool) -> Result<Live> {
    let settings = ctx.settings();
    if !ctx.driver_loaded() || settings.test {
        return Ok(Live::off());
    }
    let run_dir = settings.env.run_dir();
    let dev_dir = match (&settings.env.dev_dir, settings.env.root) {
        (None, false) => run_dir.join("dev"),
        _ => dev_dir(ctx),
    };
    Live::read(Place { run_dir, dev_dir }, open)
}

/// Activates an LV, unless it is marked to be left alone.
pub fn activate(
    ctx: &Context,
    args: &Args,
    live: &mut Live,
    session: &Session,
    read: &VgRead,
    (lv, wanted): (LvKey, Wanted),
) -> Result<()> {
    let flags = &read.vg.lvs[lv].flags;
    let alone = flags.no_autoactivate || read.vg.flags.no_autoactivate;
    let by_itself = matches!(wanted, Wanted::Auto | Wanted::Event);
    let (config, vg, name) = (ctx.config(), &*read.vg, || full_name(&read.vg, lv));
    let alone = alone || !lists::by_itself(config, vg, &vg.lvs[lv]);
    if by_itself && alone {
        return Ok(());
    }
    if !lists::may_activate(config, vg, &vg.lvs[lv]) {
        session.ui().verbose(format!(
            "Not activating {} since it does not pass activation filter.",
            name()
        ));
        return Ok(());
    }
    if flags.activation_skip && !args.has(Opt::IgnoreActivationSkip) {
        session.ui().verbose(format!(
            "ACTIVATION_SKIP flag set for LV {}, skipping activation.",
            name()
        ));
        return Ok(());
    }
    let how = Activation {
        export: export(ctx, args),
        missing: match wanted {
            Wanted::Event if !args.has(Opt::ActivationMode) => Missing::Refuse,
            _ => missing(ctx, args, Filler::Error),
        },
        read_only: lists::read_only(config, vg, &vg.lvs[lv]),
    };
    live.activate(session, read, lv, how)
}

/// Are PVs missing that an LV lies on?
pub fn lacks(read: &VgRead, lv: LvKey) -> bool {
    let planned = plan::plan(&read.vg, lv, &|pv| read.pv(pv).missing, Missing::Refuse);
    matches!(planned, Err(plan::PlanError::Missing { .. }))
}

/// `--export`, else a block device for root and a file for others.
fn export(ctx: &Context, args: &Args) -> Export {
    match args.text(Opt::Export) {
        Some("loop") => Export::Loop,
        Some("fuse") => Export::Fuse,
        Some("nbd") => Export::Nbd,
        Some("ublk") => Export::Ublk,
        _ if ctx.settings().env.root && ublk::usable() => Export::Ublk,
        _ if ctx.settings().env.root => Export::Loop,
        _ => Export::Fuse,
    }
}

/// Before an LV goes: it must not be open, and is deactivated once the user has agreed.
pub fn before_removal(
    session: &Session,
    live: &mut Live,
    vg: &Vg,
    lv: LvKey,
    force: bool,
) -> Result<()> {
    if live.find(vg, lv).is_none() {
        return Ok(());
    }
    let name = full_name(vg, lv);
    if live.open(vg, lv)? {
        return Err(Error::refused(format!("Logical volume {name} in use.")));
    }
    let question = format!("Do you really want to remove active logical volume {name}?");
    if !force && !session.ui().ask(&question) {
        let text = format!("Logical volume {name} not removed.");
        return Err(Error::new(Kind::Declined, text));
    }
    live.deactivate(vg, lv)
}

/// Commits other names of LVs or of the VG. Live devices have them before, and get their old ones
/// back if the commit fails.
pub fn commit_renamed(
    session: &mut Session,
    live: &mut Live,
    read: &VgRead,
    renamed: Vg,
) -> Result<()> {
    live.rename(&read.vg, &renamed)?;
    let committed = session.commit(read, renamed.clone());
    committed
        .map(drop)
        .map_err(|e| match live.rename(&renamed, &read.vg) {
            Ok(()) => e,
            Err(back) => e.and(back.to_string()),
        })
}

/// How an LV is made smaller.
pub struct Reduction {
    /// The new size, for reading.
    pub size: String,
    /// Something that was found on it would be cut off.
    pub stake: bool,
    /// Nobody is to be asked.
    pub force: bool,
}

/// Before an LV that is active, or carries something, is made smaller: the user is asked.
pub fn before_reduction(
    session: &Session,
    live: &mut Live,
    (vg, lv): (&Vg, LvKey),
    reduction: &Reduction,
) -> Result<()> {
    let Reduction { size, stake, force } = reduction;
    let active = live.find(vg, lv).is_some();
    if !active && !stake {
        return Ok(());
    }
    let (name, ui) = (full_name(vg, lv), session.ui());
    let state = match active && live.open(vg, lv)? {
        true => "active and open ",
        false if active => "active ",
        false => "",
    };
    ui.warn(format!("Reducing {state}logical volume to {size}."));
    ui.say(&Notice::warn_plain(
        "THIS MAY DESTROY YOUR DATA (filesystem etc.)",
    ));
    let question = format!("Do you really want to reduce {name}?");
    match *force || ui.ask(&question) {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Declined,
            format!("Logical volume {name} NOT reduced."),
        )),
    }
}

/// For changes of a VG that its live devices cannot follow.
pub fn vg_must_be_inactive(live: &Live, vg: &Vg) -> Result<()> {
    match live.any_of(vg) {
        false => Ok(()),
        true => Err(Error::refused(format!(
            "Volume group \"{}\" has active logical volumes",
            vg.name
        ))),
    }
}

/// Major numbers are the kernel's choice.
pub fn warn_major(ctx: &Context, args: &Args) {
    if let Some(major) = args.number(Opt::Major).filter(|n| *n != 0) {
        ctx.ui().warn(format!(
            "Ignoring supplied major number {major} - kernel assigns major numbers dynamically. Using major number 0 instead."
        ));
    }
}
