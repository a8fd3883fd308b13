//! goroutine-surge: many more goroutines than on average, twice.

use std::sync::Arc;

use super::site;
use crate::detect::{Count, Crowds, Question};
use crate::finding::{Confidence, Crowd, Emission, RuleName, Severity, WorkState};
use crate::inspect::Started;
use crate::testkit::{MS, PID, Scene};

const GO: &str = "example.com/shop/mail.Notify:31";
const OTHER: &str = "example.com/shop/mail.Log:40";
/// Past the time without an average, ms.
const WARM_MS: u64 = 61_000;

/// So many goroutines of two statements.
fn count(scene: &Scene, of: u64, other: u64) -> Count {
    let line = |place, alive: u64| Started {
        gopc: scene.code.pc(place),
        alive,
        stack_bytes: alive * 2048,
    };
    Count {
        alive: of + other,
        lines: vec![line(GO, of), line(OTHER, other)],
        is_cut: false,
    }
}

/// Counted once a second, from the start on.
fn observed(of: u64, other: u64) -> Scene {
    let mut scene = Scene::new();
    scene.count = Some(count(&scene, of, other));
    scene.engine.process_started(PID);
    scene
}

fn grows(scene: &mut Scene, at_ms: u64, of: u64, other: u64) {
    scene.until(at_ms);
    scene.count = Some(count(scene, of, other));
}

fn crowd(scene: &Scene) -> Crowd {
    let stack = scene.code.pcs(&["example.com/shop/mail.send:7"]);
    let frames = stack
        .iter()
        .flat_map(|pc| crate::model::Code::frames(&scene.code, PID, *pc).to_vec());
    Crowd {
        count: 1_900,
        state: WorkState::Waiting,
        wait_reason: Some("chan receive".into()),
        stack: frames.collect::<Vec<_>>().into(),
    }
}

fn counts(scene: &Scene) -> usize {
    let is_count = |ask: &&crate::detect::Ask| ask.question == Question::Count;
    scene.asked.iter().filter(is_count).count()
}

#[test]
fn the_second_count_of_a_burst_tells_what_grew() {
    let mut scene = observed(10, 30);
    scene.crowds = Some(Crowds {
        crowds: vec![Some(crowd(&scene))],
        snapshot: Some(Arc::from(
            "/var/lib/observer/goroutines-shop-api-4121.jsonl",
        )),
    });
    grows(&mut scene, WARM_MS + 500, 2_010, 40);
    scene.until(WARM_MS + 1_900);
    scene.silent();
    scene.until(WARM_MS + 180_000);
    let (at_ms, finding) = scene.only();
    assert!(
        (WARM_MS + 1_900..WARM_MS + 3_000).contains(&at_ms),
        "{at_ms}"
    );
    assert_eq!(finding.rule, RuleName::GoroutineSurge);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::High)
    );
    assert_eq!(site(finding), ("example.com/shop/mail.Notify", 31));
    assert_eq!(&*finding.stack[0].function, "example.com/shop/mail.send");
    assert_eq!(finding.request, None);
    let evidence = &finding.evidence;
    assert_eq!(evidence.live, Some(2_010));
    assert_eq!(evidence.stack_bytes, Some(2_010 * 2048));
    assert_eq!(evidence.wait_reason.as_deref(), Some("chan receive"));
    let surge = evidence.surge.as_ref().unwrap();
    assert_eq!((surge.goroutines, surge.grew), (2_050, 2_010));
    assert_eq!(surge.average, 40, "before it grew");
    assert!(
        (1_900 * MS..3_000 * MS).contains(&surge.span_ns),
        "{}",
        surge.span_ns
    );
    assert_eq!(
        surge.grown.len(),
        1,
        "ten of two thousand are not worth a word"
    );
    assert_eq!(surge.grown[0].grew, 2_000);
    assert!(surge.snapshot.is_some());
    let says = format!(
        "2050 goroutines, where there were {} on average; 2010 came within ",
        surge.average
    );
    assert!(finding.message.starts_with(&says), "{}", finding.message);
}

