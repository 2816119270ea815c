//! An old write never lands after a newer one.
//!
//! The volume lies on a slow block device of the test's own making: a loop device over a file that
//! the test itself serves. A first write to it takes three seconds; from then on it is fast. The
//! worker is killed over the first write, whose I/O goes on below. The write is sent again and
//! answered by the new worker, and the client writes something newer to the same place. If the new
//! worker began before the old write has ended, the old write wins in the end.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ulvm_test_support::suite::{Outcome, Suite};
use ulvm_test_support::{ensure, process};

use crate::host::{Host, LOOP};
use crate::slow::Slow;

/// How long the first write takes.
pub const SLOW: Duration = Duration::from_secs(3);

pub fn cases(suite: &mut Suite) {
    suite.case("activation::fence::old_write_never_wins", &LOOP, old_write);
    suite.case(
        "activation::fence::nor_when_the_supervisor_dies_next",
        &LOOP,
        over_a_takeover,
    );
}

/// Writes a block of one byte repeated, and waits for the answer.
pub fn write(node: PathBuf, byte: u8) -> Outcome {
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
    newer_wins(|host| host.kill("worker_pid").map(drop))
}

/// The worker dies, and the supervisor while it waits for the fence: whoever comes next has to wait for
/// the same, and is the first to let consumers go on.
fn over_a_takeover() -> Outcome {
    newer_wins(|host| {
        let supervisor = host.pid("supervisor_pid")?;
        host.kill("worker_pid")?;
        // The next worker has been told all there is, and waits.
        std::thread::sleep(SLOW / 5);
        process::output("kill", &["-KILL", &supervisor.to_string()])?.success("kill")?;
        let now = host.pid("supervisor_pid")?;
        ensure!(now != supervisor, "the supervisor is still there");
        Ok(())
    })
}

/// Does something to the daemon while a slow write is under way, and writes to the same place.
fn newer_wins(kill: impl FnOnce(&Host) -> Outcome) -> Outcome {
    let host = Host::new()?;
    let slow = Slow::new(&host.images().path("a"), SLOW)?;
    // The second image is not needed: `linear` lies on the first.
    let devices = format!("{},{}", slow.node(), host.images().path("b").display());
    let host = host.through(Path::new(&devices));
    host.ok("lvchange -ay --export loop vg/linear")?;
    let node = host.node("vg/linear")?;
    slow.slow(true)?;
    let began = Instant::now();
    let client = std::thread::spawn({
        let node = node.clone();
        move || write(node.clone(), b'1').and_then(|()| write(node, b'2'))
    });
    slow.caught()?;
    slow.slow(false)?;
    kill(&host)?;
    while !client.is_finished() {
        ensure!(began.elapsed() < 10 * SLOW, "the write is not answered");
        std::thread::sleep(Duration::from_millis(1));
    }
    let answered = began.elapsed();
    client.join().map_err(|_| "the client panicked")??;
    // Whatever is under way lands now.
    std::thread::sleep((2 * SLOW).saturating_sub(began.elapsed()));
    ensure!(slow.in_flight() == 0, "the old write is still under way");
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
