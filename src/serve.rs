//! Serving devices in the foreground, until a signal asks for the end: over NBD, as files
//! through FUSE, and as block devices through ublk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ulvm_engine::device::Device;
use ulvm_engine::error::Error as EngineError;
use ulvm_engine::export::{fuse, nbd, ublk};
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::SyncDevice;

use crate::daemon::marks::Marks;
use crate::daemon::ublk::{FOREGROUND, clean_stopped};
use crate::error::{Error, Kind, Result};
use crate::host::allow_open_files;
use crate::sys::EndSignals;

/// What is served, where and how.
#[derive(Debug)]
pub struct Plan {
    /// Names of exports and their devices. A device that is read-only is served so.
    pub devices: Vec<(String, Arc<Device>)>,
    /// Where NBD clients come to.
    pub nbd: Vec<nbd::Address>,
    /// A folder in which each device is a file.
    pub fuse: Option<PathBuf>,
    /// As block devices of the kernel's ublk driver.
    pub ublk: bool,
    /// Where it is told which of those are volumes ([`Marks`]).
    pub run_dir: PathBuf,
    /// Settings of the engine.
    pub engine: ulvm_engine::limits::Settings,
    /// What one NBD client may cost.
    pub limits: nbd::Limits,
}

/// How long mirrors may take to come to rest at the end.
const STOP: Duration = Duration::from_secs(60);

/// Serves until SIGTERM, SIGINT or SIGHUP. `ready` is told each place where the devices are to be
/// had, once they are. At the end what is under way is finished and answered, then every device is
/// flushed; a flush that fails is an error.
pub fn serve(plan: Plan, ready: impl FnOnce(&[String])) -> Result<()> {
    // Before any thread starts, so that none of them is ended by a signal.
    let signals = EndSignals::hold().map_err(os("cannot hold signals back"))?;
    let listeners = plan.nbd.iter().map(nbd::Listener::bind);
    let listeners = listeners
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(engine)?;
    let mut places: Vec<String> = Vec::new();
    for listener in &listeners {
        let address = listener.address();
        places.extend(plan.devices.iter().map(|(name, _)| uri(address, name)));
    }
    if !listeners.is_empty() {
        allow_open_files(plan.limits.clients);
    }
    let mut running = Engine::start(&plan.engine).map_err(engine)?;
    let exports = Arc::new(nbd::Exports::default());
    for (name, device) in &plan.devices {
        let export = nbd::Export {
            device: Arc::clone(device),
            description: String::new(),
            read_only: device.read_only(),
        };
        if !exports.add(name, export) {
            return Err(Error::refused(format!(
                "{name}: the name is too long for NBD."
            )));
        }
    }
    let _server = nbd::Server::start(&running, listeners, exports, plan.limits);
    let mounted = match &plan.fuse {
        Some(dir) => Some(mount(&running, dir, &plan.devices, &mut places)?),
        None => None,
    };
    let blocks = match plan.ublk {
        true => Some(Blocks::show(&running, &plan, &mut places)?),
        false => None,
    };
    ready(&places);
    signals.wait().map_err(os("cannot wait for a signal"))?;
    // Whoever cannot wait for the end in order sends another signal.
    drop(signals);
    drop(mounted);
    if let Some(blocks) = blocks {
        blocks.end();
    }
    for (_, device) in &plan.devices {
        device.freeze_mirrors();
    }
    running.stop();
    end(plan.devices)
}

fn mount(
    running: &Engine,
    dir: &Path,
    devices: &[(String, Arc<Device>)],
    places: &mut Vec<String>,
) -> Result<fuse::Mounted> {
    places.extend(
        devices
            .iter()
            .map(|(n, _)| dir.join(n).display().to_string()),
    );
    fuse::serve(running, dir, false, devices.to_vec()).map_err(engine)
}

/// Block devices of ublk. They end with this process, however it ends.
struct Blocks {
    control: ublk::Control,
    marks: Marks,
    added: Vec<ublk::Added>,
}

