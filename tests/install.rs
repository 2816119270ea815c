//! What `make install` and the Debian packages put where.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ulvm_test_support::needs::Need;
use ulvm_test_support::process::Finished;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ulvm");

/// What activates volumes without being asked.
const AT_BOOT: [&str; 11] = [
    "udev/rules.d/69-ulvm.rules",
    "systemd/system/ulvm-activate@.service",
    "systemd/system/ulvm-late@.service",
    "systemd/system/ulvm-late@.timer",
    "systemd/system/ulvm-shutdown.service",
    "initramfs-tools/hooks/ulvm",
    "initramfs-tools/scripts/ulvm",
    "initramfs-tools/scripts/local-top/ulvm",
    "initramfs-tools/scripts/local-block/ulvm",
    "initramfs-tools/scripts/init-bottom/ulvm",
    "dracut/modules.d/90ulvm/module-setup.sh",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn done(command: &mut Command) -> Result<Finished, String> {
    let what = format!("{command:?}");
    process::run(command, &[], Duration::from_secs(600))?.success(&what)
}

fn make(dest: &Path, words: &[&str]) -> Result<Finished, String> {
    done(
        Command::new("make")
            .arg("install")
            .arg(format!("DESTDIR={}", dest.display()))
            .arg(format!("PROGRAM={PROGRAM}"))
            .args(words)
            .current_dir(root()),
    )
}

/// Names in a folder.
fn names(folder: &Path) -> Result<BTreeSet<String>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect())
}

/// The commands that the installed program says it has.
fn commands(program: &Path) -> Result<Vec<String>, String> {
    let help = done(Command::new(program).arg("help"))?;
    let found: Vec<String> = help
        .out()
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    ensure!(found.len() > 50, "help lists only {found:?}");
    Ok(found)
}

fn beside_lvm2() -> Outcome {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    make(dir.path(), &["PREFIX=/opt/ulvm"])?;
    let prefix = dir.path().join("opt/ulvm");
    let pages = names(&prefix.join("share/man/man8"))?;
    for command in commands(&prefix.join("sbin/ulvm"))? {
        let page = format!("ulvm-{command}.8");
        ensure!(pages.contains(&page), "no page {page}");
    }
    let programs = names(&prefix.join("sbin"))?;
    ensure!(programs.len() == 1, "installed: {programs:?}");
    for file in [
        "bash-completion/completions/ulvm",
        "zsh/site-functions/_ulvm",
        "fish/vendor_completions.d/ulvm.fish",
        "doc/ulvm/README.md",
    ] {
        let path = prefix.join("share").join(file);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{file}: {e}"))?;
        ensure!(text.contains("lvcreate"), "{file} knows no lvcreate");
    }
    for file in AT_BOOT {
        let path = match file.starts_with("initramfs-tools") {
            true => prefix.join("share").join(file),
            false => prefix.join("lib").join(file),
        };
        ensure!(path.exists(), "{} is not there", path.display());
        if file.ends_with("/ulvm") || file.ends_with(".sh") {
            done(Command::new("sh").arg("-n").arg(&path))?;
        }
    }
    // Nothing may point into the folder it was gathered in, or keep a mark to be replaced.
    let left = process::run(
        Command::new("grep")
            .arg("-rIlE")
            .arg(format!("@SBINDIR@|{}", dir.path().display()))
            .arg(&prefix),
        &[],
        Duration::from_secs(60),
    )?;
    ensure!(left.code == 1, "left in: {}", left.out());
    Ok(())
}

