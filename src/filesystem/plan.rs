//! Which tools run, in which order, when a volume changes its size. Pure.
//!
//! What must hold: a file system never ends behind its volume. So it shrinks before the volume does,
//! and grows after; whatever is unmounted for that is mounted again as it was. A file system that cannot follow is an error before anything is changed.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use ulvm_metadata::units::Bytes;

use super::mounted::{Mounted, Situation};
use super::superblock::{Filesystem, Kind};

/// Sizes of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Before.
    pub old: Bytes,
    /// After.
    pub new: Bytes,
}

/// What to do about the file system (`--fs`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handling {
    /// Nothing; nothing is looked at.
    Ignore,
    /// Refuse to cut off a part of it.
    Check,
    /// Resize it, too.
    Resize,
    /// Let the `fsadm` that LVM2 comes with do it.
    Fsadm,
}

/// What may be done about its being mounted (`--fsmode`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mounting {
    /// Mount or unmount as needed, and put it back.
    Manage,
    /// Leave it as it is.
    Keep,
    /// Change it only while it is not mounted.
    Offline,
}

/// The user's choices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Modes {
    /// `--fs`
    pub handling: Handling,
    /// `--fsmode`
    pub mounting: Mounting,
    /// Check an unmounted file system first (not `--nofsck`).
    pub check: bool,
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Mount a device.
    Mount(PathBuf, Mounted),
    /// Unmount it from there.
    Unmount(PathBuf, Mounted),
    /// Swap to a device.
    SwapOn(PathBuf),
    /// No longer swap to it.
    SwapOff(PathBuf),
    /// Run a tool.
    Tool {
        /// Its name.
        program: &'static str,
        /// Its arguments.
        args: Vec<OsString>,
        /// The greatest exit code that means that all is well.
        good: i32,
    },
}

impl Step {
    /// The step that takes this one back, if it is one of those that change how a device is used.
    pub fn inverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::Mount(device, at) => Self::Unmount(device, at),
            Self::Unmount(device, at) => Self::Mount(device, at),
            Self::SwapOn(device) => Self::SwapOff(device),
            Self::SwapOff(device) => Self::SwapOn(device),
            Self::Tool { .. } => return None,
        })
    }

    /// The program and its arguments.
    pub fn command(&self) -> (&'static str, Vec<OsString>) {
        match self {
            Self::Mount(device, at) => {
                let options = ["-o".into(), at.options.clone().into()];
                let places = [device.into(), at.folder.clone().into()];
                ("mount", options.into_iter().chain(places).collect())
            }
            Self::Unmount(_, at) => ("umount", vec![at.folder.clone().into()]),
            Self::SwapOn(device) => ("swapon", vec![device.into()]),
            Self::SwapOff(device) => ("swapoff", vec![device.into()]),
            Self::Tool { program, args, .. } => (program, args.clone()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, args) = self.command();
        f.write_str(program)?;
        for arg in args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

/// What to do around a change of size.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Before the volume changes.
    pub before: Vec<Step>,
    /// After it has changed.
    pub after: Vec<Step>,
}

/// Why the file system cannot follow. The text names the way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotPossible(pub String);

/// Plans a change of size of `device`, which carries `fs` and is used as in `situation`. `scratch`
/// is an empty folder to mount on.
pub fn plan(
    device: &Path,
    fs: &Filesystem,
    situation: &Situation,
    change: Change,
    modes: Modes,
    scratch: &Path,
) -> Result<Plan, NotPossible> {
    let planner = Planner {
        device,
        fs,
        situation,
        change,
        modes,
        scratch,
    };
    match modes.handling {
        Handling::Ignore => Ok(Plan::default()),
        Handling::Fsadm => Ok(planner.fsadm()),
        _ if change.new == change.old || planner.fits() => Ok(Plan::default()),
        Handling::Check if planner.grows() => Ok(Plan::default()),
        Handling::Check => Err(planner.cut_off()),
        Handling::Resize => planner.resize(),
    }
}

/// The kernel resizes btrfs to this or more.
const BTRFS_MIN: Bytes = Bytes(256 << 20);

struct Planner<'a> {
    device: &'a Path,
    fs: &'a Filesystem,
    situation: &'a Situation,
    change: Change,
    modes: Modes,
    scratch: &'a Path,
}

