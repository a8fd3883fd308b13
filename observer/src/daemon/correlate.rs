//! `correlate`: files of JSON lines in, findings about several processes out.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::cli::correlate::Options;
use crate::detect::hop::Below;
use crate::error::{Error, Notice};
use crate::go::{Frame, Stack};
use crate::sink::wire::{Body, FindingLine, Line};
use crate::sink::{Clock, End, EndReason, Output, Sinks};

use super::across::{Gathered, Known, Measures};
use super::thresholds;

/// Joins the files.
///
/// # Errors
/// One that cannot be read, or none that tells of anything to join.
pub(super) fn run(options: &Options, sinks: &mut Sinks) -> Result<(), Error> {
    sinks.set_clock(Clock::default());
    let mut gathered = Gathered::default();
    let mut empty = Vec::new();
    let mut idle = 0;
    for (source, path) in options.files.iter().enumerate() {
        match read(&mut gathered, source, path, sinks)? {
            Holds::Facts => {}
            Holds::NothingSeen => idle += 1,
            Holds::NoFacts => empty.push(path.clone()),
        }
    }
    if !empty.is_empty() && empty.len() + idle == options.files.len() {
        return Err(Error::NoFacts { paths: empty });
    }
    for path in empty {
        sinks.emit(Output::Notice(Notice::NoFacts { path }));
    }
    let measures = Measures {
        grace_ns: u64::try_from(options.grace.as_nanos()).unwrap_or(u64::MAX),
        // Nothing here asks which other rules are on.
        deadlines: thresholds::deadlines(options.deadlines, false),
    };
    let found = gathered.judge(&measures, sinks);
    for emission in found.emissions {
        sinks.emit(emission);
    }
    let (why, stats) = (EndReason::FilesEnded, found.stats);
    sinks.emit(Output::End(End { why, stats }));
    Ok(())
}

/// Takes a file in.
fn read(
    gathered: &mut Gathered,
    source: usize,
    path: &Path,
    sinks: &mut Sinks,
) -> Result<Holds, Error> {
    let unreadable = |cause| Error::Unreadable {
        what: "file",
        path: path.to_owned(),
        source: cause,
    };
    let file = File::open(path).map_err(unreadable)?;
    let (mut broken, mut holds) = (0u64, Holds::NoFacts);
    let mut lines = BufReader::new(file);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if lines.read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match take(gathered, source, &bytes) {
            Some(line) => holds = holds.max(line),
            None => broken += 1,
        }
    }
    if broken > 0 {
        let path = path.to_owned();
        let notice = Notice::BrokenLines { path, broken };
        sinks.emit(Output::Notice(notice));
    }
    Ok(holds)
}

/// What a line says of its file, and the most that any says: the file's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    /// Nothing that can be joined.
    NoFacts,
    /// The same, and there was nothing to tell: not one request in all the time.
    NothingSeen,
    /// A request or a call.
    Facts,
}

/// Takes a line in; `None` where it is no line.
fn take(gathered: &mut Gathered, source: usize, bytes: &[u8]) -> Option<Holds> {
    let line: Line = serde_json::from_slice(bytes).ok()?;
    let (told, host) = match &line.body {
        Body::Request(line) => (line.told()?, line.origin.host()),
        Body::Call(line) => (line.told()?, line.origin.host()),
        Body::Finding(finding) => {
            note(gathered, source, finding);
            return Some(Holds::NoFacts);
        }
        Body::Update(update) => {
            note(gathered, source, &update.finding);
            return Some(Holds::NoFacts);
        }
        Body::End(end) if end.totals.requests == 0 => return Some(Holds::NothingSeen),
        _ => return Some(Holds::NoFacts),
    };
    gathered.take(told, &host, source);
    Some(Holds::Facts)
}

/// Where a request stood, as its own file tells.
fn note(gathered: &mut Gathered, source: usize, finding: &FindingLine) {
    let Some((request, pid)) = finding.request.as_ref().zip(finding.process.pid) else {
        return;
    };
    let Ok(id) = u64::from_str_radix(&finding.id, 16) else {
        return;
    };
    let whose = (source, pid, request.goid, request.start.clone());
    let frames: Vec<Frame> = finding.stack.iter().map(|site| site.frame()).collect();
    let stack = if finding.stack_cut {
        Stack::cut(frames)
    } else {
        frames.into()
    };
    let below = Below {
        site: finding.site.as_ref().map(|site| site.frame()),
        stack,
        wait_reason: finding.evidence.wait_reason.clone(),
        wait_ns: finding.evidence.wait_ns.flatten(),
        state: finding.evidence.state,
    };
    gathered.note(whose, Known { id, below });
}
