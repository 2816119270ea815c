//! What happens to devices and to the daemon, told to whoever wants to know.
//!
//! Supervisor and worker send each event as one packet to a third process, the scribe, and wait for
//! nothing: what does not fit into the socket's buffer is dropped, counted, and told later. The
//! scribe writes the log and runs commands; it may lie on volumes of ours, hang, or die.
//!
//! * here: what an event is; `sender`: telling one; `scribe`: the process, started and kept by
//!   `held`; [`log`]: the file; `commands`: what is run.

mod commands;
mod held;
pub mod log;
mod scribe;
mod sender;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use ulvm_engine::event::What;
use ulvm_metadata::convert::{Zone, iso_text};

pub use commands::Commands;
pub use held::Events;
pub use scribe::{NAME as SCRIBE_NAME, main as scribe_main};
pub use sender::{Sender, forward};

/// Longest text of an event, in bytes: every event is one packet.
const TEXT_MAX: usize = 1024;

/// Kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A request failed.
    Error,
    /// A part of a redundant device serves no longer.
    Degraded,
    /// A redundant device is whole again.
    Recovered,
    /// A device was made.
    Activated,
    /// A device was removed.
    Deactivated,
    /// No request passes.
    Suspended,
    /// Requests pass again, perhaps through another table.
    Resumed,
    /// Something else uses what belongs to the device.
    Lost,
    /// A new worker has taken the place of one that died.
    Restarted,
    /// A new supervisor has taken over from a worker.
    TakenOver,
    /// Events were dropped, or commands not run.
    Dropped,
}

impl Class {
    /// All.
    pub const ALL: [Self; 11] = [
        Self::Error,
        Self::Degraded,
        Self::Recovered,
        Self::Activated,
        Self::Deactivated,
        Self::Suspended,
        Self::Resumed,
        Self::Lost,
        Self::Restarted,
        Self::TakenOver,
        Self::Dropped,
    ];

    /// Its name in the log and in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
            Self::Activated => "activated",
            Self::Deactivated => "deactivated",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Lost => "lost",
            Self::Restarted => "restarted",
            Self::TakenOver => "taken_over",
            Self::Dropped => "dropped",
        }
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// From 1 on, in the order of the log.
    #[serde(default)]
    pub number: u64,
    /// When: RFC 3339, UTC, with microseconds.
    pub time: String,
    /// What kind.
    pub class: Class,
    /// The device, by its device-mapper name.
    pub device: Option<String>,
    /// Sector (512 bytes) of the device.
    pub sector: Option<u64>,
    /// The device below that it happened on.
    pub below: Option<String>,
    /// Sector of that.
    pub below_sector: Option<u64>,
    /// In words.
    pub text: String,
}

impl Event {
    /// Of a class, with a text, happening now.
    pub fn new(class: Class, device: Option<&str>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Self {
            number: 0,
            time: time_text(SystemTime::now()),
            class,
            device: device.map(str::to_owned),
            sector: None,
            below: None,
            below_sector: None,
            text,
        }
    }

    /// Of what the engine tells; none for what the supervisor tells itself when it orders it.
    pub fn of(event: &ulvm_engine::event::Event) -> Option<Self> {
        let made = match &event.what {
            What::Failed(error) => Self {
                sector: Some(error.offset / 512),
                below: Some(error.device.to_string()),
                below_sector: Some(error.sector),
                ..Self::new(Class::Error, Some(&event.device), error.to_string())
            },
            What::Swapped | What::Suspended | What::Resumed => return None,
        };
        Some(Self {
            time: time_text(event.time),
            ..made
        })
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.time, self.class.name())?;
        if let Some(device) = &self.device {
            write!(f, " {device}")?;
        }
        if let Some(sector) = self.sector {
            write!(f, " sector {sector}")?;
        }
        match self.text.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.text),
        }
    }
}

fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let text = iso_text(seconds, Zone::UTC);
    let plain: String = text.chars().take(19).collect();
    format!("{}.{:06}Z", plain.replace(' ', "T"), since.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_they_are_written() {
        let event = Event {
            sector: Some(8),
            ..Event::new(Class::TakenOver, Some("vg-lv"), "why")
        };
        let text = serde_json::to_string(&event).expect("written");
        assert!(text.contains(r#""class":"taken_over""#), "{text}");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("read"), event);
        for class in Class::ALL {
            let text = serde_json::to_string(&class).expect("written");
            assert_eq!(text, format!("\"{}\"", class.name()));
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let event = Event::new(Class::Error, None, "ä".repeat(TEXT_MAX));
        assert_eq!(event.text.len(), TEXT_MAX);
        let event = Event::new(Class::Error, None, "x".to_owned() + &"ä".repeat(TEXT_MAX));
        assert_eq!(event.text.len(), TEXT_MAX - 1);
    }

    #[test]
    fn times_are_in_utc() {
        let time = UNIX_EPOCH + std::time::Duration::from_micros(1_795_450_104_000_007);
        assert_eq!(time_text(time), "2026-11-23T16:08:24.000007Z");
    }
}