fn in_place_of_lvm2() -> Outcome {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    make(dir.path(), &["PREFIX=/usr", "LVM2_LINKS=yes", "BOOT=no"])?;
    let by_itself = Command::new("find")
        .arg(dir.path())
        .args(["-name", "69-ulvm*", "-o", "-name", "ulvm-*@*", "-o"])
        .args(["-name", "initramfs-tools", "-o", "-name", "dracut"])
        .output()
        .map_err(|e| e.to_string())?;
    ensure!(
        by_itself.status.success() && by_itself.stdout.is_empty(),
        "BOOT=no installs {}",
        String::from_utf8_lossy(&by_itself.stdout)
    );
    let sbin = dir.path().join("usr/sbin");
    let man = dir.path().join("usr/share/man/man8");
    for command in commands(&sbin.join("ulvm"))? {
        let of_lvm2 = ["pv", "vg", "lv"].iter().any(|p| command.starts_with(p));
        let link = sbin.join(&command);
        ensure!(link.exists() == of_lvm2, "{command}: link {}", !of_lvm2);
        if of_lvm2 {
            done(Command::new(&link).arg("--help"))?;
            let page = man.join(format!("{command}.8"));
            ensure!(page.exists(), "{} leads nowhere", page.display());
        }
    }
    done(Command::new(sbin.join("lvm")).arg("version"))?;
    Ok(())
}

fn packages() -> Outcome {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (debs, both) = (dir.path().join("debs"), dir.path().join("unpacked"));
    done(
        Command::new(root().join("dist/debian/build"))
            .arg(&debs)
            .env("PROGRAM", PROGRAM),
    )?;
    let debs: Vec<PathBuf> = names(&debs)?.iter().map(|n| debs.join(n)).collect();
    ensure!(debs.len() == 3, "made: {debs:?}");
    let mut files = Vec::new();
    for deb in &debs {
        let list = done(Command::new("dpkg-deb").arg("-c").arg(deb))?.out();
        let paths = list.lines().filter(|l| !l.starts_with('d'));
        let paths = paths.filter_map(|l| l.split_whitespace().nth(5));
        files.push(paths.map(str::to_owned).collect::<BTreeSet<String>>());
        done(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&both))?;
        let owner = list.lines().find(|l| !l.contains("root/root"));
        ensure!(owner.is_none(), "not root's: {owner:?}");
    }
    let all: Vec<&String> = files.iter().flatten().collect();
    let distinct: BTreeSet<&String> = all.iter().copied().collect();
    ensure!(all.len() == distinct.len(), "in two packages: {all:?}");
    // The package beside LVM2 must not take one of its files.
    let name = |p: &str| p.ends_with("sbin/lvs") || p.contains("/lvs.8");
    let with_links: Vec<usize> = (0..3)
        .filter(|n| files[*n].iter().any(|p| name(p)))
        .collect();
    ensure!(with_links.len() == 1, "lvs is in packages {with_links:?}");
    ensure!(
        !files[with_links[0]].contains("./usr/sbin/ulvm"),
        "the links come with the program"
    );
    // What acts by itself comes with a package of its own.
    for file in AT_BOOT {
        let of = |n: &usize| files[*n].iter().any(|p| p.ends_with(file));
        let with: Vec<usize> = (0..3).filter(of).collect();
        ensure!(with.len() == 1, "{file} is in packages {with:?}");
        let program = files[with[0]].iter().any(|p| p == "./usr/sbin/ulvm");
        ensure!(!program && with != with_links, "{file} acts by itself");
    }
    done(Command::new(both.join("usr/sbin/lvs")).arg("--help"))?;
    for link in names(&both.join("usr/share/man/man8"))? {
        let path = both.join("usr/share/man/man8").join(&link);
        ensure!(path.exists(), "{link} leads nowhere");
    }
    Ok(())
}

fn main() -> ExitCode {
    let needs = [Need::Program("make")];
    let deb = [Need::Program("make"), Need::Program("dpkg-deb")];
    let mut suite = Suite::new(3);
    suite.case("install::beside_lvm2", &needs, beside_lvm2);
    suite.case("install::in_place_of_lvm2", &needs, in_place_of_lvm2);
    suite.case("install::packages", &deb, packages);
    suite.run()
}
