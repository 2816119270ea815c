//! `pvscan --cache` and `--listvg`: what an event about a device leads to. Records the PV in ulvm's own
//! files, says which VG is ready, and has it activated.

use std::path::Path;

use ulvm::activate::lists;
use ulvm::discover;
use ulvm::error::{Error, Result};
use ulvm::online::{Members, Online, Progress, PvOnline};
use ulvm::session::Session;
use ulvm::session::appear::{Appeared, PvAppeared};
use ulvm_metadata::ops::lv_tree::{full_name, is_visible};

use super::super::lv_activation::EVENT;
use super::super::vgchange;
use crate::args::{Args, Opt};
use crate::context::Context;
use crate::exit::Worst;

/// A device of the command line.
struct Target {
    /// As it was typed.
    name: String,
    number: (u32, u32),
}

/// What is to be done, from options that go together.
struct Job<'a> {
    ctx: &'a Context,
    online: Online,
    /// `--listvg` or `--listlvs`
    list: bool,
    list_lvs: bool,
    check_complete: bool,
    vg_online: bool,
    udev: bool,
    record: bool,
    activate: bool,
    all: bool,
}

/// `pvscan --cache`, `--listvg`, `--listlvs`.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    check_options(args)?;
    if let Some(word) = args.text(Opt::Autoactivation)
        && word != EVENT
    {
        say(ctx, "Skip pvscan for unknown autoactivation value.");
        return Ok(());
    }
    let list = args.has(Opt::ListVg) || args.has(Opt::ListLvs);
    if !ctx.config().bool("global/event_activation") && args.has(Opt::Cache) {
        if args.has(Opt::Udevoutput) {
            ctx.terminal().put("LVM_EVENT_ACTIVATION=0\n");
        }
        return Ok(());
    }
    let targets = targets(ctx, args)?;
    let job = Job {
        ctx,
        online: Online::new(&ctx.settings().env.run_dir()),
        list,
        list_lvs: args.has(Opt::ListLvs),
        check_complete: args.has(Opt::Checkcomplete),
        vg_online: args.has(Opt::Vgonline),
        udev: args.has(Opt::Udevoutput),
        record: args.has(Opt::Cache) && !ctx.settings().test,
        activate: args.has(Opt::Activate),
        all: targets.is_none(),
    };
    job.run(args, targets)
}

/// A line of `pvscan`, with the number of the process as LVM2 has it.
fn say(ctx: &Context, text: &str) {
    let pid = std::process::id();
    ctx.ui().print(format!("pvscan[{pid}] {text}"));
}

/// Which options go together.
fn check_options(args: &Args) -> Result<()> {
    let refuse = |opt: Opt| {
        let value = args.text(opt).map(|v| format!(" {v}")).unwrap_or_default();
        let long = opt.spec().long;
        Err(Error::usage(format!(
            "Command does not accept option: --{long}{value}."
        )))
    };
    let list = [Opt::ListVg, Opt::ListLvs]
        .into_iter()
        .find(|o| args.has(*o));
    let cache = args.has(Opt::Cache);
    let a_device = !args.operands().is_empty() || args.has(Opt::Major) || args.has(Opt::Minor);
    if args.has(Opt::Activate) && (!cache || args.text(Opt::Activate) != Some("ay")) {
        return refuse(Opt::Activate);
    }
    if let Some(list) = list.filter(|_| !a_device) {
        return refuse(list);
    }
    if let (Some(_), Some(second)) = (list, args.operands().get(1)) {
        return Err(Error::usage(format!(
            "Command does not accept argument: {second}."
        )));
    }
    for of_list in [Opt::Checkcomplete, Opt::Vgonline] {
        if args.has(of_list) && (!cache || list.is_none()) {
            return refuse(of_list);
        }
    }
    // LVM2 says nothing here.
    let udev_fits = cache && list == Some(Opt::ListVg);
    if args.has(Opt::Udevoutput) && !udev_fits {
        return Err(Error::usage(""));
    }
    if args.has(Opt::Major) != args.has(Opt::Minor) {
        return Err(Error::usage(
            "Both --major and --minor required to identify devices.\nRun `pvscan --help' for more information.",
        ));
    }
    Ok(())
}

