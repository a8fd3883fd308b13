//! What is shown, when, for which order of reports.

use proptest::prelude::*;

use super::{COUNT_INTERVAL_NS, CaseId, Emission, Merger, Phase, TOGETHER_NS, UpdateReason};
use crate::finding::{CancelledBy, Finding, Severity, samples};

const SECOND_NS: u64 = 1_000_000_000;

fn case(line: u32, time_ns: u64, severity: Severity, harm_ns: u64) -> Finding {
    let mut finding = samples::cancel_ignored();
    finding.site = Some(samples::frame("example.com/shop.f", "f.go", line));
    finding.time_ns = time_ns;
    finding.severity = severity;
    finding.evidence.after_cancel_ns = Some(harm_ns);
    finding.identified()
}

fn report(merger: &mut Merger, finding: Finding, phase: Phase) -> Vec<Emission> {
    let mut out = vec![];
    merger.report(finding, phase, &mut out);
    out
}

fn update(out: &[Emission]) -> Option<(UpdateReason, u64)> {
    match out {
        [Emission::Update(finding, reason)] => Some((*reason, finding.count)),
        _ => None,
    }
}

#[test]
fn the_first_is_shown_and_repeats_are_counted() {
    let mut merger = Merger::new(8);
    let first = report(
        &mut merger,
        case(1, SECOND_NS, Severity::Error, 100),
        Phase::Whole,
    );
    assert!(matches!(first.as_slice(), [Emission::Finding(f)] if f.count == 1));
    for n in 0..5 {
        let again = case(1, SECOND_NS + n, Severity::Error, 100);
        assert_eq!(report(&mut merger, again, Phase::Whole), vec![]);
    }
    let mut out = vec![];
    merger.tick(SECOND_NS + COUNT_INTERVAL_NS - 1, &mut out);
    assert_eq!(out, vec![]);
    merger.tick(SECOND_NS + COUNT_INTERVAL_NS, &mut out);
    assert_eq!(update(&out), Some((UpdateReason::Count, 6)));
    out.clear();
    merger.tick(SECOND_NS + 9 * COUNT_INTERVAL_NS, &mut out);
    assert_eq!(out, vec![], "nothing new, nothing said");
}

#[test]
fn causes_of_one_line_are_kept_whichever_case_is_shown() {
    let by = |by, harm_ns| {
        let mut finding = case(1, SECOND_NS, Severity::Error, harm_ns);
        finding.evidence.cancelled_by = Some(by);
        finding
    };
    let mut merger = Merger::new(8);
    report(&mut merger, by(CancelledBy::Client, 100), Phase::Whole);
    // The worst case takes the place of the shown one, and loses nothing that was said before.
    report(&mut merger, by(CancelledBy::Deadline, 900), Phase::Whole);
    report(&mut merger, by(CancelledBy::Client, 100), Phase::Whole);
    let mut out = vec![];
    merger.flush(2 * SECOND_NS, &mut out);
    let [Emission::Update(finding, _)] = &out[..] else {
        panic!("{out:#?}");
    };
    let named = finding.causes.named.iter().map(|cause| cause.cancelled_by);
    assert_eq!(
        named.collect::<Vec<_>>(),
        [CancelledBy::Client, CancelledBy::Deadline]
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Deadline));
}

#[test]
fn the_end_of_the_running_case_is_shown_once() {
    let mut merger = Merger::new(8);
    let running = Phase::Running(CaseId(7));
    report(&mut merger, case(1, 1, Severity::Error, 500), running);
    report(
        &mut merger,
        case(1, 2, Severity::Error, 500),
        Phase::Running(CaseId(8)),
    );
    let ended = Phase::Ended(CaseId(7));
    let out = report(&mut merger, case(1, 9, Severity::Error, 400), ended);
    assert_eq!(update(&out), Some((UpdateReason::Ended, 2)));
    let out = report(&mut merger, case(1, 10, Severity::Error, 400), ended);
    assert_eq!(out, vec![], "it has ended already");
}

