//! `correlate`: files of JSON lines in, findings about several processes out.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::cli::correlate::Options;
use crate::correlate::{Across, HostClock, Pair};
use crate::detect::hop::Below;
use crate::detect::{Deadlines, deadline_not_forwarded, orphaned_downstream};
use crate::error::{Error, Notice};
use crate::finding::{DEFAULT_LIMIT, Merger, Phase};
use crate::sink::wire::{Body, FindingLine, Line};
use crate::sink::{Clock, End, EndReason, Output, Sinks, Stats};

/// Findings of the files that are remembered, to be named by those about their requests.
const KNOWN: usize = 65_536;

/// A request as a finding of its file names it: which file, process, goroutine and start.
type Whose = (usize, u32, u64, String);

/// What a file's own finding says of a request.
#[derive(Debug, Clone)]
struct Known {
    id: u64,
    below: Below,
}

#[derive(Debug, Default)]
struct Files {
    across: Across,
    known: HashMap<Whose, Known>,
}

/// Joins the files.
///
/// # Errors
/// One that cannot be read.
pub(super) fn run(options: &Options, sinks: &mut Sinks) -> Result<(), Error> {
    sinks.set_clock(Clock::default());
    let mut files = Files::default();
    for (source, path) in options.files.iter().enumerate() {
        files.read(source, path, sinks)?;
    }
    if files.across.left_out() > 0 {
        let left_out = files.across.left_out();
        sinks.emit(Output::Notice(Notice::FactsLeftOut { left_out }));
    }
    let (_, requests) = files.across.len();
    let joined = std::mem::take(&mut files.across).join();
    say_clocks(&joined.clocks, sinks);
    let grace_ns = u64::try_from(options.grace.as_nanos()).unwrap_or(u64::MAX);
    let deadlines = Deadlines::default();
    let mut merger = Merger::new(DEFAULT_LIMIT);
    let mut emitted = Vec::new();
    let (mut first_ns, mut last_ns) = (u64::MAX, 0);
    for pair in &joined.pairs {
        first_ns = first_ns.min(pair.call.call.start_ns);
        last_ns = last_ns.max(pair.call.until_ns).max(pair.request.until_ns);
        let known = files.of(pair);
        let below = known.map(|known| known.below.clone()).unwrap_or_default();
        if let Some(finding) = deadline_not_forwarded::judge(pair, &deadlines) {
            merger.report(finding.identified(), Phase::Whole, &mut emitted);
        }
        if let Some(mut finding) = orphaned_downstream::judge(pair, below, grace_ns) {
            finding.related.extend(known.map(|known| known.id));
            merger.report(finding.identified(), Phase::Whole, &mut emitted);
        }
    }
    merger.flush(last_ns, &mut emitted);
    for emission in emitted {
        sinks.emit(emission);
    }
    let stats = Stats {
        time_ns: last_ns,
        duration_ns: last_ns.saturating_sub(first_ns),
        requests: requests as u64,
        findings_evicted: merger.evicted(),
        joins: joined.totals,
        ..Stats::default()
    };
    let why = EndReason::FilesEnded;
    sinks.emit(Output::End(End { why, stats }));
    Ok(())
}

impl Files {
    fn read(&mut self, source: usize, path: &Path, sinks: &mut Sinks) -> Result<(), Error> {
        let unreadable = |cause| Error::Unreadable {
            what: "file",
            path: path.to_owned(),
            source: cause,
        };
        let file = File::open(path).map_err(unreadable)?;
        let (mut broken, mut facts) = (0u64, 0u64);
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
            match self.take(source, &bytes) {
                Some(is_fact) => facts += u64::from(is_fact),
                None => broken += 1,
            }
        }
        let path = path.to_owned();
        if broken > 0 {
            let notice = Notice::BrokenLines { path, broken };
            sinks.emit(Output::Notice(notice));
        } else if facts == 0 {
            sinks.emit(Output::Notice(Notice::NoFacts { path }));
        }
        Ok(())
    }

    /// Takes a line in: whether it was a fact; `None` where it is no line.
    fn take(&mut self, source: usize, bytes: &[u8]) -> Option<bool> {
        let line: Line = serde_json::from_slice(bytes).ok()?;
        let (told, host) = match &line.body {
            Body::Request(line) => (line.told()?, line.origin.host()),
            Body::Call(line) => (line.told()?, line.origin.host()),
            Body::Finding(finding) => {
                self.note(source, finding);
                return Some(false);
            }
            Body::Update(update) => {
                self.note(source, &update.finding);
                return Some(false);
            }
            _ => return Some(false),
        };
        self.across.take(told, &host, source);
        Some(true)
    }

    /// Where a request stood, as its own file tells.
    fn note(&mut self, source: usize, finding: &FindingLine) {
        let about = finding.request.as_ref().zip(finding.process.pid);
        let Some((request, pid)) = about.filter(|_| self.known.len() < KNOWN) else {
            return;
        };
        let Ok(id) = u64::from_str_radix(&finding.id, 16) else {
            return;
        };
        let whose = (source, pid, request.goid, request.start.clone());
        let below = Below {
            site: finding.site.as_ref().map(|site| site.frame()),
            stack: finding.stack.iter().map(|site| site.frame()).collect(),
            wait_reason: finding.evidence.wait_reason.clone(),
            wait_ns: finding.evidence.wait_ns,
            state: finding.evidence.state,
        };
        self.known.insert(whose, Known { id, below });
    }

    fn of(&self, pair: &Pair) -> Option<&Known> {
        let request = &pair.request.request;
        // As its own file writes it.
        let moved_ns = pair.other_host.as_ref().map_or(0, |(_, ns, _)| *ns);
        let start_ns = request
            .start_ns
            .saturating_add_signed(moved_ns.saturating_neg());
        let start = Clock::default().rfc3339(start_ns);
        let pid = pair.request.process.pid;
        self.known
            .get(&(pair.request_source, pid, request.goid, start))
    }
}

/// Says how far clocks are apart.
fn say_clocks(clocks: &[HostClock], sinks: &mut Sinks) {
    for clock in clocks {
        let offset = clock.offset;
        let Some(common) = clocks.get(offset.common) else {
            continue;
        };
        let notice = if common.host != clock.host {
            Notice::ClockOffset {
                host: clock.host.name.to_string(),
                common: common.host.name.to_string(),
                offset_ns: offset.ns,
                error_ns: offset.error_ns,
                pairs: offset.pairs,
            }
        } else if clocks.len() > 1
            && clocks
                .iter()
                .all(|it| it.host == clock.host || it.offset.common != offset.common)
        {
            Notice::ClockUnknown {
                host: clock.host.name.to_string(),
            }
        } else {
            continue;
        };
        sinks.emit(Output::Notice(notice));
    }
}
