//! A slow block device: a loop device over a file that the test itself serves.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulvm_engine::backend::OpenHow;
use ulvm_engine::device::Device;
use ulvm_engine::export::fuse::{Budget, Mounted, Prepared, Volumes};
use ulvm_engine::limits::Settings;
use ulvm_engine::queue::Engine;
use ulvm_engine::table_text::{OpenPaths, parse};
use ulvm_test_support::suite::Outcome;
use ulvm_test_support::{ensure, process};

/// A block device over a file that is served here.
pub struct Slow {
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
            format!("0 {sectors} delay {image} 0 {ms}\n")
        }
        None => format!("0 {sectors} linear {image} 0\n"),
    };
    let mut paths = OpenPaths::new(OpenHow::default());
    let table = parse(&text, &mut paths).map_err(|e| e.to_string())?;
    Ok(Device::with_table("slow", table))
}

impl Slow {
    /// Over an image; each request that comes while it is [`slow`](Self::slow) takes so long. It is
    /// fast until then.
    pub fn new(image: &Path, delay: Duration) -> Result<Slow, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let engine = Engine::start(&Settings::default()).map_err(|e| e.to_string())?;
        let (slow, fast) = (table(image, Some(delay))?, table(image, None)?);
        let volumes = Volumes::empty(None);
        ensure!(volumes.put(0, "slow", &fast), "no file");
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

    /// Its node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Requests that have come and were not answered.
    pub fn in_flight(&self) -> u64 {
        self.slow.in_flight()
    }

    /// Is it slow from now on?
    pub fn slow(&self, slow: bool) -> Outcome {
        let device = if slow { &self.slow } else { &self.fast };
        ensure!(self.volumes.put(0, "slow", device), "no file");
        Ok(())
    }

    /// Waits until something slow is under way.
    pub fn caught(&self) -> Outcome {
        let began = Instant::now();
        while self.in_flight() == 0 {
            ensure!(began.elapsed() < Duration::from_secs(10), "nothing came");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        drop(process::output("losetup", &["-d", &self.node]));
        drop(self.mounted.unmount(true));
    }
}