/// The devices that are named; none if all are meant.
fn targets(ctx: &Context, args: &Args) -> Result<Option<Vec<Target>>> {
    let mut found = Vec::new();
    if let (Some(major), Some(minor)) = (args.number(Opt::Major), args.number(Opt::Minor)) {
        let number = |n: i64| u32::try_from(n).map_err(|_| Error::usage(format!("No number: {n}")));
        found.push(Target {
            name: String::new(),
            number: (number(major)?, number(minor)?),
        });
    }
    for operand in args.operands() {
        found.push(Target {
            name: operand.clone(),
            number: number_of(ctx, operand),
        });
    }
    Ok((!found.is_empty()).then_some(found))
}

/// Of a path or `MAJOR:MINOR`; 0:0, which no device has, if there is none.
fn number_of(ctx: &Context, operand: &str) -> (u32, u32) {
    let two = operand.split_once(':');
    if let Some((Ok(major), Ok(minor))) = two.map(|(a, b)| (a.parse(), b.parse())) {
        return (major, minor);
    }
    match discover::block_number(Path::new(operand)) {
        Ok(Some(number)) => return number,
        Ok(None) => ctx.ui().error(format!("Invalid device type {operand}.")),
        Err(_) => {
            let text = format!("Cannot access device {operand} for 0:0.");
            ctx.ui().error(text);
        }
    }
    (0, 0)
}

