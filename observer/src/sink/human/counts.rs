//! Counts that grew after their finding was shown: told at the end, one line each.

use std::collections::BTreeMap;

use crate::finding::{Finding, RuleName, Severity};
use crate::go::Frame;

use super::block::in_color_of;
use super::layout::{MIN_WIDTH, Terminal};
use super::place::short_file;

/// Findings whose counts are kept; those that come later are told without their last count.
const FINDINGS: usize = 4096;

/// Between the count and the place.
const GAP: &str = "   ";

/// A shorter time from first to last is no news.
const SECOND_NS: u64 = 1_000_000_000;

/// Columns that a place gets, however narrow the terminal is.
const PLACE: usize = 20;

/// What was shown of each finding, and what has come since.
#[derive(Debug, Default)]
pub(super) struct Counts {
    told: BTreeMap<u64, Told>,
}

#[derive(Debug)]
struct Told {
    /// Occurrences, as shown.
    shown: u64,
    last: Option<Last>,
}

/// The last word about a finding.
#[derive(Debug)]
struct Last {
    rule: RuleName,
    severity: Severity,
    count: u64,
    /// From the first occurrence to the last, ns.
    span_ns: u64,
    place: Option<String>,
}

impl Counts {
    /// It was shown with its count.
    pub(super) fn shown(&mut self, finding: &Finding) {
        if self.told.len() >= FINDINGS && !self.told.contains_key(&finding.id) {
            return;
        }
        let told = Told {
            shown: finding.count,
            last: None,
        };
        self.told.insert(finding.id, told);
    }

    /// Its count grew without being shown.
    pub(super) fn grew(&mut self, finding: &Finding, many_processes: bool) {
        let Some(told) = self.told.get_mut(&finding.id) else {
            return;
        };
        if finding.count <= told.shown {
            return;
        }
        let process = &finding.process;
        let file = |site: &Frame| short_file(site, &process.module);
        let place = match (finding.site.as_ref().map(file), many_processes) {
            (Some(file), true) => Some(format!("{file} ({}, pid {})", process.name, process.pid)),
            (file, _) => file,
        };
        told.last = Some(Last {
            rule: finding.rule,
            severity: finding.severity,
            count: finding.count,
            span_ns: finding.last_seen_ns.saturating_sub(finding.first_seen_ns),
            place,
        });
    }

    /// `update[cancel-ignored]: 15 in all, 44 s from first to last   desk/desk.go:25` for each that
    /// is behind, and an empty line.
    pub(super) fn lines(&mut self, terminal: &Terminal) -> String {
        let mut text = String::new();
        for told in std::mem::take(&mut self.told).into_values() {
            if let Some(last) = told.last {
                text.push_str(&last.line(terminal));
            }
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

impl Last {
    fn line(&self, terminal: &Terminal) -> String {
        let glyphs = &terminal.glyphs;
        let tag = format!("update[{}]", self.rule);
        let mut rest = format!(": {} in all", glyphs.number(self.count));
        let span = format!(", {} from first to last", glyphs.duration(self.span_ns));
        let place = self.place.as_deref().map(|place| glyphs.clean(place));
        let long = |text: &str| text.chars().count();
        let room = |rest: &str| {
            let used = long(&tag) + long(rest) + GAP.len();
            terminal.width.max(MIN_WIDTH).saturating_sub(used)
        };
        let wanted = place.as_deref().map_or(0, long).saturating_add(long(&span));
        if self.span_ns >= SECOND_NS && wanted <= room(&rest) {
            rest.push_str(&span);
        }
        if let Some(place) = place {
            let kept = glyphs.keep_end(&place, room(&rest).max(PLACE));
            rest.push_str(GAP);
            rest.push_str(&kept);
        }
        let tag = in_color_of(self.severity, terminal.styles, &tag);
        format!("{tag}{rest}\n")
    }
}
