//! Who called whom: the rows of a finding about two processes.
//!
//! Both processes and what was left of the deadline at each of them are what such a finding is about: they have short
//! forms, and stay where room is scarce.

use std::cmp::Ordering;

use crate::finding::{Downstream, Finding, clock_apart};

use super::block::confidence;
use super::layout::{Row, Terminal};
use super::naming::line_of;
use super::place::{full_function, short_file};

/// Columns between facts.
const GAP: usize = 3;

/// A call and the request that it led to.
pub(super) struct Hop<'a> {
    finding: &'a Finding,
    below: &'a Downstream,
    terminal: &'a Terminal,
}

impl<'a> Hop<'a> {
    /// `None` where the finding is about one process.
    pub(super) fn of(finding: &'a Finding, terminal: &'a Terminal) -> Option<Self> {
        let below = finding.evidence.downstream.as_deref()?;
        Some(Self {
            finding,
            below,
            terminal,
        })
    }

    fn clean(&self, text: &str) -> String {
        self.terminal.glyphs.clean(text)
    }

    /// Adds `part` at `index` to a short form that has one line with it.
    fn push_where_it_fits(&self, short: &mut Vec<String>, index: usize, part: String) {
        let others: usize = short.iter().map(|one| one.chars().count() + GAP).sum();
        if others + part.chars().count() <= self.terminal.text_width() {
            short.insert(index.min(short.len()), part);
        }
    }

    /// `shop-api (pid 4121)   on edge-1   go1.27.3`
    pub(super) fn caller(&self) -> Row {
        let process = &self.finding.process;
        let mut parts = vec![self.clean(&format!("{} (pid {})", process.name, process.pid))];
        let host = self.below.caller_host.as_ref();
        parts.extend(host.map(|host| self.clean(&format!("on {host}"))));
        let short = parts.clone();
        parts.push(self.clean(&process.go));
        Row::facts("process", 1, parts).or(short)
    }

    /// What the call had left when it began, and what it still had when the request below did.
    pub(super) fn budget(&self) -> Option<Row> {
        let evidence = &self.finding.evidence;
        let glyphs = &self.terminal.glyphs;
        let left = glyphs.signed_duration(evidence.remaining_ns?);
        let left_below = self.below.remaining_ns.map(|ns| glyphs.signed_duration(ns));
        let mut parts: Vec<String> = evidence
            .timer
            .map(|timer| timer.name().to_owned())
            .into_iter()
            .collect();
        parts.push(format!("{left} left"));
        let mut short = vec![format!("{left} left")];
        short.extend(left_below.as_ref().map(|ns| format!("{ns} below")));
        if let Some(site) = &evidence.deadline_site {
            let place = self.clean(&short_file(site, &self.finding.process.module));
            let set = format!("set at {place}");
            let of = evidence.deadline_ns.map_or_else(String::new, |ns| {
                format!("of {} ", glyphs.signed_duration(ns))
            });
            parts.push(format!("{of}{set}"));
            self.push_where_it_fits(&mut short, 2, set);
        }
        parts.extend(left_below.map(|ns| format!("{ns} left below")));
        Some(Row::facts("budget", 1, parts).or(short))
    }

    /// The other process and its request, and how they are known to be the call's.
    pub(super) fn below(&self) -> Row {
        let (below, glyphs) = (self.below, &self.terminal.glyphs);
        let process = format!("{} (pid {})", below.process.name, below.process.pid);
        let mut parts = vec![self.clean(&process)];
        let host = below.host.as_ref();
        parts.extend(host.map(|host| self.clean(&format!("on {host}"))));
        let (by, sure) = (below.joined_by.clause(), confidence(self.finding));
        let line = self.clean(&line_of(&below.request));
        let mut short = parts.clone();
        short.push(format!("{by} ({sure})"));
        self.push_where_it_fits(&mut short, parts.len(), line.clone());
        parts.push(line);
        parts.push(format!("{by} (confidence {sure})"));
        if let Some((offset_ns, error_ns)) = below.clock_ns {
            let (apart, way) = clock_apart(offset_ns, error_ns);
            let apart = self.clean(&apart);
            let apart = match way {
                Ordering::Greater => format!("{apart} ahead"),
                Ordering::Less => format!("{apart} behind"),
                Ordering::Equal => "even".to_owned(),
            };
            let error = glyphs.duration(error_ns);
            parts.push(format!("its clock {apart}, sure to {error}"));
        }
        Row::facts("below", 1, parts).or(short)
    }

