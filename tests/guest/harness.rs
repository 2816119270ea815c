//! The harness itself: what goes in, what comes back, and the power cut.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use ulvm_test_support::content;
use ulvm_test_support::guest::{End, Guest, Kernel};
use ulvm_test_support::log_writes::{self, Entry};
use ulvm_test_support::needs::Need;
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, loopdev};

const MIB: u64 = 1 << 20;

pub fn cases(suite: &mut Suite) {
    let needs = &[Need::Guest];
    suite.case("harness/job_in_files_and_code_out", needs, in_and_out);
    suite.case("harness/stock_kernel", needs, stock_kernel);
    suite.case("harness/power_cut_keeps_what_was_written", needs, power_cut);
    suite.case("harness/time_limit", needs, time_limit);
    suite.case("harness/writes_and_flushes_are_logged", needs, logged);
}

/// A disk of `size` bytes that begins with `data`.
pub fn disk(dir: &TempDir, name: &str, size: u64, data: &[u8]) -> Result<PathBuf, String> {
    let path = dir.path().join(name);
    let make = || {
        let file = std::fs::File::create(&path)?;
        file.write_all_at(data, 0)?;
        file.set_len(size)
    };
    make().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn read(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; length];
    std::fs::File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, offset))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(bytes)
}

fn in_and_out() -> Outcome {
    let dir = loopdev::scratch()?;
    let data = content::sectors(5, 0, 2048);
    let first = disk(&dir, "first", MIB, &data)?;
    let second = disk(&dir, "second", 2 * MIB, &[])?;
    let report = Guest::new()?
        .disk(&first)
        .disk(&second)
        .set("words", "two words, and a 'quote'")
        .tool("sha256sum")
        .run(
            "dd if=$disk0 of=$disk1 bs=64k seek=16 conv=fsync\n\
             cat $disk0 >/out/copy\n\
             printf %s \"$words\" >/out/words\n\
             mkdir /out/sub; uname -r >/out/sub/kernel\n\
             echo said on the console\n\
             exit 7\n",
        )?;
    ensure!(report.end == End::Code(7), "ended with {:?}", report.end);
    ensure!(
        report.console.contains("said on the console"),
        "console: {}",
        report.console
    );
    ensure!(report.file("copy")? == data, "the disk read in the guest");
    ensure!(
        report.file("words")? == b"two words, and a 'quote'",
        "a variable with blanks and quotes: {:?}",
        report.text("words")
    );
    let kernel = report.text("sub/kernel")?;
    ensure!(kernel.starts_with("6.12."), "kernel {kernel}");
    ensure!(
        read(&second, MIB, data.len())? == data,
        "the disk written in the guest"
    );
    Ok(())
}

fn stock_kernel() -> Outcome {
    let report = Guest::new()?
        .kernel(Kernel::Stock)
        .run("uname -r >/out/kernel; lvm version >/out/lvm; dmsetup version >>/out/lvm")?
        .success()?;
    let kernel = report.text("kernel")?;
    ensure!(kernel.starts_with("6.1."), "kernel {kernel}");
    let lvm = report.text("lvm")?;
    ensure!(lvm.contains("Driver version:"), "no driver in {lvm}");
    Ok(())
}

fn power_cut() -> Outcome {
    let dir = loopdev::scratch()?;
    let path = disk(&dir, "disk", MIB, &[])?;
    let report = Guest::new()?
        .disk(&path)
        .cut_on("the first is written")
        .run(
            "printf first | dd of=$disk0 conv=fsync\n\
             echo the first is written\n\
             sleep 60\n\
             printf second | dd of=$disk0 conv=fsync\n",
        )?;
    ensure!(report.end == End::Cut, "ended with {:?}", report.end);
    ensure!(read(&path, 0, 6)? == b"first\0", "the disk after the cut");
    Ok(())
}

fn time_limit() -> Outcome {
    let report = Guest::new()?
        .limit(Duration::from_secs(20))
        .run("sleep 1000")?;
    ensure!(report.end == End::Timeout, "ended with {:?}", report.end);
    Ok(())
}

fn logged() -> Outcome {
    let dir = loopdev::scratch()?;
    let size = 4 * MIB;
    let before = content::sectors(1, 0, 8192);
    let path = disk(&dir, "disk", size, &before)?;
    let copy = disk(&dir, "copy", size, &before)?;
    let log = dir.path().join("log");
    Guest::new()?
        .logged_disk(&path, &log)
        .run(
            "printf one | dd of=$disk0 bs=512 seek=3 conv=fsync\n\
             printf two | dd of=$disk0 bs=512 seek=5000 conv=fsync\n",
        )?
        .success()?;
    let entries = log_writes::read(&log)?;
    let found = |text: &[u8]| {
        entries.iter().position(
            |entry| matches!(entry, Entry::Write { data, .. } if data.windows(3).any(|w| w == text)),
        )
    };
    let (Some(one), Some(two)) = (found(b"one"), found(b"two")) else {
        return Err(format!(
            "not both writes are among {} entries",
            entries.len()
        ));
    };
    let flush = entries[one..two].contains(&Entry::Flush);
    ensure!(flush, "no flush between the two writes");
    log_writes::replay(&entries, &copy, |number, _| number < two)
        .map_err(|error| error.to_string())?;
    ensure!(read(&copy, 3 * 512, 3)? == b"one", "the first replayed");
    ensure!(
        read(&copy, 5000 * 512, 512)? == content::sector(1, 5000),
        "the second was not to be replayed"
    );
    log_writes::replay(&entries, &copy, |_, _| true).map_err(|error| error.to_string())?;
    let length = usize::try_from(size).map_err(|error| error.to_string())?;
    ensure!(
        read(&copy, 0, length)? == read(&path, 0, length)?,
        "the whole log gives the disk"
    );
    Ok(())
}