impl Blocks {
    fn show(running: &Engine, plan: &Plan, places: &mut Vec<String>) -> Result<Self> {
        let control = ublk::Control::open(ublk::Limits::default()).map_err(engine)?;
        clean_stopped(&control);
        let marks = Marks::of(&plan.run_dir);
        marks.prune();
        let budget = ublk::Budget::of_this_user();
        let servers = ublk::Servers::start(running, budget, None).map_err(engine)?;
        let mut blocks = Self {
            control,
            marks,
            added: Vec::new(),
        };
        for (name, device) in &plan.devices {
            let shown = blocks.one(running, &servers, device);
            let node = shown.map_err(|e| Error::new(Kind::Io, format!("{name}: {e}")))?;
            places.push(node.display().to_string());
        }
        Ok(blocks)
    }

    fn one(
        &mut self,
        running: &Engine,
        servers: &ublk::Servers,
        device: &Arc<Device>,
    ) -> std::result::Result<PathBuf, String> {
        let told = |e: EngineError| e.to_string();
        let shape = ublk::Shape::of(device);
        let end = ublk::End::Fails;
        let added = self.control.add(running.queues(), shape, end, FOREGROUND);
        let added = added.map_err(told)?;
        self.added.push(added);
        // A user's devices are no concern of the system's rules, and its run directory may not be there.
        if rustix::process::geteuid().is_root() {
            self.marks.set(added.id, &[])?;
        }
        servers.serve(added.place(), device).map_err(told)?;
        let pid = std::process::id();
        self.control.start(added, pid).map_err(told)
    }

    /// Waits while a device is mounted or otherwise claimed, and removes it. What its users have written is with the
    /// engine then.
    fn end(self) {
        for added in &self.added {
            let node = ublk::control::block_path(added.id);
            loop {
                match ublk::control::seize(&node) {
                    Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    seized => {
                        // Of a device that cannot be stopped the kernel takes care when this
                        // process ends.
                        let _ = self.control.stop(added.id);
                        drop(seized);
                        break;
                    }
                }
            }
        }
        // `Drop` removes them.
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for added in &self.added {
            let _ = self.control.stop(added.id);
            let _ = self.control.delete(added.id);
            let _ = self.marks.clear(added.id);
        }
    }
}

/// Flushes every device and has its mirrors note that they were stopped in order, also after one
/// has failed; the first error.
fn end(devices: Vec<(String, Arc<Device>)>) -> Result<()> {
    let mut first = Ok(());
    for (name, device) in devices {
        if device.read_only() {
            continue;
        }
        let done = SyncDevice::new(device).and_then(|mut device| {
            device.flush()?;
            device.stop(STOP)
        });
        if let Err(error) = done {
            let text = format!("{name}: the last flush failed: {error}");
            let error = Error::new(Kind::Io, text).with_source(error);
            first = first.and(Err(error));
        }
    }
    first
}

/// An address as NBD clients take it.
pub(crate) fn uri(address: &nbd::Address, name: &str) -> String {
    match address {
        nbd::Address::Unix(path) => {
            format!(
                "nbd+unix:///{}?socket={}",
                quoted(name),
                quoted(&path.display().to_string())
            )
        }
        nbd::Address::Tcp(at) => format!("nbd://{at}/{}", quoted(name)),
    }
}

/// With everything percent-encoded that could end a part of a URI.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn engine(error: EngineError) -> Error {
    Error::new(Kind::Io, error.to_string()).with_source(error)
}

fn os(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(Kind::Io, format!("{what}: {error}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_quote_what_would_end_a_part() {
        let unix = nbd::Address::Unix("/run/a b?c".into());
        assert_eq!(
            uri(&unix, "vg/lv"),
            "nbd+unix:///vg/lv?socket=/run/a%20b%3Fc"
        );
        let tcp: nbd::Address = "tcp:[::1]:9".parse().expect("an address");
        assert_eq!(uri(&tcp, "v+g/l"), "nbd://[::1]:9/v%2Bg/l");
    }
}