    /// Where the work below stood.
    pub(super) fn works_at(&self) -> Option<Row> {
        let below = self.below;
        let site = below.site.as_ref()?;
        let function = self.clean(&full_function(&site.function));
        let place = self.clean(&short_file(site, &below.process.module));
        let mut short = vec![place.clone()];
        self.push_where_it_fits(&mut short, 0, function.clone());
        let mut parts = vec![function, place];
        parts.extend(
            below
                .wait_reason
                .as_deref()
                .map(|reason| self.clean(reason)),
        );
        Some(Row::facts("", 2, parts).or(short))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Terminal;
    use super::super::block::finding_block;
    use super::super::tests::terminal;
    use crate::finding::{Finding, ProcessInfo, samples};

    /// Names that fill the lines, a second place, and everything else that a row can be made of.
    fn crowded() -> Finding {
        let mut finding = samples::orphaned_downstream();
        finding.process = Arc::new(ProcessInfo {
            pid: 22_604,
            ..(*finding.process).clone()
        });
        let site = finding.site.as_mut().unwrap();
        site.function =
            "example.com/observer-targets/shop/front/storeclient.(*Client).Bundle".into();
        finding.context = samples::cancel_ignored().context;
        finding.evidence.cancel_site = finding.site.clone();
        finding.caller = finding.evidence.deadline_site.clone();
        finding.count = 9;
        finding.related = vec![7];
        finding.stack = samples::cancel_ignored().stack;
        finding
    }

    /// What the finding is about, in a row's own words.
    const HOPS: [(&str, &str); 6] = [
        ("process", "shop-api (pid 22604)"),
        ("process", "on edge-1"),
        ("budget", "300 ms left"),
        ("budget", "298 ms"),
        ("below", "store (pid 977)"),
        ("below", "on store-1"),
    ];

    /// Lines of the row that a label begins.
    fn row(block: &str, label: &str) -> String {
        let begins = format!("  {label:<7}  ");
        let goes_on = |line: &&str| line.starts_with(&begins) || line.starts_with("           ");
        let lines = block.lines().skip_while(|line| !line.starts_with(&begins));
        let text = |line: &str| line.chars().skip(begins.len()).collect::<String>();
        let lines: Vec<String> = lines.take_while(goes_on).map(text).collect();
        lines.join(" ")
    }

    #[test]
    fn who_called_whom_and_what_was_left_stays_however_narrow() {
        for width in 40..=140 {
            let block = finding_block(&crowded(), &terminal(width), false);
            for (label, words) in HOPS {
                let row = row(&block, label);
                assert!(row.contains(words), "{width}: no {words}: {block}");
            }
            let below = row(&block, "below");
            assert!(below.contains("same request ID"), "{width}: {block}");
            assert!(below.contains("medium)"), "{width}: {block}");
        }
        for width in 60..=140 {
            let block = finding_block(&crowded(), &terminal(width), false);
            assert!(block.lines().count() <= 10, "{width}: {block}");
        }
        for width in 80..=140 {
            let block = finding_block(&crowded(), &terminal(width), false);
            assert!(row(&block, "budget").contains("set at"), "{width}: {block}");
            assert!(block.contains("catalog/report.go:40"), "{width}: {block}");
        }
    }

    /// What tells less goes first.
    #[test]
    fn the_course_goes_before_the_line_that_works_below() {
        let block = finding_block(&crowded(), &terminal(80), false);
        insta::assert_snapshot!(block);
        assert_eq!(row(&block, "time"), "");
    }

    /// Whoever has the line finds the function.
    #[test]
    fn a_long_function_leaves_its_line_where_there_is_no_room() {
        let mut finding = crowded();
        let below = finding.evidence.downstream.as_mut().unwrap();
        let site = below.site.as_mut().unwrap();
        site.function = "example.com/observer-targets/shop/store/catalog.(*Shelf).pack".into();
        let block = finding_block(&finding, &terminal(78), false);
        assert!(block.contains("store/catalog/report.go:40"), "{block}");
        assert!(!block.contains("(*Shelf).pack"), "{block}");
        assert!(block.lines().count() <= 10, "{block}");
    }

    /// What is added to a clock's times says the opposite of how it goes.
    #[test]
    fn a_clock_is_ahead_or_behind_and_never_less_than_nothing() {
        for (offset_ns, words) in [
            (-3_000_200_000, "its clock 3.0002 s ahead, sure to 400 µs"),
            (3_000_200_000, "its clock 3.0002 s behind, sure to 400 µs"),
            (-20, "its clock even, sure to 400 µs"),
        ] {
            let mut finding = samples::orphaned_downstream();
            let below = finding.evidence.downstream.as_mut().unwrap();
            below.clock_ns = Some((offset_ns, 400_000));
            let verbose = Terminal {
                verbose: true,
                ..terminal(140)
            };
            let block = finding_block(&finding, &verbose, false);
            assert!(row(&block, "below").contains(words), "{block}");
        }
    }

    /// Of one host there is nothing to say.
    #[test]
    fn processes_of_one_host_are_told_without_it() {
        let mut finding = samples::orphaned_downstream();
        let below = finding.evidence.downstream.as_mut().unwrap();
        (below.host, below.caller_host, below.clock_ns) = (None, None, None);
        // Nothing bounded the call: its client left.
        (below.remaining_ns, finding.evidence.remaining_ns) = (None, None);
        let block = finding_block(&finding, &terminal(100), false);
        assert_eq!(row(&block, "process"), "shop-api (pid 4121)   go1.27.3");
        assert_eq!(row(&block, "budget"), "");
        let below = row(&block, "below");
        assert!(
            below.starts_with("store (pid 977)   GET /report"),
            "{below}"
        );
        assert!(!below.contains("clock"), "{below}");
    }
}
