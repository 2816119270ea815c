//! Keeps a read-modify-write apart from every other write to the same file.
//!
//! A request that does not cover whole blocks of an O_DIRECT file is done by reading the blocks
//! around it, changing them, and writing them back. A write that landed between the two would be
//! undone. So such a request has the file's writes to itself: it waits until those under way have
//! ended, and others wait for it. Whole-block writes, the ordinary case, only count themselves.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::queue::Wake;

/// What is asked of the gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// Writes whole blocks.
    Shared,
    /// Reads, changes and writes back.
    Alone,
}

#[derive(Debug, Default)]
struct State {
    shared: usize,
    alone: bool,
    waiting: VecDeque<(Pass, Wake)>,
}

/// One per file.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

impl Gate {
    /// Lets the caller in (true), or keeps `wake` to call when it has been let in (false): then
    /// it is in already when it is woken.
    pub(crate) fn enter(&self, pass: Pass, wake: impl FnOnce() -> Wake) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() && state.admit(pass) {
            return true;
        }
        state.waiting.push_back((pass, wake()));
        false
    }

    /// The caller's write has ended.
    pub(crate) fn leave(&self, pass: Pass) {
        let mut woken = Vec::new();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match pass {
                Pass::Shared => state.shared = state.shared.saturating_sub(1),
                Pass::Alone => state.alone = false,
            }
            while let Some(&(pass, _)) = state.waiting.front() {
                if !state.admit(pass) {
                    break;
                }
                woken.extend(state.waiting.pop_front().map(|(_, wake)| wake));
            }
        }
        for wake in woken {
            wake.wake();
        }
    }
}

impl State {
    fn admit(&mut self, pass: Pass) -> bool {
        match pass {
            Pass::Shared if !self.alone => self.shared += 1,
            Pass::Alone if !self.alone && self.shared == 0 => self.alone = true,
            _ => return false,
        }
        true
    }
}
