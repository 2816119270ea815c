//! By which way requests come: from the calling thread, through an engine, through an NBD server.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use ulvm_engine::buf::Buf;
use ulvm_engine::device::Device;
use ulvm_engine::export::nbd::{Address, Export, Exports, Limits, Listener, Server};
use ulvm_engine::io::Request;
use ulvm_engine::limits::{DriverChoice, Settings};
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::{Client, SyncDevice};

use crate::client::{self, Reply};

/// A way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Alone,
    Engine(DriverChoice),
    Nbd(DriverChoice),
}

/// Every way.
pub const WAYS: [Way; 5] = [
    Way::Alone,
    Way::Engine(DriverChoice::Pool),
    Way::Engine(DriverChoice::Uring),
    Way::Nbd(DriverChoice::Pool),
    Way::Nbd(DriverChoice::Uring),
];

impl Way {
    pub fn name(self) -> String {
        let driver = |driver| match driver {
            DriverChoice::Uring => "ring",
            _ => "pool",
        };
        match self {
            Way::Alone => "calling_thread".into(),
            Way::Engine(d) => driver(d).into(),
            Way::Nbd(d) => format!("nbd_over_{}", driver(d)),
        }
    }
}

/// What is asked for, in bytes.
#[derive(Clone, Debug)]
pub enum Ask {
    Read(u64, u64),
    Write(u64, Vec<u8>, bool),
    /// Offset, length, may the space be given back, durable.
    Zeroes(u64, u64, bool, bool),
    Discard(u64, u64),
    Flush,
}

/// A device opened by a way.
pub enum Open {
    Alone(Box<SyncDevice>),
    Engine {
        client: Client,
        _engine: Engine,
    },
    Nbd {
        client: Box<client::Client>,
        _site: Site,
    },
}

/// A server of one export.
pub struct Site {
    _server: Server,
    _engine: Engine,
    _dir: TempDir,
}

fn engine(driver: DriverChoice) -> Result<Engine, String> {
    let settings = Settings {
        driver,
        queues: 1,
        ..Settings::default()
    };
    let engine = Engine::start(&settings).map_err(|e| e.to_string())?;
    let wanted = match driver {
        DriverChoice::Pool => "pool",
        _ => "io_uring",
    };
    assert!(engine.driver().contains(wanted), "{}", engine.driver());
    Ok(engine)
}

impl Open {
    pub fn new(way: Way, device: &Arc<Device>) -> Result<Open, String> {
        let device = Arc::clone(device);
        Ok(match way {
            Way::Alone => Open::Alone(Box::new(
                SyncDevice::new(device).map_err(|e| e.to_string())?,
            )),
            Way::Engine(driver) => {
                let engine = engine(driver)?;
                Open::Engine {
                    client: Client::new(&engine, device),
                    _engine: engine,
                }
            }
            Way::Nbd(driver) => {
                let (site, path) = Site::new(driver, device)?;
                let mut client = client::Client::connect(&path);
                // Both kinds of reply.
                client.begin("t", driver == DriverChoice::Uring);
                assert_eq!(client.size, crate::stores::SIZE);
                Open::Nbd {
                    client: Box::new(client),
                    _site: site,
                }
            }
        })
    }

    /// Does one thing and waits for it. Gives the bytes of a read.
    pub fn ask(&mut self, ask: Ask) -> Result<Vec<u8>, String> {
        if let Open::Nbd { client, .. } = self {
            return ask_nbd(client, &ask).map_err(|e| format!("{ask:?}: {e:?}"));
        }
        let is_read = matches!(ask, Ask::Read(..));
        let request = request(&ask);
        let buf = match self {
            Open::Alone(device) => device.request(request).map_err(|e| e.to_string())?,
            Open::Engine { client, .. } => {
                let completion = client.request(request).ok_or("the engine has ended")?;
                completion.result.map_err(|e| e.to_string())?;
                completion.buf
            }
            Open::Nbd { .. } => return Err("asked above".into()),
        };
        Ok(match buf {
            Some(buf) if is_read => buf.to_vec(),
            Some(buf) => {
                assert!(matches!(&ask, Ask::Write(_, data, _) if data.len() == buf.len()));
                Vec::new()
            }
            None => Vec::new(),
        })
    }