impl Planner<'_> {
    fn grows(&self) -> bool {
        self.change.new > self.change.old
    }

    /// The volume shrinks, and the file system does not reach what goes. What is on disk of one that
    /// is mounted may be older than what it is.
    fn fits(&self) -> bool {
        let known = self.situation.mounts.is_empty() || self.fs.kind != Kind::Xfs;
        known && !self.grows() && self.fs.size.is_some_and(|size| size <= self.change.new)
    }

    fn no<T>(&self, why: impl fmt::Display) -> Result<T, NotPossible> {
        let device = self.device.display();
        Err(NotPossible(format!("{} on {device} {why}", self.fs)))
    }

    fn cut_off(&self) -> NotPossible {
        let size = match self.fs.size {
            Some(size) => format!("has {} bytes", size.0),
            None => "has a size that cannot be told".to_owned(),
        };
        let device = self.device.display();
        NotPossible(format!(
            "{} on {device} {size}, the volume would have {}: use --resizefs to reduce it, too, or \
             --fs ignore to lose it.",
            self.fs, self.change.new.0
        ))
    }

    fn fsadm(&self) -> Plan {
        let size = format!("{}K", self.change.new.0 / 1024);
        let step = tool("fsadm", ["resize".into(), self.device.into(), size.into()]);
        match self.grows() {
            true => Plan {
                after: vec![step],
                ..Plan::default()
            },
            false => Plan {
                before: vec![step],
                ..Plan::default()
            },
        }
    }

    fn resize(&self) -> Result<Plan, NotPossible> {
        match (self.fs.kind, self.grows()) {
            (Kind::Ext, true) => self.grow_ext(),
            (Kind::Ext, false) => self.shrink_ext(),
            (Kind::Xfs | Kind::F2fs, false) => self.no(
                "cannot be made smaller: copy its files to a smaller volume instead.",
            ),
            (Kind::Xfs, true) => self.while_mounted(|folder| tool("xfs_growfs", [folder.into()])),
            (Kind::Btrfs, _) if self.change.new < BTRFS_MIN => {
                self.no("cannot be resized to less than 256 MiB.")
            }
            (Kind::Btrfs, _) => self.while_mounted(|folder| self.btrfs(folder)),
            (Kind::F2fs, true) => {
                let grow = tool("resize.f2fs", [self.device.into()]);
                self.while_unmounted(vec![grow])
            }
            (Kind::Swap, _) => self.swap(),
            (Kind::Crypt, _) => self.no(
                "hides what lies in it: resize the encrypted layer with cryptsetup, and the volume \
                 with --fs ignore.",
            ),
            (Kind::Other, _) => self.no(
                "has no tool here to resize it: resize it by hand, and the volume with --fs ignore.",
            ),
        }
    }

    fn grow_ext(&self) -> Result<Plan, NotPossible> {
        let grow = tool("resize2fs", [self.device.into()]);
        if !self.situation.mounts.is_empty() && self.modes.mounting != Mounting::Offline {
            return Ok(Plan {
                after: vec![grow],
                ..Plan::default()
            });
        }
        let mut steps = self.checked();
        steps.push(grow);
        self.while_unmounted(steps)
    }

    fn shrink_ext(&self) -> Result<Plan, NotPossible> {
        // In KiB, of which no block of ext is a part.
        let size = format!("{}K", self.change.new.0 / 1024);
        let mut steps = self.checked();
        steps.push(tool("resize2fs", [self.device.into(), size.into()]));
        self.while_unmounted(steps)
    }

    /// resize2fs wants an unmounted file system to have been checked.
    fn checked(&self) -> Vec<Step> {
        let check = Step::Tool {
            program: "e2fsck",
            args: vec!["-f".into(), "-p".into(), self.device.into()],
            // 1: faults were found, and mended.
            good: 1,
        };
        self.modes.check.then_some(check).into_iter().collect()
    }

    fn btrfs(&self, folder: &Path) -> Step {
        let size = format!("{}:{}", self.fs.member.unwrap_or(1), self.change.new.0);
        let words = ["filesystem".into(), "resize".into(), size.into()];
        tool("btrfs", words.into_iter().chain([folder.into()]))
    }

    fn swap(&self) -> Result<Plan, NotPossible> {
        let on = self.situation.swapping;
        if on && self.modes.mounting == Mounting::Keep {
            return self.no("is in use: --fsmode manage turns it off for the time of the change.");
        }
        let mut words: Vec<OsString> = Vec::new();
        if let Some(names) = &self.fs.swap {
            words.extend(["-U".into(), names.uuid.clone().into()]);
            if !names.label.is_empty() {
                words.extend(["-L".into(), names.label.clone().into()]);
            }
        }
        words.push(self.device.into());
        let device = || self.device.to_path_buf();
        let off = on.then(|| Step::SwapOff(device()));
        let on = on.then(|| Step::SwapOn(device()));
        Ok(Plan {
            before: off.into_iter().collect(),
            after: std::iter::once(tool("mkswap", words)).chain(on).collect(),
        })
    }

    /// With the step at the side of the change where the file system never ends behind the volume.
    fn while_mounted(&self, step: impl Fn(&Path) -> Step) -> Result<Plan, NotPossible> {
        let steps = match (self.situation.mounts.first(), self.modes.mounting) {
            (Some(_), Mounting::Offline) => {
                return self
                    .no("can be resized only while it is mounted: --fsmode manage or nochange.");
            }
            (Some(mounted), _) => vec![step(&mounted.folder)],
            (None, Mounting::Manage) => {
                let at = Mounted {
                    folder: self.scratch.into(),
                    options: "rw".into(),
                    whole: true,
                };
                let unmount = Step::Unmount(self.device.into(), at.clone());
                let mount = Step::Mount(self.device.into(), at);
                vec![mount, step(self.scratch), unmount]
            }
            (None, _) => {
                return self
                    .no("can be resized only while it is mounted: mount it, or --fsmode manage.");
            }
        };
        Ok(match self.grows() {
            true => Plan {
                after: steps,
                ..Plan::default()
            },
            false => Plan {
                before: steps,
                ..Plan::default()
            },
        })
    }

    fn while_unmounted(&self, mut steps: Vec<Step>) -> Result<Plan, NotPossible> {
        let mut plan = Plan::default();
        match (self.situation.mounts.as_slice(), self.modes.mounting) {
            ([], _) => {}
            (_, Mounting::Keep) => {
                return self.no(
                    "is mounted and has to be unmounted for this: --fsmode manage or offline.",
                );
            }
            ([at], _) if !at.whole => {
                return self.no(format_args!(
                    "is mounted in part on {} and has to be unmounted for this: unmount it.",
                    at.folder.display()
                ));
            }
            ([at], _) => {
                let device = || self.device.to_path_buf();
                plan.before.push(Step::Unmount(device(), at.clone()));
                plan.after.push(Step::Mount(device(), at.clone()));
            }
            ([_, second, ..], _) => {
                let folder = second.folder.display();
                return self.no(format_args!(
                    "is mounted more than once and has to be unmounted for this: unmount {folder}."
                ));
            }
        }
        match self.grows() {
            true => {
                steps.append(&mut plan.after);
                plan.after = steps;
            }
            false => plan.before.append(&mut steps),
        }
        Ok(plan)
    }
}

