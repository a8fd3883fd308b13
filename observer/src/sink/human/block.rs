//! One finding as a block of labelled lines.

use crate::finding::{CallOutcome, Finding, RuleName, Severity, UpdateReason};
use crate::go::Frame;
use crate::style::Styles;

use super::chain;
use super::hop::Hop;
use super::layout::{Row, Terminal};
use super::naming::{broken, line_of, source};
use super::place::{full_function, is_below, is_std, is_wrapper, short_file, short_function};
use super::surge;
use super::timeline::{cancel, timeline};

/// The finding, whole.
#[must_use]
pub fn finding_block(finding: &Finding, terminal: &Terminal, many_processes: bool) -> String {
    let view = View { finding, terminal };
    let mut rows = vec![];
    rows.extend(view.request());
    let hop = Hop::of(finding, terminal);
    match &hop {
        Some(hop) => rows.push(hop.caller()),
        None if many_processes || terminal.verbose => rows.push(view.process()),
        None => {}
    }
    rows.extend(view.at());
    rows.extend(view.waits());
    rows.extend(surge::rows(finding, terminal));
    rows.extend(view.via());
    rows.extend(view.started());
    rows.extend(view.call());
    match &hop {
        Some(hop) => {
            rows.extend(hop.budget());
            rows.push(hop.below());
            rows.extend(hop.works_at());
        }
        None => rows.extend(view.budget()),
    }
    rows.extend(view.cancel());
    rows.extend(chain::row(finding, terminal));
    let pieces = timeline(finding, terminal);
    if !pieces.is_empty() {
        // A moment that is left out would make others look like neighbours.
        let mut short = pieces.clone();
        if let Some(start) = short.first_mut() {
            "0".clone_into(start);
        }
        rows.push(Row::chain("time", 3, pieces).or(short));
    }
    rows.extend(view.seen());
    rows.extend(view.routes());
    rows.extend(view.causes());
    if !finding.help.is_empty() {
        rows.push(Row::words("help", 0, &terminal.glyphs.clean(&finding.help)));
    }
    if terminal.verbose {
        rows.extend(view.stack());
        rows.push(view.ids());
    }
    view.block(word(finding.severity), &rows, &finding.message)
}

/// What is new about a finding that was shown before.
#[must_use]
pub fn update_block(finding: &Finding, reason: UpdateReason, terminal: &Terminal) -> String {
    let view = View { finding, terminal };
    let why = match reason {
        UpdateReason::Ended => "ended",
        UpdateReason::Severity => "more severe",
        UpdateReason::Worse => "worse case",
        UpdateReason::Count => "seen again",
        UpdateReason::Related => "with another",
    };
    let times = terminal.glyphs.number(finding.count);
    let message = format!("{} ({why}; {times} in all)", finding.message);
    let mut rows: Vec<Row> = view.request().into_iter().chain(view.at()).collect();
    rows.extend(surge::rows(finding, terminal));
    if reason == UpdateReason::Related {
        rows.extend(view.seen());
    }
    rows.extend(view.routes());
    rows.extend(view.causes());
    view.block("update", &rows, &message)
}

/// The severity as the word at the beginning of a finding.
const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// `text` in the colour of a severity.
pub(super) fn in_color_of(severity: Severity, styles: Styles, text: &str) -> String {
    match severity {
        Severity::Error => styles.error(text),
        Severity::Warning => styles.warning(text),
        Severity::Info => styles.info(text),
    }
}

struct View<'a> {
    finding: &'a Finding,
    terminal: &'a Terminal,
}

