//! Devices that record what is done to them, and what a crash may leave of it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use ulvm_metadata::commit::{Plan, Stage};
use ulvm_metadata::disk::{Disk, MemDisk};
use ulvm_metadata::units::Bytes;
use ulvm_test_support::crash::Choices;

const SECTOR: usize = 512;
/// Up to so many unflushed sectors every combination is tried.
const ALL_UP_TO: usize = 12;
/// Combinations tried above that, beside none, all and each one alone.
const SAMPLE: u64 = 1500;

/// One thing that was done.
#[derive(Clone, Debug)]
pub enum Event {
    Write {
        disk: usize,
        offset: usize,
        data: Vec<u8>,
    },
    Flush {
        disk: usize,
        /// Stage it ends.
        stage: Stage,
    },
}

/// A device that writes into a common record.
pub struct Recorded {
    index: usize,
    disk: MemDisk,
    events: Rc<RefCell<Vec<Event>>>,
    stage: Rc<Cell<Stage>>,
}

impl Disk for Recorded {
    fn size(&self) -> Bytes {
        self.disk.size()
    }
    fn logical_block_size(&self) -> u32 {
        self.disk.logical_block_size()
    }
    fn read_at(&self, offset: Bytes, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf)
    }
    fn write_at(&mut self, offset: Bytes, data: &[u8]) -> io::Result<()> {
        self.disk.write_at(offset, data)?;
        self.events.borrow_mut().push(Event::Write {
            disk: self.index,
            offset: offset.0 as usize,
            data: data.to_vec(),
        });
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.events.borrow_mut().push(Event::Flush {
            disk: self.index,
            stage: self.stage.get(),
        });
        Ok(())
    }
}

/// Runs a plan on copies of the devices, stage by stage; returns what was done and what the devices
/// hold then.
pub fn record(before: &[MemDisk], plan: &Plan) -> (Vec<Event>, Vec<MemDisk>) {
    let stage = Rc::new(Cell::new(Stage::Wipe));
    let events = Rc::new(RefCell::new(Vec::new()));
    let mut disks: Vec<Recorded> = before
        .iter()
        .enumerate()
        .map(|(index, disk)| Recorded {
            index,
            disk: disk.clone(),
            events: Rc::clone(&events),
            stage: Rc::clone(&stage),
        })
        .collect();
    let mut refs: Vec<&mut dyn Disk> = disks.iter_mut().map(|d| d as &mut dyn Disk).collect();
    for staged in &plan.stages {
        stage.set(staged.stage);
        let alone = Plan {
            stages: vec![staged.clone()],
        };
        alone.execute(&mut refs).expect("memory can be written");
    }
    let events = events.borrow().clone();
    (events, disks.into_iter().map(|d| d.disk).collect())
}

/// The record with one flush taken away, for each flush.
pub fn without_flush(events: &[Event]) -> Vec<(Stage, Vec<Event>)> {
    let mut out = Vec::new();
    for (i, event) in events.iter().enumerate() {
        if let Event::Flush { stage, .. } = event {
            let mut fewer = events.to_vec();
            fewer.remove(i);
            out.push((*stage, fewer));
        }
    }
    out
}

/// What a crash left.
pub struct CrashPoint {
    pub disks: Vec<MemDisk>,
    /// The operation had returned.
    pub acknowledged: bool,
    prefix: usize,
    kept: Vec<String>,
}

impl CrashPoint {
    pub fn describe(&self) -> String {
        format!(
            "event {}, of the unflushed sectors these were kept: {:?}",
            self.prefix, self.kept
        )
    }
}

/// One sector of an unflushed write.
#[derive(Clone)]
struct Piece {
    disk: usize,
    offset: usize,
    data: Vec<u8>,
}

/// All crash points of a record, one by one.
pub struct CrashPoints<'e> {
    events: &'e [Event],
    /// What is durable after `prefix` events.
    durable: Vec<MemDisk>,
    /// What may have become so, in order of writing.
    pieces: Vec<Piece>,
    prefix: usize,
    choices: Choices,
}

impl<'e> CrashPoints<'e> {
    pub fn new(before: &[MemDisk], events: &'e [Event]) -> Self {
        let durable = before
            .iter()
            .map(|d| MemDisk {
                data: d.data.clone(),
                log: Vec::new(),
            })
            .collect();
        Self {
            events,
            durable,
            pieces: Vec::new(),
            prefix: 0,
            choices: Choices::new(ALL_UP_TO, SAMPLE),
        }
    }

    pub fn next_point(&mut self) -> Option<CrashPoint> {
        loop {
            if let Some(kept) = self.choices.next_of(self.pieces.len()) {
                return Some(self.point(&kept));
            }
            match self.events.get(self.prefix)? {
                Event::Write { disk, offset, data } => {
                    assert_eq!(offset % SECTOR, 0, "writes are whole sectors");
                    for (n, piece) in data.chunks(SECTOR).enumerate() {
                        self.pieces.push(Piece {
                            disk: *disk,
                            offset: offset + n * SECTOR,
                            data: piece.to_vec(),
                        });
                    }
                }
                Event::Flush { disk, .. } => {
                    let (done, left) = std::mem::take(&mut self.pieces)
                        .into_iter()
                        .partition(|p| p.disk == *disk);
                    self.pieces = left;
                    let done: Vec<Piece> = done;
                    for piece in &done {
                        apply(&mut self.durable, piece);
                    }
                }
            }
            self.prefix += 1;
            self.choices.restart();
        }
    }

    fn point(&self, kept: &[bool]) -> CrashPoint {
        let mut disks = self.durable.clone();
        let mut names = Vec::new();
        for (piece, _) in self.pieces.iter().zip(kept).filter(|(_, kept)| **kept) {
            apply(&mut disks, piece);
            names.push(format!("{}@{}", piece.disk, piece.offset));
        }
        CrashPoint {
            disks,
            acknowledged: self.prefix == self.events.len(),
            prefix: self.prefix,
            kept: names,
        }
    }
}

fn apply(disks: &mut [MemDisk], piece: &Piece) {
    disks[piece.disk].data[piece.offset..piece.offset + piece.data.len()]
        .copy_from_slice(&piece.data);
}