fn tool(program: &'static str, args: impl IntoIterator<Item = OsString>) -> Step {
    Step::Tool {
        program,
        args: args.into_iter().collect(),
        good: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::superblock::SwapNames;

    const OLD: u64 = 1 << 30;

    fn filesystem(kind: Kind) -> Filesystem {
        Filesystem {
            kind,
            name: "fs",
            size: Some(Bytes(OLD)),
            member: Some(3),
            swap: (kind == Kind::Swap).then(|| SwapNames {
                uuid: "u".into(),
                label: "l".into(),
            }),
        }
    }

    fn situation(mounts: usize, swapping: bool) -> Situation {
        let mounted = |n| Mounted {
            folder: format!("/mnt/{n}").into(),
            options: "rw,noatime".into(),
            whole: true,
        };
        Situation {
            mounts: (0..mounts).map(mounted).collect(),
            swapping,
        }
    }

    fn planned(
        kind: Kind,
        situation: &Situation,
        new: u64,
        modes: Modes,
    ) -> Result<Plan, NotPossible> {
        let change = Change {
            old: Bytes(OLD),
            new: Bytes(new),
        };
        let scratch = Path::new("/scratch");
        plan(
            Path::new("/dev/x"),
            &filesystem(kind),
            situation,
            change,
            modes,
            scratch,
        )
    }

    /// How a device is used after some steps; panics at a step that cannot be.
    fn follow(state: &mut Situation, steps: &[Step], mounting: Mounting) -> usize {
        let mut resized = 0;
        for step in steps {
            match step {
                Step::Mount(_, at) => {
                    assert!(mounting != Mounting::Keep && !state.mounts.contains(at));
                    state.mounts.push(at.clone());
                }
                Step::Unmount(_, at) => {
                    assert!(mounting != Mounting::Keep);
                    let n = state.mounts.iter().position(|m| m == at).unwrap();
                    state.mounts.remove(n);
                }
                Step::SwapOn(_) => assert!(!std::mem::replace(&mut state.swapping, true)),
                Step::SwapOff(_) => assert!(std::mem::replace(&mut state.swapping, false)),
                Step::Tool { program, .. } => {
                    let mounted = !state.mounts.is_empty();
                    match *program {
                        "e2fsck" => assert!(!mounted),
                        "mkswap" => assert!(!state.swapping),
                        "xfs_growfs" | "btrfs" => assert!(mounted),
                        "resize.f2fs" => assert!(!mounted),
                        "resize2fs" => assert!(!mounted || mounting != Mounting::Offline),
                        other => panic!("{other}"),
                    }
                    resized += usize::from(*program != "e2fsck");
                }
            }
        }
        resized
    }

    /// Of every kind, mounted or not, by every mode, larger and smaller: what is planned can be done,
    /// resizes once and on the right side of the change, and leaves the device used as before.
    #[test]
    fn every_plan_can_be_carried_out() {
        let mut possible = 0;
        for kind in [
            Kind::Ext,
            Kind::Xfs,
            Kind::Btrfs,
            Kind::F2fs,
            Kind::Swap,
            Kind::Crypt,
            Kind::Other,
        ] {
            for mounting in [Mounting::Manage, Mounting::Keep, Mounting::Offline] {
                for mounts in 0..3 {
                    for new in [OLD / 2, OLD * 2] {
                        let modes = Modes {
                            handling: Handling::Resize,
                            mounting,
                            check: true,
                        };
                        let swapping = kind == Kind::Swap && mounts > 0;
                        let start = situation(if swapping { 0 } else { mounts }, swapping);
                        let Ok(plan) = planned(kind, &start, new, modes) else {
                            continue;
                        };
                        possible += 1;
                        let mut state = start.clone();
                        let before = follow(&mut state, &plan.before, mounting);
                        let after = follow(&mut state, &plan.after, mounting);
                        assert_eq!(state, start, "{kind:?} {modes:?} {new}");
                        let shrinks_first = new < OLD && kind != Kind::Swap;
                        let expected = if shrinks_first { (1, 0) } else { (0, 1) };
                        assert_eq!((before, after), expected, "{kind:?} {modes:?} {new}");
                    }
                }
            }
        }
        assert!(possible > 30, "{possible}");
    }

    #[test]
    fn what_cannot_follow_is_refused_with_a_way_out() {
        let modes = |mounting| Modes {
            handling: Handling::Resize,
            mounting,
            check: true,
        };
        let cases = [
            (Kind::Xfs, 1, OLD / 2, Mounting::Manage, "smaller volume"),
            (Kind::F2fs, 0, OLD / 2, Mounting::Manage, "smaller volume"),
            (Kind::Xfs, 0, OLD * 2, Mounting::Keep, "--fsmode manage"),
            (Kind::Xfs, 1, OLD * 2, Mounting::Offline, "--fsmode manage"),
            (Kind::Ext, 1, OLD / 2, Mounting::Keep, "--fsmode manage"),
            (Kind::Ext, 2, OLD / 2, Mounting::Manage, "unmount /mnt/1"),
            (Kind::Btrfs, 1, 200 << 20, Mounting::Manage, "256 MiB"),
            (Kind::Crypt, 0, OLD * 2, Mounting::Manage, "cryptsetup"),
            (Kind::Other, 0, OLD * 2, Mounting::Manage, "--fs ignore"),
        ];
        for (kind, mounts, new, mounting, says) in cases {
            let no = planned(kind, &situation(mounts, false), new, modes(mounting)).unwrap_err();
            assert!(no.0.contains(says), "{kind:?}: {}", no.0);
        }
    }

    #[test]
    fn a_file_system_that_ends_before_the_cut_is_left_alone() {
        for handling in [Handling::Check, Handling::Resize] {
            let modes = Modes {
                handling,
                mounting: Mounting::Manage,
                check: true,
            };
            let change = Change {
                old: Bytes(4 * OLD),
                new: Bytes(OLD),
            };
            let made = |fs: &Filesystem| {
                let scratch = Path::new("/scratch");
                plan(
                    Path::new("/dev/x"),
                    fs,
                    &situation(1, false),
                    change,
                    modes,
                    scratch,
                )
            };
            assert_eq!(made(&filesystem(Kind::Ext)), Ok(Plan::default()));
            assert!(
                made(&filesystem(Kind::Xfs)).is_err(),
                "its size may be newer"
            );
            // One that does not tell its size may reach anywhere.
            let unknown = Filesystem {
                size: None,
                ..filesystem(Kind::Other)
            };
            assert!(made(&unknown).is_err());
        }
    }
}