impl View<'_> {
    fn block(&self, word: &str, rows: &[Row], message: &str) -> String {
        let tag = format!("{word}[{}]", self.finding.rule);
        let styled = in_color_of(self.finding.severity, self.terminal.styles, &tag);
        let message = self.clean(message);
        self.terminal
            .block(&styled, &format!("{tag}: {message}"), rows)
    }

    fn clean(&self, text: &str) -> String {
        self.terminal.glyphs.clean(text)
    }

    fn file(&self, frame: &Frame) -> String {
        self.clean(&short_file(frame, &self.finding.process.module))
    }

    fn request(&self) -> Option<Row> {
        let request = self.finding.request.as_ref()?;
        let width = self.terminal.text_width();
        let mut parts = vec![self.clean(&line_of(request))];
        let mut short = parts.clone();
        if let Some(id) = &request.id {
            let source = request.id_source.as_ref().map_or_else(String::new, source);
            let more = if request.id_truncated {
                self.terminal.glyphs.ellipsis
            } else {
                ""
            };
            let id = format!("id {}{more}", self.terminal.glyphs.spelled(id));
            short.extend(broken(&id, width));
            let named = format!("{id}{}", self.clean(&source));
            if named.chars().count() <= width {
                parts.push(named);
            } else {
                parts.extend(broken(&id, width));
            }
        }
        if self.terminal.verbose
            && let Some(trace) = &request.trace_id
        {
            parts.push(self.clean(&format!("trace {trace}")));
        }
        if let Some(peer) = &request.peer {
            parts.push(self.clean(&format!("peer {peer}")));
        }
        if self.terminal.verbose {
            parts.push(format!("goroutine {}", request.goid));
        }
        Some(Row::facts("request", 1, parts).or(short))
    }

    fn process(&self) -> Row {
        let process = &self.finding.process;
        let name = format!("{} (pid {})", process.name, process.pid);
        Row::facts(
            "process",
            1,
            vec![self.clean(&name), self.clean(&process.go)],
        )
    }

    fn at(&self) -> Option<Row> {
        let site = self.finding.site.as_ref()?;
        let mut parts = vec![self.clean(&full_function(&site.function)), self.file(site)];
        let short = parts.clone();
        if self.stuck().is_none() {
            parts.extend(self.reason());
        }
        parts.extend(self.live());
        Some(Row {
            strong: true,
            ..Row::facts("at", 0, parts).or(short)
        })
    }

    /// Why it waits, and for how long.
    fn reason(&self) -> Option<String> {
        let evidence = &self.finding.evidence;
        let reason = evidence.wait_reason.as_ref()?;
        let glyphs = self.terminal.glyphs;
        let length = evidence.wait_ns.map_or_else(String::new, |ns| {
            format!(", {} {}", glyphs.at_least, glyphs.duration(ns))
        });
        Some(self.clean(&format!("{reason}{length}")))
    }

    /// Where a goroutine that was left behind waits, outside the standard library: its site is what has started it.
    fn stuck(&self) -> Option<&Frame> {
        let finding = self.finding;
        let module = &finding.process.module;
        let is_left = finding.rule == RuleName::GoroutineLeak;
        let mut stack = finding.stack.iter().filter(|_| is_left);
        stack.find(|frame| !is_std(frame, module))
    }

    fn waits(&self) -> Option<Row> {
        let place = self.stuck()?;
        let mut parts = vec![
            self.clean(&full_function(&place.function)),
            self.file(place),
        ];
        let short = parts.clone();
        parts.extend(self.reason());
        Some(Row::facts("waits", 0, parts).or(short))
    }

    /// How many there are of the site's kind.
    fn live(&self) -> Option<String> {
        let evidence = &self.finding.evidence;
        match self.finding.rule {
            RuleName::GoroutineLeak => surge::held(
                evidence.live,
                evidence.stack_bytes,
                evidence.per_hour,
                self.terminal,
            ),
            // What has grown tells it all.
            RuleName::GoroutineSurge => None,
            _ => {
                let live = self.terminal.glyphs.number(evidence.live?);
                Some(format!("{live} not yet freed"))
            }
        }
    }

    /// From the outermost frame to the one that called the site, without the standard library
    /// in between.
    fn via(&self) -> Option<Row> {
        let module = &self.finding.process.module;
        let site = self.finding.site.as_ref()?;
        let inner = self.finding.stack.iter().position(|frame| frame == site)?;
        let outer: Vec<&Frame> = self
            .finding
            .stack
            .iter()
            .skip(inner + 1)
            .filter(|frame| frame.package() != "runtime" && !is_wrapper(&frame.function))
            .collect();
        let mut names: Vec<String> = outer
            .iter()
            .rev()
            .enumerate()
            .filter(|(index, frame)| *index == 0 || !is_std(frame, module))
            .map(|(_, frame)| self.clean(&short_function(&frame.function)))
            .collect();
        if names.is_empty() {
            return None;
        }
        const KEPT: usize = 3;
        if !self.terminal.verbose && names.len() > KEPT + 2 {
            let dropped = names.len() - KEPT;
            names.splice(1..dropped, [self.terminal.glyphs.ellipsis.to_owned()]);
        }
        if self.finding.stack.is_cut() {
            names.insert(0, self.terminal.glyphs.ellipsis.to_owned());
        }
        for name in names.iter_mut().skip(1) {
            name.insert_str(0, "> ");
        }
        Some(Row::chain("via", 7, names))
    }

    /// The goroutine that works, where that is not the handler's.
    fn started(&self) -> Option<Row> {
        let goroutine = self.finding.evidence.goroutine.as_deref()?;
        let site = goroutine.started_at.as_ref();
        let mut parts: Vec<String> = site
            .into_iter()
            .flat_map(|site| [self.clean(&full_function(&site.function)), self.file(site)])
            .collect();
        let short = parts.clone();
        parts.push(format!("goroutine {}", goroutine.goid));
        if let Some(reason) = &goroutine.wait_reason {
            parts.push(self.clean(reason));
        }
        if goroutine.others > 0 {
            parts.push(format!(
                "{} more",
                self.terminal.glyphs.number(goroutine.others)
            ));
        }
        Some(Row::facts("started", 7, parts).or(short))
    }

    fn call(&self) -> Option<Row> {
        let call = self.finding.evidence.call.as_ref()?;
        let mut parts = vec![self.clean(&format!("{} {}", call.kind, call.target))];
        let short = parts.clone();
        let length = |ns| self.terminal.glyphs.duration(ns);
        match (call.outcome, call.duration_ns) {
            (CallOutcome::Running, Some(0)) => parts.push("just begun".to_owned()),
            (CallOutcome::Running, Some(ns)) => parts.push(format!("{} so far", length(ns))),
            (_, Some(ns)) => parts.push(length(ns)),
            (_, None) => {}
        }
        Some(Row::facts("call", 6, parts).or(short))
    }

    /// Both values that a rule about deadlines compares, and who set the one that counts.
    fn budget(&self) -> Option<Row> {
        let evidence = &self.finding.evidence;
        let timer = evidence.timer?;
        let glyphs = &self.terminal.glyphs;
        let asked = evidence
            .asked_ns
            .map_or_else(String::new, |ns| format!(" {}", glyphs.signed_duration(ns)));
        let mut parts = vec![format!("{}{asked}", timer.name())];
        if let Some(site) = &evidence.timer_site {
            parts.push(self.clean(&format!("set at {}", self.file(site))));
        }
        if let Some(ns) = evidence.remaining_ns {
            parts.push(format!("{} left", glyphs.signed_duration(ns)));
        }
        let site = evidence.deadline_site.as_ref();
        let set = site.map(|site| format!("set at {}", self.file(site)));
        let header = evidence.deadline_header.as_ref();
        if let Some(from) = set.or_else(|| Some(format!("sent in {}", header?))) {
            let allowed = evidence
                .deadline_ns
                .map_or_else(String::new, |ns| format!("{} ", glyphs.signed_duration(ns)));
            parts.push(self.clean(&format!("of {allowed}{from}")));
        }
        Some(Row::facts("budget", 4, parts))
    }

    fn cancel(&self) -> Option<Row> {
        let site = self.finding.evidence.cancel_site.as_ref()?;
        let file = self.file(site);
        let parts = vec![self.clean(&full_function(&site.function)), file.clone()];
        Some(Row::facts("cancel", 5, parts).or(vec![file]))
    }

    fn seen(&self) -> Option<Row> {
        let mut parts = vec![];
        if self.finding.count > 1 {
            let times = self.terminal.glyphs.number(self.finding.count);
            parts.push(format!("{times} times"));
        }
        if let Some(caller) = &self.finding.caller {
            let site = self.finding.site.as_ref();
            let is_below = site.is_some_and(|site| is_below(caller, site, &self.finding.stack));
            let way = if is_below { "at" } else { "called from" };
            parts.push(format!("{way} {}", self.file(caller)));
        }
        if !self.finding.related.is_empty() {
            let ids: Vec<String> = self
                .finding
                .related
                .iter()
                .map(|id| format!("{id:016x}"))
                .collect();
            parts.push(format!("see also {}", ids.join(", ")));
        }
        (!parts.is_empty()).then(|| Row::facts("seen", 9, parts))
    }

    /// Worth a line where the site is not one route's own.
    fn routes(&self) -> Option<Row> {
        let routes = &self.finding.routes;
        let shown = if self.terminal.verbose { 1 } else { 2 };
        if routes.named.len() < shown {
            return None;
        }
        let number = |times| self.terminal.glyphs.number(times);
        let mut parts: Vec<String> = routes
            .named
            .iter()
            .map(|(route, times)| self.clean(&format!("{route} {}", number(*times))))
            .collect();
        if routes.others > 0 {
            parts.push(format!("others {}", number(routes.others)));
        }
        Some(Row::facts("routes", 8, parts))
    }

    /// Worth a line where cases died of different things.
    fn causes(&self) -> Option<Row> {
        let causes = &self.finding.causes;
        if !causes.several() {
            return None;
        }
        let named = causes.named.iter().map(|cause| {
            let by = cancel(cause.cancelled_by);
            match &cause.cancel_site {
                Some(site) => format!("{by} {}", self.file(site)),
                None => by.to_owned(),
            }
        });
        let mut parts: Vec<String> = named.collect();
        if causes.others > 0 {
            let others = self.terminal.glyphs.number(causes.others);
            parts.push(format!("others {others}"));
        }
        Some(Row::facts("causes", 8, parts))
    }

    fn stack(&self) -> Vec<Row> {
        let stack = &self.finding.stack;
        let frames = stack.iter().enumerate();
        let more = stack.is_cut().then(|| {
            let ellipsis = self.terminal.glyphs.ellipsis;
            Row::words("", 0, &format!("{ellipsis} and more, which were not read"))
        });
        frames
            .map(|(index, frame)| {
                let parts = vec![
                    self.clean(&full_function(&frame.function)),
                    self.clean(&format!("{}:{}", frame.file, frame.line)),
                ];
                Row::facts(if index == 0 { "stack" } else { "" }, 0, parts)
            })
            .chain(more)
            .collect()
    }

    fn ids(&self) -> Row {
        let parts = vec![
            format!("{:016x}", self.finding.id),
            format!("fingerprint {}", self.finding.fingerprint),
            format!("confidence {}", confidence(self.finding)),
        ];
        Row::facts("id", 0, parts)
    }
}

pub(super) const fn confidence(finding: &Finding) -> &'static str {
    use crate::finding::Confidence;
    match finding.confidence {
        Confidence::High => "high",
        Confidence::Medium => "medium",
        Confidence::Low => "low",
    }
}