    /// Begins all at once, and waits for all.
    pub fn ask_together(&mut self, asks: &[Ask]) -> Result<(), String> {
        match self {
            Open::Alone(_) => asks.iter().try_for_each(|a| self.ask(a.clone()).map(drop)),
            Open::Engine { client, .. } => {
                let flying: Vec<_> = asks.iter().map(|a| client.begin(request(a))).collect();
                flying.into_iter().try_for_each(|answer| {
                    let completion = answer.recv().map_err(|e| e.to_string())?;
                    completion.result.map_err(|e| e.to_string())
                })
            }
            Open::Nbd { client, .. } => {
                for (n, ask) in asks.iter().enumerate() {
                    send_nbd(client, ask, n as u64);
                }
                asks.iter()
                    .try_for_each(|_| match client.receive_any(|_| 0) {
                        (_, Reply::Done) => Ok(()),
                        other => Err(format!("{other:?}")),
                    })
            }
        }
    }
}

impl Open {
    /// Begins reads of all ranges at once; what each gave, in their order.
    pub fn read_together(&mut self, ranges: &[(u64, u64)]) -> Result<Vec<Vec<u8>>, String> {
        let asks: Vec<Ask> = ranges.iter().map(|r| Ask::Read(r.0, r.1)).collect();
        match self {
            Open::Alone(_) => asks.into_iter().map(|ask| self.ask(ask)).collect(),
            Open::Engine { client, .. } => {
                let flying: Vec<_> = asks.iter().map(|a| client.begin(request(a))).collect();
                let wait = |answer: std::sync::mpsc::Receiver<ulvm_engine::io::Completion>| {
                    let completion = answer.recv().map_err(|e| e.to_string())?;
                    completion.result.map_err(|e| e.to_string())?;
                    Ok(completion.buf.map(|b| b.to_vec()).unwrap_or_default())
                };
                flying.into_iter().map(wait).collect()
            }
            Open::Nbd { client, .. } => {
                for (n, ask) in asks.iter().enumerate() {
                    send_nbd(client, ask, n as u64);
                }
                let mut seen = vec![Vec::new(); ranges.len()];
                for _ in ranges {
                    match client.receive_any(|cookie| ranges[cookie as usize].1 as u32) {
                        (cookie, Reply::Data(data)) => seen[cookie as usize] = data,
                        other => return Err(format!("{other:?}")),
                    }
                }
                Ok(seen)
            }
        }
    }
}

fn request(ask: &Ask) -> Request {
    match ask {
        Ask::Read(at, len) => Request::read(*at, Buf::zeroed(*len as usize)),
        Ask::Write(at, data, fua) => Request::write(*at, Buf::copy_of(data), *fua),
        Ask::Zeroes(at, len, unmap, fua) => Request::write_zeroes(*at, *len, *unmap, *fua),
        Ask::Discard(at, len) => Request::discard(*at, *len),
        Ask::Flush => Request::flush(),
    }
}

const FUA: u16 = 1;
const NO_HOLE: u16 = 2;

/// Command, flags, offset, length and payload.
fn words(ask: &Ask) -> (u16, u16, u64, u32, &[u8]) {
    let flag = |on: bool, bit: u16| if on { bit } else { 0 };
    match ask {
        Ask::Read(at, len) => (0, 0, *at, *len as u32, &[]),
        Ask::Write(at, data, fua) => (1, flag(*fua, FUA), *at, data.len() as u32, data),
        Ask::Flush => (3, 0, 0, 0, &[]),
        Ask::Discard(at, len) => (4, 0, *at, *len as u32, &[]),
        Ask::Zeroes(at, len, unmap, fua) => {
            let flags = flag(*fua, FUA) | flag(!*unmap, NO_HOLE);
            (6, flags, *at, *len as u32, &[])
        }
    }
}

fn send_nbd(client: &mut client::Client, ask: &Ask, cookie: u64) {
    let (command, flags, at, len, data) = words(ask);
    client.send(command, flags, cookie, at, len, data);
}

fn ask_nbd(client: &mut client::Client, ask: &Ask) -> Result<Vec<u8>, Reply> {
    let carried = match ask {
        Ask::Read(_, len) => *len as u32,
        _ => 0,
    };
    send_nbd(client, ask, 77);
    match client.receive_any(|_| carried) {
        (77, Reply::Data(data)) => Ok(data),
        (77, Reply::Done) => Ok(Vec::new()),
        (_, other) => Err(other),
    }
}

impl Site {
    fn new(
        driver: DriverChoice,
        device: Arc<Device>,
    ) -> Result<(Site, std::path::PathBuf), String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = Path::join(dir.path(), "s");
        let engine = engine(driver)?;
        let exports = Arc::new(Exports::default());
        let export = Export {
            device,
            description: String::new(),
            read_only: false,
        };
        assert!(exports.add("t", export));
        let listener = Listener::bind(&Address::Unix(path.clone())).map_err(|e| e.to_string())?;
        let server = Server::start(&engine, vec![listener], exports, Limits::default());
        let site = Site {
            _server: server,
            _engine: engine,
            _dir: dir,
        };
        Ok((site, path))
    }
}