#[test]
fn worse_and_more_severe_cases_are_shown_and_kept() {
    let mut merger = Merger::new(8);
    report(
        &mut merger,
        case(1, 1, Severity::Warning, 1000),
        Phase::Whole,
    );
    let jitter = case(1, 2 * SECOND_NS, Severity::Warning, 1099);
    assert_eq!(report(&mut merger, jitter, Phase::Whole), vec![]);
    let out = report(
        &mut merger,
        case(1, 3 * SECOND_NS, Severity::Warning, 2000),
        Phase::Whole,
    );
    assert_eq!(update(&out), Some((UpdateReason::Worse, 3)));
    let out = report(
        &mut merger,
        case(1, 4 * SECOND_NS, Severity::Error, 10),
        Phase::Whole,
    );
    assert_eq!(update(&out), Some((UpdateReason::Severity, 4)));
    let out = report(
        &mut merger,
        case(1, 5 * SECOND_NS, Severity::Warning, 9000),
        Phase::Whole,
    );
    assert_eq!(out, vec![], "a warning is never worse than an error");
    let mut out = vec![];
    merger.flush(6 * SECOND_NS, &mut out);
    let [Emission::Update(last, _)] = out.as_slice() else {
        panic!("one update, got {out:?}");
    };
    assert_eq!(last.severity, Severity::Error);
    assert_eq!(
        (last.count, last.first_seen_ns, last.last_seen_ns),
        (5, 1, 5 * SECOND_NS)
    );
}

#[test]
fn what_ends_together_is_one_line() {
    let mut merger = Merger::new(8);
    for (name, at_ns) in [(7, 1), (8, 2)] {
        let running = Phase::Running(CaseId(name));
        report(&mut merger, case(1, at_ns, Severity::Error, 500), running);
    }
    let end = |merger: &mut Merger, name, at_ns, harm_ns| {
        let ended = Phase::Ended(CaseId(name));
        report(merger, case(1, at_ns, Severity::Error, harm_ns), ended)
    };
    let out = end(&mut merger, 7, 2 * SECOND_NS, 2_000);
    assert_eq!(update(&out), Some((UpdateReason::Ended, 2)));
    let soon_ns = 2 * SECOND_NS + 1_000_000;
    assert_eq!(end(&mut merger, 8, soon_ns, 9_000), vec![]);
    let mut out = vec![];
    merger.tick(2 * SECOND_NS + TOGETHER_NS - 1, &mut out);
    assert_eq!(out, vec![]);
    // A worse one is news all the same.
    merger.tick(2 * SECOND_NS + TOGETHER_NS, &mut out);
    assert_eq!(update(&out), Some((UpdateReason::Worse, 2)));
}

#[test]
fn a_relation_that_becomes_known_is_shown_once() {
    let mut merger = Merger::new(8);
    let early = case(1, 1, Severity::Error, 1);
    let id = early.id;
    report(&mut merger, early, Phase::Whole);
    let mut relate = |other, now_ns| {
        let mut out = vec![];
        merger.relate(id, other, now_ns, &mut out);
        out
    };
    let out = relate(70, 2);
    assert!(
        matches!(out.as_slice(), [Emission::Update(shown, UpdateReason::Related)] if shown.related == [70]),
        "{out:?}"
    );
    assert_eq!(relate(71, 3), vec![]);
    assert_eq!(relate(70, 4), vec![]);
    // Of another request, with a relation of its own: none is forgotten.
    let mut worse = case(1, 5 * SECOND_NS, Severity::Error, 9);
    worse.related = vec![72];
    let out = report(&mut merger, worse, Phase::Whole);
    let [Emission::Update(shown, UpdateReason::Worse)] = out.as_slice() else {
        panic!("{out:?}");
    };
    assert_eq!(shown.related, [72, 70, 71]);
}

#[test]
fn occurrences_are_counted_by_route() {
    let mut merger = Merger::new(8);
    let on = |route: Option<&str>, at_ns| {
        let mut finding = case(1, at_ns, Severity::Error, 1);
        finding.request.as_mut().unwrap().route = route.map(str::to_owned);
        finding
    };
    report(&mut merger, on(Some("/a"), 1), Phase::Running(CaseId(1)));
    report(&mut merger, on(Some("/b"), 2), Phase::Whole);
    report(&mut merger, on(None, 3), Phase::Whole);
    report(&mut merger, on(Some("/a"), 4), Phase::Whole);
    // Not another occurrence.
    let out = report(&mut merger, on(Some("/a"), 5), Phase::Ended(CaseId(1)));
    let [Emission::Update(shown, UpdateReason::Ended)] = out.as_slice() else {
        panic!("{out:?}");
    };
    let named = [("/a".to_owned(), 2), ("/b".to_owned(), 1)];
    assert_eq!((shown.count, &shown.routes.named[..]), (4, &named[..]));
}

