//! `demo`: the main job on image files in a folder: physical volumes, a volume group, linear and
//! striped volumes, data in, extended, data out. Each step is a command that can be typed, and is
//! checked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ulvm::activate::open::{How, open};
use ulvm::error::{Error, Kind, Result};
use ulvm::session::{Allow, Session};
use ulvm_engine::sync::SyncDevice;
use ulvm_metadata::model::Vg;

use super::content::{find_lv, io_error};
use crate::args::{self, Args, Opt};
use crate::context::Context;
use crate::dispatch;
use crate::ui::Terminal;

const MIB: u64 = 1 << 20;
/// Size of each image.
const IMAGE: u64 = 64 * MIB;
const IMAGES: [&str; 3] = ["pv0.img", "pv1.img", "pv2.img"];

/// Shows the main job. With `--keep` the images stay for a look around.
pub fn run(ctx: &Context, args: &Args) -> Result<()> {
    if !args.operands().is_empty() {
        return Err(Error::usage("demo takes no operands."));
    }
    let (dir, _temporary) = folder(args.text(Opt::KeepDir))?;
    let mut demo = Demo {
        terminal: ctx.shared_terminal(),
        dir,
        checks: 0,
    };
    demo.run()?;
    let checks = demo.checks;
    demo.say(&format!("\nAll {checks} checks passed."));
    if args.has(Opt::KeepDir) {
        let devices = demo.devices();
        demo.say(&format!("Look around with: ulvm lvs --devices {devices}"));
    }
    Ok(())
}

/// The folder to work in; a temporary one is removed at the end.
fn folder(keep: Option<&str>) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(keep) = keep else {
        let dir = tempfile::Builder::new().prefix("ulvm-demo-").tempdir();
        let dir = dir.map_err(|e| Error::io("make a temporary folder", e))?;
        return Ok((dir.path().to_owned(), Some(dir)));
    };
    let dir = Path::new(keep);
    std::fs::create_dir_all(dir).map_err(|e| Error::io(format!("make {keep}"), e))?;
    if IMAGES.iter().any(|name| dir.join(name).exists()) {
        return Err(Error::refused(format!(
            "{keep} holds images of an earlier demo; remove them or choose another folder."
        )));
    }
    let dir = dir.canonicalize();
    Ok((dir.map_err(|e| Error::io(format!("find {keep}"), e))?, None))
}

struct Demo {
    terminal: Rc<Terminal>,
    dir: PathBuf,
    checks: usize,
}

impl Demo {
    fn run(&mut self) -> Result<()> {
        self.say(&format!("Working in {}", self.dir.display()));
        self.title("Three image files become physical volumes");
        for name in IMAGES {
            let path = self.dir.join(name);
            let made = File::create_new(&path).and_then(|f| f.set_len(IMAGE));
            made.map_err(|e| Error::io(format!("make {}", path.display()), e))?;
        }
        self.command(&["pvcreate", "pv0.img", "pv1.img", "pv2.img"])?;
        self.title("Two of them make a volume group with a linear and a striped volume");
        self.command(&["vgcreate", "demo", "pv0.img", "pv1.img"])?;
        self.command(&["lvcreate", "-an", "-n", "linear", "-L", "24M", "demo"])?;
        let striped = "lvcreate -an -n striped -i 2 -I 64k -L 32M demo";
        self.command(&striped.split(' ').collect::<Vec<_>>())?;
        self.expect_size("linear", 24 * MIB)?;
        self.expect_size("striped", 32 * MIB)?;

        self.title("Data in, through the engine in this process");
        self.fill("linear", 1, 0, 24 * MIB)?;
        self.fill("striped", 2, 0, 32 * MIB)?;

        self.title("The third image joins, and both volumes grow");
        self.command(&["vgextend", "demo", "pv2.img"])?;
        self.command(&["lvextend", "-L", "+48M", "demo/linear"])?;
        self.command(&["lvextend", "-L", "+16M", "demo/striped"])?;
        self.expect_size("linear", 72 * MIB)?;
        self.expect_size("striped", 48 * MIB)?;
        self.fill("linear", 3, 24 * MIB, 48 * MIB)?;

        self.title("Data out: everything is where it was put");
        self.expect_data("linear", 1, 0, 24 * MIB)?;
        self.expect_data("linear", 3, 24 * MIB, 48 * MIB)?;
        self.expect_data("striped", 2, 0, 32 * MIB)?;
        self.command(&["lvs", "-o", "+seg_type,stripes,devices", "demo"])?;
        self.command(&["vgck", "demo"])
    }

    fn say(&self, text: &str) {
        self.terminal.put(text);
        self.terminal.put("\n");
        self.terminal.flush();
    }

    fn title(&self, text: &str) {
        self.say(&format!("\n# {text}"));
    }

    fn devices(&self) -> String {
        let paths = IMAGES.map(|name| self.dir.join(name).display().to_string());
        paths.join(",")
    }

