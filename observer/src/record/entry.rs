//! What a recording is made of.

use std::sync::Arc;

use crate::detect::{Answer, Ask, Thresholds};
use crate::go::{Frame, TypeName};
use crate::model::{Handed, Unit};
use crate::sink::Clock;

/// First bytes of every recording.
pub(super) const MAGIC: &[u8; 8] = b"OBSVREC\n";
/// Version of the format; readers refuse newer ones.
pub const FORMAT: u32 = 1;
/// Longest entry, bytes: a length beyond it is damage.
pub(super) const MAX_ENTRY: u32 = 1 << 20;

/// Kinds of entries. Numbers are never reused.
pub(super) mod kind {
    pub(in crate::record) const EVENT: u8 = 1;
    pub(in crate::record) const LOSS: u8 = 2;
    pub(in crate::record) const TICK: u8 = 3;
    pub(in crate::record) const ANSWER: u8 = 4;
    pub(in crate::record) const RESOLVED: u8 = 5;
    pub(in crate::record) const PROCESS_ENDED: u8 = 6;
    pub(in crate::record) const END: u8 = 7;
    pub(in crate::record) const CLOCK: u8 = 8;
}

/// What holds for the whole recording.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordingHeader {
    /// Version of the format.
    pub format: u32,
    /// Version of the observer that wrote it.
    pub observer: String,
    /// Realtime minus monotonic clock at the start, ns.
    pub realtime_minus_monotonic_ns: i64,
    /// Thresholds in force.
    pub thresholds: Thresholds,
    /// Name of the host; absent in older recordings.
    #[serde(default)]
    pub host: Arc<str>,
    /// The boot: recordings that share it share a clock; absent in older ones.
    #[serde(default)]
    pub boot_id: Arc<str>,
    /// Whether every request and every call was told of, which has findings know more; absent in older ones, which replay
    /// as if nobody had asked.
    #[serde(default)]
    pub facts: bool,
}

impl RecordingHeader {
    /// The header of a recording that begins now, on this host and in this boot of it; nothing but findings is told.
    #[must_use]
    pub fn new(clock: Clock, thresholds: &Thresholds, host: Arc<str>, boot_id: Arc<str>) -> Self {
        Self {
            format: FORMAT,
            observer: env!("CARGO_PKG_VERSION").to_owned(),
            realtime_minus_monotonic_ns: clock.realtime_minus_monotonic_ns,
            thresholds: thresholds.clone(),
            host,
            boot_id,
            facts: false,
        }
    }
}

/// An address resolved while recording.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolved {
    /// Frames of a return address.
    Frames {
        /// Whose.
        pid: u32,
        /// Address.
        pc: u64,
        /// Innermost first.
        frames: Arc<[Frame]>,
    },
    /// The type that an itab names.
    Type {
        /// Whose.
        pid: u32,
        /// Address.
        itab: u64,
        /// `None` where it could not be read.
        name: Option<Arc<TypeName>>,
    },
    /// The function around a return address.
    Function {
        /// Whose.
        pid: u32,
        /// Return address.
        pc: u64,
        /// Where it is declared; `None` where that is unknown.
        at: Option<Arc<Frame>>,
    },
    /// Where a function takes an address for a call.
    Handed {
        /// Whose.
        pid: u32,
        /// Return address of the call up to which was looked.
        pc: u64,
        /// Address.
        address: u64,
        /// Where.
        places: Handed,
    },
    /// A query whose text is in the executable.
    Query {
        /// Whose.
        pid: u32,
        /// Address of the text.
        address: u64,
        /// Bytes of it that were looked at.
        len: u64,
        /// Its name, not its text; `None` where it is not there.
        name: Option<Arc<str>>,
    },
    /// Where a function makes what it hands to a call.
    Made {
        /// Whose.
        pid: u32,
        /// Return address of the call.
        pc: u64,
        /// What names its type as that of an interface.
        itab: u64,
        /// Innermost first; empty where that is not one place.
        frames: Arc<[Frame]>,
    },
    /// A process.
    Unit {
        /// Pid.
        pid: u32,
        /// Who it is.
        unit: Arc<Unit>,
    },
}

/// A question with its answer. A replay knows the question by what it asks, not by its number:
/// rules that changed since ask other questions in between.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answered {
    /// What was asked.
    pub ask: Ask,
    /// What came back.
    pub answer: Answer,
}

/// One entry, read.
#[derive(Debug)]
pub enum Entry {
    /// An event: its time, ns, and its bytes, aligned to 8.
    Event(u64, Vec<u64>),
    /// Events were lost here.
    Loss,
    /// The wall clock stands so from here on: realtime minus monotonic, ns.
    Clock(i64),
    /// Everything up to this time, ns, is in.
    Tick(u64),
    /// A question and its answer, at a time, ns.
    Answer(u64, Box<Answered>),
    /// An address resolved.
    Resolved(Box<Resolved>),
    /// A process has ended.
    ProcessEnded(u32),
    /// The recording ends as it should, at this time, ns.
    End(u64),
}
