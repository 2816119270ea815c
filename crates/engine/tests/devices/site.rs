//! A device with its two sorts of clients at once: of the library, and of the NBD server.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use ulvm_engine::backend::{Backing, Direct, OpenHow};
use ulvm_engine::buf::Buf;
use ulvm_engine::device::Device;
use ulvm_engine::error::{ErrorKind, IoError};
use ulvm_engine::event::What;
use ulvm_engine::export::nbd::{Address, Export, Exports, Limits, Listener, Server};
use ulvm_engine::io::Request;
use ulvm_engine::limits::{DriverChoice, Settings};
use ulvm_engine::queue::Engine;
use ulvm_engine::sync::Client;
use ulvm_engine::table::Table;
use ulvm_engine::table_text::{Resolve, parse};
use ulvm_test_support::ensure;
use ulvm_test_support::suite::Outcome;

use crate::client::{self, Reply};

pub const DRIVERS: [DriverChoice; 2] = [DriverChoice::Pool, DriverChoice::Uring];

pub struct Site {
    pub device: Arc<Device>,
    pub library: Client,
    pub nbd: client::Client,
    server: Option<(Server, Engine)>,
    dir: TempDir,
}

/// Opens each word as a path; `mem` is memory.
pub struct Paths(pub Direct);

impl Resolve for Paths {
    fn resolve(&mut self, word: &str) -> Result<Arc<Backing>, String> {
        if word == "mem" {
            return Ok(Arc::new(Backing::memory("mem", 16 << 20, 512)));
        }
        let how = OpenHow {
            direct: self.0,
            ..OpenHow::default()
        };
        Backing::open(word.as_ref(), &how)
            .map(Arc::new)
            .map_err(|e| e.to_string())
    }
}

pub fn table(text: &str, direct: Direct) -> Result<Table, String> {
    parse(text, &mut Paths(direct)).map_err(|e| e.to_string())
}

impl Site {
    pub fn new(driver: DriverChoice, table: Table) -> Result<Site, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let settings = Settings {
            driver,
            queues: 1,
            ..Settings::default()
        };
        let engine = Engine::start(&settings).map_err(|e| e.to_string())?;
        let device = Device::with_table("vol", table);
        let exports = Arc::new(Exports::default());
        let export = Export {
            device: Arc::clone(&device),
            description: String::new(),
            read_only: false,
        };
        exports.add("vol", export);
        let path = dir.path().join("s");
        let listener = Listener::bind(&Address::Unix(path.clone())).map_err(|e| e.to_string())?;
        let server = Server::start(&engine, vec![listener], exports, Limits::default());
        let mut nbd = client::Client::connect(&path);
        nbd.begin("vol", true);
        Ok(Site {
            library: Client::new(&engine, Arc::clone(&device)),
            device,
            nbd,
            server: Some((server, engine)),
            dir,
        })
    }

    /// One more NBD client.
    pub fn another(&self) -> client::Client {
        let mut client = client::Client::connect(&self.dir.path().join("s"));
        client.begin("vol", true);
        client
    }

    /// What the library answers.
    pub fn ask(&self, request: Request) -> Result<Vec<u8>, IoError> {
        let completion = self.library.request(request).expect("the engine runs");
        completion
            .result
            .map(|()| completion.buf.map(|b| b.to_vec()).unwrap_or_default())
    }

    /// Both give this.
    pub fn reads(&mut self, at: u64, wanted: &[u8]) -> Outcome {
        let seen = self.ask(Request::read(at, Buf::zeroed(wanted.len())));
        ensure!(
            seen.as_deref() == Ok(wanted),
            "the library at {at}: {:?}",
            seen.err()
        );
        let seen = self.nbd.read(at, wanted.len() as u32);
        ensure!(
            seen.as_deref() == Ok(wanted),
            "NBD at {at}: {:?}",
            seen.err()
        );
        Ok(())
    }

    /// Both may write there.
    pub fn writes(&mut self, at: u64, data: &[u8]) -> Outcome {
        let done = self.ask(Request::write(at, Buf::copy_of(data), false));
        ensure!(done.is_ok(), "the library at {at}: {:?}", done.err());
        let done = self.nbd.write(at, data, 0);
        ensure!(done.is_ok(), "NBD at {at}: {:?}", done.err());
        Ok(())
    }

    /// A read fails for both, with this kind, at byte `bad`; the log names `below` and its sector.
    pub fn read_fails(&mut self, at: u64, len: u32, told: &Told) -> Outcome {
        let seen = self.ask(Request::read(at, Buf::zeroed(len as usize)));
        self.library_said(seen, told)?;
        let said = self.nbd.read(at, len);
        let wanted = Reply::Error(told.errno(), Some(told.byte));
        ensure!(
            said.as_ref() == Err(&wanted),
            "NBD: {said:?} instead of {wanted:?}"
        );
        self.logged(told)
    }

    /// The same of a write.
    pub fn write_fails(&mut self, at: u64, data: &[u8], told: &Told) -> Outcome {
        let seen = self.ask(Request::write(at, Buf::copy_of(data), false));
        self.library_said(seen, told)?;
        let said = self.nbd.write(at, data, 0);
        let wanted = (told.errno(), Some(told.byte));
        ensure!(said == Err(wanted), "NBD: {said:?} instead of {wanted:?}");
        self.logged(told)
    }

    fn library_said(&self, seen: Result<Vec<u8>, IoError>, told: &Told) -> Outcome {
        let Err(error) = seen else {
            return Err(format!("no error instead of {told:?}"));
        };
        ensure!(
            told.is(&error),
            "the library: {error:?} instead of {told:?}"
        );
        Ok(())
    }

    /// The two newest failures in the log are both of this.
    fn logged(&self, told: &Told) -> Outcome {
        let log = self.device.log().since(0, Duration::ZERO);
        let failed: Vec<_> = log
            .iter()
            .rev()
            .filter_map(|event| match &event.what {
                What::Failed(error) => Some(error),
                _ => None,
            })
            .take(2)
            .collect();
        let all = failed.len() == 2 && failed.iter().all(|error| told.is(error));
        ensure!(all, "the log says {failed:?} instead of {told:?}");
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The server ends with its engine, before the folder goes.
        drop(self.server.take());
    }
}

/// What an error has to say.
#[derive(Clone, Debug)]
pub struct Told {
    pub kind: ErrorKind,
    /// Device below and the sector there.
    pub below: String,
    pub sector: u64,
    /// Byte of the volume.
    pub byte: u64,
}

impl Told {
    fn is(&self, e: &IoError) -> bool {
        e.kind == self.kind
            && *e.device == *self.below
            && e.sector == self.sector
            && e.offset == self.byte
    }

    fn errno(&self) -> u32 {
        match self.kind {
            ErrorKind::NoSpace => 28,
            _ => 5,
        }
    }
}
