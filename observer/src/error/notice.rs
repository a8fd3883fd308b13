//! What is said on stderr although observing goes on.

use std::cmp::Ordering;
use std::path::PathBuf;

use crate::finding::{clock_apart, span};
use crate::foreign::harmless;
use crate::style::Styles;

/// The closed set of warnings. Each is said once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// A variable that looks like a setting and is none.
    #[error("`{name}` in the environment means nothing to observer{}", nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`?")))]
    UnknownVariable {
        /// As it stands there.
        name: String,
        /// The known one that looks most like it, if one does.
        nearest: Option<String>,
    },
    /// Socket states cannot be read portably without type information.
    #[error("this kernel has no BTF: what the peer's socket says is not compared with Go's view")]
    NoBtf,
    /// Another observer is attached.
    #[error("another observer watches pid {pid} too: both are right, the target pays twice")]
    SecondObserver {
        /// Whose.
        pid: u32,
    },
    /// Somebody else's probes sit on the same functions.
    #[error(
        "other probes sit on functions of pid {pid} that observer hooks: the target pays for both"
    )]
    OtherProbes {
        /// Whose.
        pid: u32,
    },
    /// One process of several cannot be observed.
    #[error("pid {pid} (`{}`) is not observed: {why}", exe.display())]
    NotObserved {
        /// Whose.
        pid: u32,
        /// What it executes.
        exe: PathBuf,
        /// As if it had been the only one.
        why: String,
    },
    /// Lines of a file that are none of observer's.
    #[error("{} of `{}` {}", lines_of(*broken), path.display(), left_out(*broken))]
    BrokenLines {
        /// Which file.
        path: PathBuf,
        /// How many.
        broken: u64,
    },
    /// A file without requests and calls.
    #[error("`{}` tells of no request and no call: make it with `observer run --facts --output json`", path.display())]
    NoFacts {
        /// Which file.
        path: PathBuf,
    },
    /// The same in two files, or twice in one.
    #[error("{}", counted_once(*twice))]
    FactsTwice {
        /// How often one was told of that had been before.
        twice: u64,
    },
    /// More than can be joined at once.
    #[error(
        "{left_out} requests and calls are too many to be joined with the others: they are left out"
    )]
    FactsLeftOut {
        /// How many.
        left_out: u64,
    },
    /// How far two clocks are apart.
    #[error("the clock of {host} is {} that of {common}, sure to {}, from {}: its times are moved", apart(*offset_ns, *error_ns), span(*error_ns), calls(*pairs))]
    ClockOffset {
        /// Whose.
        host: String,
        /// Than whose.
        common: String,
        /// What is added to its times, ns.
        offset_ns: i64,
        /// By how much that may be wrong, ns.
        error_ns: u64,
        /// Calls that agree.
        pairs: usize,
    },
    /// Nothing tells how far a clock is from the others.
    #[error(
        "no call tells how far the clock of {host} is from the others: nothing across it is claimed"
    )]
    ClockUnknown {
        /// Whose.
        host: String,
    },
    /// The kernel does not tell of processes that start.
    #[error("this kernel does not tell of new processes ({why}): they are looked for every second")]
    NoStarts {
        /// What it said.
        why: String,
    },
    /// Some hooks could not be proved for this Go version.
    #[error(
        "{version} is newer than this observer knows; hooks that cannot be proved are off: {hooks}"
    )]
    NewerGo {
        /// As the binary states it.
        version: String,
        /// Names, comma separated.
        hooks: String,
    },
    /// The log goes on in the old file.
    #[error("cannot rotate the log `{}` ({why}); it goes on in the same file", path.display())]
    RotationFailed {
        /// The log.
        path: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// What all goroutines did is not kept.
    #[error("cannot write a snapshot of goroutines into `{}` ({why}); the finding is told without", dir.display())]
    SnapshotFailed {
        /// The folder.
        dir: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// What the goroutines of a process wait on cannot be proved to be lost.
    #[error(
        "references are not searched for in pid {pid} ({why}): a leak that only they would prove is told by its age"
    )]
    NotSearched {
        /// Whose.
        pid: u32,
        /// As `observer goroutines --references` says it.
        why: String,
    },
    /// Lines are missing from an output.
    #[error("cannot write {what} ({why}); lines that are lost are counted")]
    WriteFailed {
        /// Which output.
        what: String,
        /// What the kernel said.
        why: String,
    },
    /// The reader of an output is too slow.
    #[error("{what} is read too slowly: {} dropped", lines_of(*lines))]
    LinesDropped {
        /// Which output.
        what: String,
        /// How many.
        lines: u64,
    },
    /// A recording has no hole: where it cannot go on, it ends.
    #[error("cannot write the recording `{}` ({why}): it ends here, observing goes on; {remedy}", path.display())]
    RecordingEnded {
        /// The recording.
        path: PathBuf,
        /// What the kernel said.
        why: String,
        /// What the user can do.
        remedy: String,
    },
    /// The observer that recorded it was killed, or could write no more.
    #[error("the recording `{}` ends early: whoever wrote it was killed, or could write no more", path.display())]
    RecordingUnfinished {
        /// The recording.
        path: PathBuf,
    },
    /// A program in the kernel saw a fault of ours.
    #[error("a probe complains: {what}")]
    Probe {
        /// In its words.
        what: String,
    },
    /// Events were lost.
    #[error("{events} events lost ({causes}): requests that they belong to are unknown, not clean")]
    EventsLost {
        /// How many, all causes.
        events: u64,
        /// `ring buffer full 12, malformed 1`.
        causes: String,
    },
}

/// `1 line`, `2 lines`.
fn lines_of(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} line{plural}")
}

/// What is said of so many lines that nobody can read.
const fn left_out(lines: u64) -> &'static str {
    if lines == 1 {
        "is none of observer's, or cut: it is left out"
    } else {
        "are none of observer's, or cut: they are left out"
    }
}

/// What is said of so many requests and calls that were read before.
fn counted_once(facts: u64) -> String {
    if facts == 1 {
        "1 request or call is told of again: it counts once".to_owned()
    } else {
        format!("{facts} requests and calls are told of again: each counts once")
    }
}

/// `3.00012 s behind`.
fn apart(offset_ns: i64, error_ns: u64) -> String {
    let (apart, way) = clock_apart(offset_ns, error_ns);
    match way {
        Ordering::Greater => format!("{apart} ahead of"),
        Ordering::Less => format!("{apart} behind"),
        Ordering::Equal => "even with".to_owned(),
    }
}

/// `1 call`, `2 calls`.
fn calls(number: usize) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} call{plural}")
}

impl Notice {
    /// `warning: …` with a newline.
    #[must_use]
    pub fn render(&self, styles: Styles) -> String {
        let text = self.to_string();
        format!("{} {}\n", styles.warning("warning:"), harmless(&text))
    }
}
