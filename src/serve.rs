//! Serving devices in the foreground, until a signal asks for the end: over NBD, and as files
//! through FUSE.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ulvm_engine::device::Device;
use ulvm_engine::error::Error as EngineError;
use ulvm_engine::export::{fuse, nbd};
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::SyncDevice;

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
    /// Settings of the engine.
    pub engine: ulvm_engine::limits::Settings,
    /// What one NBD client may cost.
    pub limits: nbd::Limits,
}

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
    ready(&places);
    signals.wait().map_err(os("cannot wait for a signal"))?;
    // Whoever cannot wait for the end in order sends another signal.
    drop(signals);
    drop(mounted);
    running.stop();
    flush(plan.devices)
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

/// Every device, also after one has failed; the first error.
fn flush(devices: Vec<(String, Arc<Device>)>) -> Result<()> {
    let mut first = Ok(());
    for (name, device) in devices {
        if device.read_only() {
            continue;
        }
        let done = SyncDevice::new(device)
            .and_then(|mut device| device.flush().map_err(EngineError::from));
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