    /// The options that keep everything within the folder.
    fn context(&self, command: &dispatch::Command, words: &[String]) -> Result<(Context, Args)> {
        let dir = self.dir.display();
        let config = format!(
            "global/locking_dir=\"{dir}/lock\" backup/backup_dir=\"{dir}/backup\" backup/archive_dir=\"{dir}/archive\" activation/monitoring=0"
        );
        let own = [
            "--devices".into(),
            self.devices(),
            "--config".into(),
            config,
        ];
        let all: Vec<String> = words.iter().cloned().chain(own).collect();
        let args = args::parse(command, &all)
            .map_err(|_| Error::new(Kind::Internal, format!("{}: options", command.name)))?;
        let line = format!("{} {}", command.name, words.join(" "));
        let ctx = Context::new(Rc::clone(&self.terminal), &args, line)?;
        Ok((ctx, args))
    }

    /// Shows and runs a command; names of images stand for their paths.
    fn command(&mut self, words: &[&str]) -> Result<()> {
        self.say(&format!("$ ulvm {}", words.join(" ")));
        let Some(command) = words.first().and_then(|name| dispatch::find(name)) else {
            return Err(Error::new(Kind::Internal, "no such command"));
        };
        let path = |word: &&str| match IMAGES.contains(word) {
            true => self.dir.join(word).display().to_string(),
            false => (*word).to_owned(),
        };
        let rest: Vec<String> = words[1..].iter().map(path).collect();
        let (ctx, args) = self.context(command, &rest)?;
        (command.run)(&ctx, &args)?;
        self.terminal.flush();
        self.checks += 1;
        Ok(())
    }

    fn session(&self) -> Result<Session> {
        let Some(command) = dispatch::find("read") else {
            return Err(Error::new(Kind::Internal, "no such command"));
        };
        self.context(command, &[])?.0.session()
    }

    fn vg(session: &mut Session) -> Result<ulvm::inventory::VgRead> {
        session.vg_for_read("demo", Allow::default())
    }

    fn expect_size(&mut self, lv: &str, bytes: u64) -> Result<()> {
        let read = Self::vg(&mut self.session()?)?;
        let size = size_of(&read.vg, lv)?;
        self.check(size == bytes, &format!("demo/{lv} has {bytes} bytes"))
    }

    fn check(&mut self, holds: bool, what: &str) -> Result<()> {
        if !holds {
            return Err(Error::new(Kind::Internal, format!("Check failed: {what}.")));
        }
        self.checks += 1;
        self.say(&format!("  checked: {what}"));
        Ok(())
    }

    fn device(&self, session: &mut Session, lv: &str, how: How) -> Result<SyncDevice> {
        let read = Self::vg(session)?;
        let opened = open(session, &read, find_lv(&read.vg, lv)?, how)?;
        SyncDevice::new(opened.device).map_err(|e| Error::new(Kind::Io, e.to_string()))
    }

    fn fill(&mut self, lv: &str, seed: u64, offset: u64, len: u64) -> Result<()> {
        let mut session = self.session()?;
        let mut device = self.device(&mut session, lv, How::WRITE)?;
        let mut buf = vec![0; MIB as usize];
        for at in (offset..offset + len).step_by(MIB as usize) {
            pattern(seed, at, &mut buf);
            device.write_at(at, &buf).map_err(|e| io_error("demo", e))?;
        }
        device.flush().map_err(|e| io_error("demo", e))?;
        self.say(&format!(
            "  wrote {} MiB to demo/{lv} from MiB {} on, and flushed",
            len / MIB,
            offset / MIB
        ));
        Ok(())
    }

    fn expect_data(&mut self, lv: &str, seed: u64, offset: u64, len: u64) -> Result<()> {
        let mut session = self.session()?;
        let mut device = self.device(&mut session, lv, How::READ)?;
        let (mut buf, mut wanted) = (vec![0; MIB as usize], vec![0; MIB as usize]);
        let mut same = true;
        for at in (offset..offset + len).step_by(MIB as usize) {
            pattern(seed, at, &mut wanted);
            device
                .read_at(at, &mut buf)
                .map_err(|e| io_error("demo", e))?;
            same &= buf == wanted;
        }
        let (mib, from) = (len / MIB, offset / MIB);
        let what = format!("{mib} MiB of demo/{lv} from MiB {from} on read as written");
        self.check(same, &what)
    }
}

fn size_of(vg: &Vg, lv: &str) -> Result<u64> {
    let key = find_lv(vg, lv)?;
    Ok(u64::from(vg.lvs[key].extents().0) * vg.extent_size.0 * 512)
}

/// Every word tells its seed and place.
fn pattern(seed: u64, at: u64, buf: &mut [u8]) {
    for (n, word) in buf.chunks_exact_mut(8).enumerate() {
        let place = (at + 8 * n as u64) ^ (seed << 48);
        word.copy_from_slice(&place.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn another_seed_or_place_is_another_pattern() {
        let of = |seed, at| {
            let mut buf = [0; 64];
            pattern(seed, at, &mut buf);
            buf
        };
        assert_ne!(of(1, 0), of(2, 0));
        assert_ne!(of(1, 0)[..56], of(1, 8)[..56]);
        assert_eq!(of(1, 0)[8..], of(1, 8)[..56]);
    }
}
