//! What the machine is told, and what it asks for.

use std::time::Duration;

use super::Place;
use crate::buf::Buf;
use crate::error::ErrorKind;
use crate::io::Op;

/// A request, by the number its maker gave.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// An operation that the machine asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The mirror is to be used: assemble it, or go on after [`Action::Stopped`].
    Start,
    /// A request, within one region; a flush has neither offset nor length.
    Request {
        /// Its number, not in use now.
        ticket: Ticket,
        /// What to do.
        op: Op,
        /// First byte of the mirror.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// An operation has ended.
    Done {
        /// Which.
        id: OpId,
        /// How.
        result: Result<(), ErrorKind>,
        /// The memory of [`Action::Read`].
        buf: Option<Buf>,
    },
    /// The time of [`Action::Wake`] has come.
    Tick,
    /// Clear the marks that can be and make everything durable: [`Action::Stopped`] follows.
    /// Requests that come meanwhile wait for [`Event::Start`].
    Stop,
}

/// What somebody may want of a running mirror.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Copy everything anew from the first leg.
    Resync,
    /// Compare the legs.
    Check,
    /// Compare the legs, and copy the first over those that differ.
    Repair,
    /// End what runs in the background; recovery begins again by itself.
    Idle,
    /// Nothing in the background until another message.
    Frozen,
    /// Go on with recovery.
    Recover,
    /// A leg that failed is there again: bring it up to date.
    Return(usize),
}

/// Why a message was not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Something else runs in the background.
    Busy,
    /// Not with this mirror as it is.
    Invalid,
}

/// Something is to be done. The operations of one call may be carried out in any order.
#[derive(Debug)]
pub enum Action {
    /// A part of a request's work, with the request's own memory. Of a read there is one at a time.
    Child {
        /// Its name in [`Event::Done`].
        id: OpId,
        /// Whose.
        ticket: Ticket,
        /// On which leg.
        leg: usize,
        /// What; not always the request's own operation.
        op: Op,
        /// First byte, from the leg's first.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Read into memory of the machine's own.
    Read {
        /// Its name.
        id: OpId,
        /// Where.
        place: Place,
        /// First byte.
        offset: u64,
        /// Bytes. Of a metadata or log device there may be fewer.
        len: u64,
    },
    /// Write the same to several places.
    Write {
        /// Places, each with the name of the operation.
        to: Vec<(OpId, Place)>,
        /// First byte.
        offset: u64,
        /// The bytes.
        buf: Buf,
        /// Durable when it ends?
        fua: bool,
    },
    /// Make durable what was written to a place.
    Flush {
        /// Its name.
        id: OpId,
        /// Where.
        place: Place,
    },
    /// A request is answered.
    Answer {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<(), Failure>,
    },
    /// [`Event::Tick`] at this time, or later if that cannot be. An earlier one not yet come is
    /// still to come.
    Wake(Duration),
    /// A request is to be made anew once the mirror runs again, by whatever table is live then: it
    /// could be neither carried out nor refused.
    Again(Ticket),
    /// Somebody may want to know.
    Tell(News),
    /// [`Event::Stop`] is done: nothing is under way.
    Stopped,
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The kind.
    pub kind: ErrorKind,
    /// The leg that failed; none if none was reached.
    pub leg: Option<usize>,
    /// Byte of the mirror.
    pub offset: u64,
}

/// What happened to a mirror.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// It runs.
    Assembled,
    /// It cannot run; every request fails.
    Unusable(String),
    /// A leg is not used any more.
    LegFailed {
        /// Which.
        leg: usize,
        /// Byte of the leg where it failed; none if not by a request (its metadata, a flush).
        offset: Option<u64>,
        /// How.
        kind: ErrorKind,
    },
    /// A bad block was written anew from another leg.
    Corrected {
        /// Which leg.
        leg: usize,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// A leg that was only the same as the rest where the mirror was not written when it crashed
    /// has taken the place of the last whole one, which failed.
    Promoted(usize),
    /// A leg is up to date, and known to be.
    LegInSync(usize),
    /// All legs hold the same everywhere.
    InSync,
    /// Nothing can be marked any more.
    LogFailed,
    /// A check or repair has come to the end.
    Scrubbed {
        /// Sectors in blocks that differed.
        mismatches: u64,
    },
}