#[test]
fn a_burst_after_counts_that_failed_is_measured_by_what_was_before_it() {
    let mut scene = observed(10, 30);
    scene.until(WARM_MS + 500);
    scene.count = None;
    grows(&mut scene, WARM_MS + 50_500, 2_010, 40);
    scene.until(WARM_MS + 60_000);
    let (_, finding) = scene.only();
    assert_eq!(finding.evidence.surge.as_ref().unwrap().average, 40);
}

#[test]
fn a_count_is_made_once_a_second() {
    let mut scene = observed(10, 10);
    scene.until(10_500);
    assert_eq!(counts(&scene), 11);
    scene.count = None;
    scene.until(20_500);
    assert_eq!(counts(&scene), 21, "also after one that failed");
    scene.engine.process_ended(PID);
    scene.until(40_000);
    assert_eq!(counts(&scene), 21, "and none of a process that is gone");
    scene.engine.process_started(PID);
    scene.until(45_500);
    assert_eq!(
        counts(&scene),
        27,
        "one that comes back is counted as often"
    );
}

#[test]
fn what_was_there_and_what_grows_slowly_is_silent() {
    let mut scene = observed(1_000, 20);
    scene.until(WARM_MS * 2);
    scene.silent();
    // A hundredth more each second.
    for step in 0..500 {
        let of = 1_000 + step * 20;
        grows(&mut scene, WARM_MS * 2 + step * 1_000, of, 20);
    }
    scene.until(WARM_MS * 12);
    scene.silent();
}

#[test]
fn there_is_no_average_before_a_minute() {
    let mut scene = observed(10, 10);
    grows(&mut scene, 30_000, 2_000, 10);
    scene.until(WARM_MS * 5);
    scene.silent();
}

#[test]
fn few_are_no_surge_and_one_count_is_none() {
    let mut scene = observed(10, 10);
    grows(&mut scene, WARM_MS + 500, 480, 20);
    scene.until(WARM_MS + 30_000);
    scene.silent();
    let mut scene = observed(10, 10);
    grows(&mut scene, WARM_MS + 500, 2_000, 20);
    grows(&mut scene, WARM_MS + 1_500, 10, 10);
    scene.until(WARM_MS + 60_000);
    scene.silent();
}

#[test]
fn a_surge_that_comes_again_is_told_again_after_a_while() {
    let mut scene = observed(10, 10);
    for begin_ms in [WARM_MS, WARM_MS + 10_000, WARM_MS + 400_000] {
        grows(&mut scene, begin_ms + 500, 2_000, 10);
        grows(&mut scene, begin_ms + 4_500, 10, 10);
    }
    scene.until(WARM_MS + 500_000);
    let findings = scene.findings();
    assert_eq!(findings.len(), 1);
    let last = scene.shown.last().map(|(_, emission)| match emission {
        Emission::Finding(finding) | Emission::Update(finding, _) => finding.count,
    });
    assert_eq!(last, Some(2), "the second one came too soon");
}

#[test]
fn where_nobody_could_look_it_is_told_without_a_stack() {
    let mut scene = observed(10, 10);
    grows(&mut scene, WARM_MS + 500, 2_000, 10);
    scene.until(WARM_MS + 10_000);
    let (_, finding) = scene.only();
    assert_eq!(site(finding), ("example.com/shop/mail.Notify", 31));
    assert!(finding.stack.is_empty());
    assert_eq!(finding.evidence.surge.as_ref().unwrap().grown[0].most, None);
}

#[test]
fn a_loss_of_events_changes_nothing() {
    let mut scene = observed(10, 10);
    scene.until(WARM_MS + 500);
    scene.engine.loss();
    grows(&mut scene, WARM_MS + 700, 2_000, 10);
    scene.until(WARM_MS + 2_200);
    scene.engine.loss();
    scene.until(WARM_MS + 10_000);
    scene.only();
}

#[test]
fn a_statement_beyond_the_list_had_no_more_than_the_least_of_it() {
    let mut scene = observed(10, 300);
    let mut before = count(&scene, 10, 300);
    before.lines.remove(0);
    before.is_cut = true;
    scene.count = Some(before);
    grows(&mut scene, WARM_MS + 500, 2_000, 300);
    scene.until(WARM_MS + 10_000);
    let (_, finding) = scene.only();
    let grown = &finding.evidence.surge.as_ref().unwrap().grown;
    assert_eq!((grown.len(), grown[0].grew), (1, 1_700), "at least");
}
