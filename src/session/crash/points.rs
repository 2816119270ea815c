//! What a crash may leave of a tape: for every prefix, each sector that was not flushed may have
//! reached the device or not.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ulvm_test_support::crash::Choices;

use crate::disk::tape::Event;

const SECTOR: usize = 512;
/// Up to so many unflushed sectors every combination is tried.
const ALL_UP_TO: usize = 10;
/// Combinations tried above that, beside none, all, and each one alone and alone absent.
const SAMPLE: u64 = 400;

/// One sector of an unflushed write.
#[derive(Clone)]
struct Piece {
    path: PathBuf,
    offset: usize,
    data: Vec<u8>,
}

/// The image files, set to one crash point after another.
pub(super) struct Points<'e> {
    events: &'e [Event],
    /// What is durable after `prefix` events.
    durable: BTreeMap<PathBuf, Vec<u8>>,
    files: BTreeMap<PathBuf, File>,
    /// What may have become durable, in order of writing.
    pieces: Vec<Piece>,
    /// Sectors of the files that differ from `durable`.
    applied: Vec<(PathBuf, usize)>,
    prefix: usize,
    choices: Choices,
}

/// Where the files stand.
pub(super) struct Point {
    /// Events that had happened.
    prefix: usize,
    /// The operation had returned.
    pub acknowledged: bool,
    /// Unflushed sectors that are there.
    kept: Vec<String>,
    /// Unflushed sectors in all.
    pub unflushed: usize,
}

impl Point {
    pub fn describe(&self) -> String {
        let (kept, all) = (&self.kept, self.unflushed);
        format!(
            "event {}, of {all} unflushed sectors these were kept: {kept:?}",
            self.prefix
        )
    }
}

impl<'e> Points<'e> {
    /// Puts `before` into the files. The first point is the one before event `from`.
    pub fn new(before: &BTreeMap<PathBuf, Vec<u8>>, events: &'e [Event], from: usize) -> Self {
        let files = before.keys().map(|path| {
            let file = File::options().write(true).open(path).unwrap();
            (path.clone(), file)
        });
        let mut points = Self {
            events,
            durable: before.clone(),
            files: files.collect(),
            pieces: Vec::new(),
            applied: Vec::new(),
            prefix: 0,
            choices: Choices::new(ALL_UP_TO, SAMPLE),
        };
        while points.prefix < from {
            points.step();
        }
        points.restore();
        points
    }

    /// All of the files as they are durable.
    pub fn restore(&mut self) {
        for (path, data) in &self.durable {
            self.files[path].write_all_at(data, 0).unwrap();
        }
        self.applied.clear();
    }

    pub fn next_point(&mut self) -> Option<Point> {
        loop {
            if let Some(kept) = self.choices.next_of(self.pieces.len()) {
                return Some(self.apply(&kept));
            }
            if self.prefix == self.events.len() {
                return None;
            }
            self.step();
            self.choices.restart();
        }
    }

    fn step(&mut self) {
        match &self.events[self.prefix] {
            Event::Write { path, offset, data } => {
                let offset = *offset as usize;
                assert_eq!(
                    (offset % SECTOR, data.len() % SECTOR),
                    (0, 0),
                    "whole sectors"
                );
                for (n, piece) in data.chunks(SECTOR).enumerate() {
                    self.pieces.push(Piece {
                        path: path.clone(),
                        offset: offset + n * SECTOR,
                        data: piece.to_vec(),
                    });
                }
            }
            Event::Flush { path } => {
                let all = std::mem::take(&mut self.pieces);
                let (done, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| p.path == *path);
                self.pieces = left;
                for piece in done {
                    let image = self.durable.get_mut(path).unwrap();
                    image[piece.offset..][..SECTOR].copy_from_slice(&piece.data);
                    self.files[path]
                        .write_all_at(&piece.data, piece.offset as u64)
                        .unwrap();
                }
            }
        }
        self.prefix += 1;
    }

    fn apply(&mut self, kept: &[bool]) -> Point {
        for (path, offset) in std::mem::take(&mut self.applied) {
            let sector = &self.durable[&path][offset..][..SECTOR];
            self.files[&path]
                .write_all_at(sector, offset as u64)
                .unwrap();
        }
        let mut names = Vec::new();
        for (piece, _) in self.pieces.iter().zip(kept).filter(|(_, kept)| **kept) {
            let file = &self.files[&piece.path];
            file.write_all_at(&piece.data, piece.offset as u64).unwrap();
            self.applied.push((piece.path.clone(), piece.offset));
            let name = piece.path.file_name().unwrap().to_string_lossy();
            names.push(format!("{name}@{}", piece.offset));
        }
        Point {
            prefix: self.prefix,
            acknowledged: self.prefix == self.events.len(),
            kept: names,
            unflushed: self.pieces.len(),
        }
    }
}