#[test]
fn a_full_table_forgets_the_oldest_and_says_what_it_knew() {
    let mut merger = Merger::new(2);
    report(&mut merger, case(1, 1, Severity::Error, 1), Phase::Whole);
    report(&mut merger, case(2, 2, Severity::Error, 1), Phase::Whole);
    report(&mut merger, case(1, 3, Severity::Error, 1), Phase::Whole);
    report(&mut merger, case(2, 4, Severity::Error, 1), Phase::Whole);
    let out = report(&mut merger, case(3, 5, Severity::Error, 1), Phase::Whole);
    assert_eq!(merger.evicted(), 1);
    assert!(
        matches!(out.as_slice(), [Emission::Finding(new), Emission::Update(old, UpdateReason::Count)]
            if new.site.as_ref().unwrap().line == 3
            && old.site.as_ref().unwrap().line == 1 && old.count == 2),
        "{out:?}"
    );
}

#[test]
fn another_start_of_the_process_is_another_finding() {
    let mut merger = Merger::new(8);
    let first = case(1, 1, Severity::Error, 1);
    let mut second = case(1, 2, Severity::Error, 1);
    let mut process = (*second.process).clone();
    process.start_ticks += 1;
    second.process = process.into();
    let second = second.identified();
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_ne!(first.id, second.id);
    report(&mut merger, first, Phase::Whole);
    let out = report(&mut merger, second, Phase::Whole);
    assert!(matches!(out.as_slice(), [Emission::Finding(_)]));
}

#[derive(Debug, Clone)]
enum Step {
    Report(u32, bool, u64, u8),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..6, any::<bool>(), 0u64..5000, 0u8..3)
            .prop_map(|(line, error, harm, phase)| Step::Report(line, error, harm, phase)),
        1 => Just(Step::Tick),
    ]
}

proptest! {
    /// Whatever comes: every id is introduced by a finding, counts never fall and in the end add
    /// up, severity never falls, count-only updates keep their distance, the table keeps its bound.
    #[test]
    fn nothing_is_lost_or_said_twice(
        steps in proptest::collection::vec((0u64..4_000_000_000, step()), 1..200),
        limit in 1usize..8,
    ) {
        let mut merger = Merger::new(limit);
        let mut out = vec![];
        let mut now_ns = 0;
        let mut reported = 0u64;
        for (wait_ns, step) in steps {
            now_ns += wait_ns;
            match step {
                Step::Report(line, error, harm, phase) => {
                    let severity = if error { Severity::Error } else { Severity::Warning };
                    let name = CaseId(u64::from(line));
                    let phase = match phase {
                        0 => Phase::Whole,
                        1 => Phase::Running(name),
                        _ => Phase::Ended(name),
                    };
                    let finding = case(line, now_ns, severity, harm);
                    let is_new = !merger.entries.contains_key(&finding.id);
                    reported += u64::from(is_new || !matches!(phase, Phase::Ended(_)));
                    merger.report(finding, phase, &mut out);
                }
                Step::Tick => merger.tick(now_ns, &mut out),
            }
            prop_assert!(merger.entries.len() <= limit);
            prop_assert_eq!(merger.by_age.len(), merger.entries.len());
            prop_assert!(merger.stale.iter().all(|id| merger.entries.contains_key(id)));
        }
        merger.flush(now_ns, &mut out);
        let mut seen = std::collections::BTreeMap::<u64, (u64, Severity)>::new();
        let mut forgotten = 0;
        for emission in &out {
            match emission {
                Emission::Finding(finding) => {
                    prop_assert_eq!(finding.count, 1);
                    if let Some((count, _)) = seen.insert(finding.id, (1, finding.severity)) {
                        forgotten += count;
                    }
                }
                Emission::Update(finding, _) => {
                    let last = seen.get_mut(&finding.id);
                    prop_assert!(last.is_some(), "an update before its finding");
                    let (count, severity) = last.unwrap();
                    prop_assert!(finding.count >= *count && finding.severity >= *severity);
                    (*count, *severity) = (finding.count, finding.severity);
                }
            }
        }
        let total: u64 = seen.values().map(|(count, _)| count).sum();
        prop_assert_eq!(total + forgotten, reported);
    }
}
