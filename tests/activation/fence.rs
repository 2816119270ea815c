//! An old write never lands after a newer one.
//!
//! The volume lies on a slow block device of the test's own making: a loop device over a file that
//! the test itself serves. A first write to it takes three seconds; from then on it is fast. The
//! worker is killed over the first write, whose I/O goes on below. The write is sent again and
//! answered by the new worker, and the client writes something newer to the same place. If the new
//! worker began before the old write has ended, the old write wins in the end.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulvm_engine::backend::OpenHow;
use ulvm_engine::device::Device;
use ulvm_engine::export::fuse::{Budget, Mounted, Prepared, Volumes};
use ulvm_engine::limits::Settings;
use ulvm_engine::queue::Engine;
use ulvm_engine::table_text::{OpenPaths, parse};
use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::host::{Host, LOOP};

/// How long the first write takes.
const SLOW: Duration = Duration::from_secs(3);

pub fn cases(suite: &mut Suite) {
    suite.case("activation::fence::old_write_never_wins", &LOOP, old_write);
}

/// A block device over a file that is served here.
struct Slow {
    node: String,
    volumes: Arc<Volumes>,
    slow: Arc<Device>,
    fast: Arc<Device>,
    _engine: Engine,
    mounted: Mounted,
    _dir: tempfile::TempDir,
}

fn table(image: &Path, delay: Option<Duration>) -> Result<Arc<Device>, String> {
    let sectors = std::fs::metadata(image).map_err(|e| e.to_string())?.len() / 512;
    let image = image.display();
    let text = match delay {
        Some(delay) => {
            let ms = delay.as_millis();
            format!("0 {sectors} delay {image} 0 0 {image} 0 {ms}\n")
        }
        None => format!("0 {sectors} linear {image} 0\n"),
    };
    let mut paths = OpenPaths::new(OpenHow::default());
    let table = parse(&text, &mut paths).map_err(|e| e.to_string())?;
    Ok(Device::with_table("slow", table))
}

impl Slow {
    fn new(image: &Path) -> Result<Slow, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let engine = Engine::start(&Settings::default()).map_err(|e| e.to_string())?;
        let (slow, fast) = (table(image, Some(SLOW))?, table(image, None)?);
        let volumes = Volumes::empty(None);
        ensure!(volumes.put(0, "slow", &slow), "no file");
        let mounted = Mounted::new(dir.path(), false).map_err(|e| e.to_string())?;
        let fds = (0..engine.queues()).map(|_| mounted.clone_fd());
        let fds = fds
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| e.to_string())?;
        let servers = Prepared::new(fds, &volumes, Budget::Small).ok_or("no memory")?;
        servers.begin(&engine);
        let file = dir.path().join("slow").display().to_string();
        let node = process::output("losetup", &["-f", "--show", "--direct-io=on", &file])?
            .success("losetup")?;
        Ok(Slow {
            node: node.out().trim().to_owned(),
            volumes,
            slow,
            fast,
            _engine: engine,
            mounted,
            _dir: dir,
        })
    }

    /// Waits until the slow write is under way, and makes all others fast.
    fn caught(&self) -> Outcome {
        let began = Instant::now();
        while self.slow.in_flight() == 0 {
            ensure!(began.elapsed() < Duration::from_secs(10), "no write came");
            std::thread::sleep(Duration::from_millis(1));
        }
        ensure!(self.volumes.put(0, "slow", &self.fast), "no file");
        Ok(())
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        drop(process::output("losetup", &["-d", &self.node]));
        drop(self.mounted.unmount(true));
    }
}

/// Writes a block of one byte repeated, and waits for the answer.
fn write(node: PathBuf, byte: u8) -> Outcome {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(0o40000) // O_DIRECT
        .open(&node)
        .map_err(|e| format!("{}: {e}", node.display()))?;
    let mut block = ulvm_engine::buf::Buf::zeroed(4096);
    block.fill(byte);
    file.write_all_at(&block, 0).map_err(|e| e.to_string())
}

fn old_write() -> Outcome {
    let host = Host::new()?;
    let slow = Slow::new(&host.images().path("a"))?;
    // The second image is not needed: `linear` lies on the first.
    let devices = format!("{},{}", slow.node, host.images().path("b").display());
    let host = host.through(Path::new(&devices));
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    let began = Instant::now();
    let client = std::thread::spawn({
        let node = node.clone();
        move || write(node.clone(), b'1').and_then(|()| write(node, b'2'))
    });
    slow.caught()?;
    host.kill("worker_pid")?;
    client.join().map_err(|_| "the client panicked")??;
    let answered = began.elapsed();
    // Whatever is under way lands now.
    std::thread::sleep((2 * SLOW).saturating_sub(began.elapsed()));
    ensure!(
        slow.slow.in_flight() == 0,
        "the old write is still under way"
    );
    host.ok("lvchange -an vg/linear")?;
    let seen = host.ok("read vg/linear --length 4096")?.stdout;
    ensure!(
        seen.iter().all(|b| *b == b'2'),
        "an old write has won: {:?}",
        &seen[..4]
    );
    ensure!(
        answered + Duration::from_millis(50) >= SLOW,
        "answered after {answered:?}, before the old write ended"
    );
    Ok(())
}
