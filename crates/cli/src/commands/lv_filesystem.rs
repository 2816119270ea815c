//! The file system of an LV that changes its size: `--resizefs`, `--fs`, `--fsmode`.

use std::path::PathBuf;

use ulvm::activate::live::Live;
use ulvm::error::{Error, Result};
use ulvm::filesystem::{
    Change, Filesystem, Handling, Modes, Mounting, Plan, Runner, Situation, of_lv, plan,
};
use ulvm::inventory::VgRead;
use ulvm::session::Session;
use ulvm_metadata::model::LvKey;
use ulvm_metadata::ops::lv_tree::full_name;

use crate::args::{Args, Opt};

/// An empty folder to mount on. It is taken away only while it is empty: what cannot be unmounted
/// from it is the user's.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Still mounted on: it stays.
        drop(std::fs::remove_dir(&self.0));
    }
}

/// How the file system follows.
pub struct Follower {
    plan: Plan,
    runner: Runner,
    /// Where it may be mounted for a while.
    scratch: Option<Scratch>,
    /// What a reduction would cut off, if nothing keeps it from that.
    pub at_stake: Option<Filesystem>,
    /// Its parts that go are given up by the file system first.
    pub kept: bool,
}

impl Follower {
    /// Decides what is to be done, and refuses what cannot be done, before anything is changed.
    pub fn new(
        session: &Session,
        args: &Args,
        live: &Live,
        (read, lv): (&VgRead, LvKey),
        change: Change,
    ) -> Result<Self> {
        let mut follower = Self {
            plan: Plan::default(),
            runner: Runner::default(),
            scratch: None,
            at_stake: None,
            kept: false,
        };
        let reduces = change.new < change.old;
        let asked = handling(args);
        if asked == Some(Handling::Ignore) || asked.is_none() && !reduces {
            return Ok(follower);
        }
        let node = live.find(&read.vg, lv).and_then(|d| d.node.clone());
        let found = of_lv(session, read, lv, node.as_deref());
        let Some(handling) = asked else {
            // Nobody asked for more than a look; what cannot be read cannot be named.
            let found = found.ok().flatten();
            let reaches = |fs: &Filesystem| fs.size.is_none_or(|size| size > change.new);
            follower.at_stake = found.filter(reaches);
            return Ok(follower);
        };
        let name = full_name(&read.vg, lv);
        let node = node.ok_or_else(|| {
            Error::refused(format!(
                "Logical volume {name} must be activated before resizing filesystem."
            ))
        })?;
        let Some(found) = found? else {
            session
                .ui()
                .print(format!("No file system found on {name}."));
            return Ok(follower);
        };
        follower.kept = true;
        follower.plan(args, (node, &found), change, handling)?;
        Ok(follower)
    }

    fn plan(
        &mut self,
        args: &Args,
        (node, found): (PathBuf, &Filesystem),
        change: Change,
        handling: Handling,
    ) -> Result<()> {
        let situation = Situation::of(&node)
            .map_err(|e| Error::io(format!("look at {}", node.display()), e))?;
        let scratch = tempfile::Builder::new()
            .prefix("ulvm-resize-")
            .tempdir()
            .map_err(|e| Error::io("make a folder to mount on", e))?;
        let scratch = Scratch(scratch.keep());
        let modes = Modes {
            handling,
            mounting: mounting(args),
            check: !args.has(Opt::Nofsck),
        };
        self.plan = plan(&node, found, &situation, change, modes, &scratch.0)
            .map_err(|no| Error::refused(no.0))?;
        self.scratch = Some(scratch);
        Ok(())
    }

    /// Before the LV changes. If this fails all is as it was.
    pub fn before(&mut self, session: &Session) -> Result<()> {
        match session.settings().test {
            true => Ok(()),
            false => self.runner.run(&self.plan.before, session.ui()),
        }
        .map_err(|e| self.undo(session, e))
    }

    /// The LV has its new size.
    pub fn after(&mut self, session: &Session) -> Result<()> {
        match session.settings().test {
            true => Ok(()),
            false => self.runner.run(&self.plan.after, session.ui()),
        }
        .map_err(|e| {
            let left: Vec<String> = self.plan.after.iter().map(ToString::to_string).collect();
            let text = "The volume has its new size, its file system has not. To do:";
            self.undo(session, e.and(format!("{text} {}", left.join("; "))))
        })
    }

    /// It goes no further, because of `why`: what was unmounted is mounted again.
    pub fn undo(&mut self, session: &Session, why: Error) -> Error {
        self.runner.restore(why, session.ui())
    }
}

fn handling(args: &Args) -> Option<Handling> {
    match args.text(Opt::Fs) {
        Some("ignore") => Some(Handling::Ignore),
        Some("checksize") => Some(Handling::Check),
        Some("resize_fsadm") => Some(Handling::Fsadm),
        Some(_) => Some(Handling::Resize),
        None => args.has(Opt::ResizeFs).then_some(Handling::Resize),
    }
}

fn mounting(args: &Args) -> Mounting {
    match args.text(Opt::FsMode) {
        Some("nochange") => Mounting::Keep,
        Some("offline") => Mounting::Offline,
        _ => Mounting::Manage,
    }
}