impl Job<'_> {
    fn run(&self, args: &Args, targets: Option<Vec<Target>>) -> Result<()> {
        let mut session = self.ctx.session()?;
        let targets = match targets {
            Some(targets) => targets,
            None => {
                if self.record {
                    self.online.forget_pvs()?;
                }
                let all = session.block_devices()?.into_iter();
                all.map(|(name, number)| Target { name, number }).collect()
            }
        };
        // VGs that became ready, each once.
        let mut ready: Vec<String> = Vec::new();
        for target in &targets {
            if let Some(vg) = self.device(&mut session, target)?
                && !ready.contains(&vg)
            {
                ready.push(vg);
            }
        }
        drop(session);
        let mut worst = Worst::default();
        for vg in ready.iter().filter(|_| self.activate) {
            if !self.online.mark(vg)? {
                self.say(&format!("VG {vg} skip autoactivation."));
                continue;
            }
            self.say(&format!("VG {vg} run autoactivation."));
            worst.add(
                self.ctx.ui(),
                vgchange::activate_by_event(self.ctx, args, vg),
            );
        }
        worst.finish()
    }

    fn say(&self, text: &str) {
        if !self.udev {
            say(self.ctx, text);
        }
    }

    /// Looks at one device; gives the VG that is ready with it.
    fn device(&self, session: &mut Session, target: &Target) -> Result<Option<String>> {
        match session.appeared(target.number)? {
            Appeared::NoDevice => {
                let (major, minor) = target.number;
                if target.name.is_empty() || target.name.starts_with(|c: char| c.is_ascii_digit()) {
                    self.ctx
                        .ui()
                        .error(format!("No device name found from {major}:{minor}."));
                }
                if self.record && target.number != (0, 0) {
                    self.online.forget(target.number)?;
                }
                let path = match target.name.starts_with('/') {
                    true => target.name.as_str(),
                    false => "",
                };
                self.say(&format!("No device set up for arg {path} {major}:{minor}"));
            }
            Appeared::Excluded { name, why } => {
                if !self.all {
                    self.say(&format!("{name} excluded: {why}."));
                }
            }
            Appeared::NotLabelled { name } => {
                if !self.all {
                    self.say(&format!("{name} not an lvm device."));
                }
            }
            Appeared::NotUsed { name } => self.say(&format!("PV {name} not used.")),
            Appeared::Pv(pv) => return self.pv(&pv),
        }
        Ok(None)
    }

    fn pv(&self, pv: &PvAppeared) -> Result<Option<String>> {
        let name = &pv.name;
        if let Some(read) = &pv.vg {
            let other = match (read.vg.status.exported, read.foreign) {
                (true, _) => Some("exported"),
                (_, true) => Some("foreign"),
                _ => None,
            };
            if let Some(other) = other {
                self.say(&format!("PV {name} ignore {other} VG."));
                return Ok(None);
            }
        } else {
            self.say(&format!("PV {name} has no VG metadata."));
        }
        if self.record {
            let file = PvOnline {
                number: pv.number,
                vg: pv.vg.as_ref().map(|read| read.vg.name.clone()),
                device: name.clone(),
            };
            self.online.record(&pv.id, &file)?;
        }
        let Some((vg, progress)) = self.progress(pv)? else {
            if self.activate || self.check_complete {
                self.say(&format!("PV {name} online, VG unknown."));
            } else if !self.list {
                self.say(&format!("PV {name} online."));
            }
            self.list_vg("unknown", None, pv);
            return Ok(None);
        };
        match progress {
            _ if !self.activate && !self.check_complete => {
                if !self.list {
                    self.say(&format!("PV {name} online."));
                }
            }
            Progress { absent: 0, .. } => {
                self.say(&format!("PV {name} online, VG {vg} is complete."));
            }
            Progress { needed: 0, absent } => self.say(&format!(
                "PV {name} online, VG {vg} has what its LVs need ({absent} other PVs absent)."
            )),
            Progress { absent, .. } => self.say(&format!(
                "PV {name} online, VG {vg} incomplete (need {absent})."
            )),
        }
        let ready = progress.needed == 0;
        let first = match self.vg_online && ready && self.record {
            true => self.online.mark(&vg)?,
            false => true,
        };
        self.list_vg(&vg, Some((ready, first)), pv);
        Ok(ready.then_some(vg))
    }

    /// The VG of a PV and how far it is; none if it is not known.
    fn progress(&self, pv: &PvAppeared) -> Result<Option<(String, Progress)>> {
        let wanted = self.activate || self.check_complete || self.vg_online;
        let (vg, members) = match &pv.vg {
            Some(read) => {
                let needed = lists::needed_by_event(self.ctx.config(), &read.vg);
                let members = Members::of(&read.vg, &needed);
                let noted = match self.record && wanted {
                    true => self.online.note(&read.vg.name, members)?,
                    false => members,
                };
                (read.vg.name.clone(), noted)
            }
            None if !wanted => return Ok(None),
            None => match self.online.vg_of(&pv.id) {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        let progress = self.online.progress(&members);
        Ok(Some((vg, progress)))
    }

    /// What `--listvg` and `--listlvs` print; `state`: the VG is ready, and this is the first to tell.
    fn list_vg(&self, vg: &str, state: Option<(bool, bool)>, pv: &PvAppeared) {
        if !self.list {
            return;
        }
        let out = self.ctx.terminal();
        let state = state.filter(|_| self.check_complete);
        if self.udev {
            let word = match state {
                Some((true, true)) => "COMPLETE",
                Some((false, _)) => "INCOMPLETE",
                _ => return,
            };
            out.put(&format!("LVM_VG_NAME_{word}='{vg}'\n"));
            return;
        }
        let word = match state {
            Some((true, true)) => " complete",
            Some((true, false)) => " finished",
            Some((false, _)) => " incomplete",
            None => "",
        };
        out.line(&format!("VG {vg}{word}"));
        match &pv.vg {
            Some(read) if self.list_lvs => {
                let vg = &read.vg;
                for lv in vg.lvs.keys().filter(|lv| is_visible(vg, *lv)) {
                    let word = if word == " finished" {
                        " complete"
                    } else {
                        word
                    };
                    out.line(&format!("LV {}{word}", full_name(vg, lv)));
                }
            }
            None if self.list_lvs => self.say("Cannot list LVs from device without metadata."),
            _ => {}
        }
    }
}
