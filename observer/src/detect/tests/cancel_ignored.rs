//! cancel-ignored, (a): the root is dead and the handler works on.

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CANCEL_FUNC, CHILD, CONN, HANDLER, ROOT, SERVE, SERVING,
    TIMER_CTX, calls, client_leaves, conn_ends, derived, end, site, start, timer_fires,
};
use crate::finding::{
    CancelledBy, Confidence, Emission, RuleName, Severity, UpdateReason, WorkState,
};
use crate::inspect::{ConnState, ErrorKind};
use crate::testkit::{Created, MS, ReadError, Scene, Seen, cancel, cascade, deadline, request_end};

const STACK: [&str; 4] = ["runtime.chanrecv1", BUILD, HANDLER, SERVE];

pub(super) fn waiting() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &STACK);
    start(&mut scene, 0);
    scene
}

#[test]
fn a_handler_that_works_on_is_said_at_grace_and_once_more_at_its_end() {
    let mut scene = waiting();
    client_leaves(&mut scene, 120);
    scene.until(619);
    scene.silent();
    scene.until(700);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 620);
    assert_eq!(finding.rule, RuleName::CancelIgnored);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Error, Confidence::High)
    );
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(
        finding.message,
        "handler still works 500 ms after the client left"
    );
    let evidence = &finding.evidence;
    assert_eq!(evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(evidence.cancelled_at_ns, Some(120 * MS));
    assert_eq!(evidence.after_cancel_ns, Some(500 * MS));
    assert_eq!(evidence.state, Some(WorkState::Waiting));
    assert_eq!(evidence.wait_reason.as_deref(), Some("chan receive"));
    assert_eq!(
        finding.request.as_ref().unwrap().path.as_deref(),
        Some("/report/7")
    );
    assert_eq!(finding.request.as_ref().unwrap().duration_ns, None);

    end(&mut scene, 4_430);
    let [_, (at_ms, Emission::Update(ended, UpdateReason::Ended))] = &scene.shown[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(*at_ms, 4_430);
    assert_eq!(ended.message, "handler worked 4.31 s after the client left");
    assert_eq!(ended.evidence.after_cancel_ns, Some(4_310 * MS));
    assert_eq!(ended.evidence.state, Some(WorkState::Ended));
    assert_eq!(ended.count, 1);
    assert_eq!(
        ended.request.as_ref().unwrap().duration_ns,
        Some(4_430 * MS)
    );
}

#[test]
fn a_note_of_the_wait_alone_is_no_length_of_it() {
    let mut scene = waiting();
    scene.noted.insert(SERVING, 110 * MS);
    client_leaves(&mut scene, 120);
    scene.until(700);
    let (_, finding) = scene.only();
    assert_eq!(finding.evidence.wait_ns, None);
}

#[test]
fn what_ends_within_grace_is_silent() {
    let mut scene = waiting();
    client_leaves(&mut scene, 120);
    end(&mut scene, 620);
    scene.until(3_000);
    // Exactly at grace it had been looked at already; just before it had not.
    let mut before = waiting();
    client_leaves(&mut before, 120);
    end(&mut before, 619);
    before.until(3_000);
    before.silent();
    assert!(before.asked.is_empty());
    assert_eq!(scene.findings().len(), 1);
}

#[test]
fn a_normal_end_never_feeds_it() {
    let mut scene = waiting();
    end(&mut scene, 100);
    // The goroutine waits for the connection's next request.
    scene.until(5_000);
    scene.silent();
}

#[test]
fn a_goroutine_that_left_its_handler_is_silent() {
    let mut scene = Scene::new();
    scene.waits(
        SERVING,
        &["internal/poll.runtime_pollWait", "net/http.(*conn).serve"],
    );
    start(&mut scene, 0);
    client_leaves(&mut scene, 10);
    scene.until(3_000);
    scene.silent();
}

#[test]
fn a_hijacked_connection_is_silent() {
    let mut scene = waiting();
    scene.conn = Some(ConnState {
        hijacked: true,
        ..ConnState::default()
    });
    client_leaves(&mut scene, 10);
    scene.until(3_000);
    scene.silent();
}

#[test]
fn a_running_goroutine_is_looked_at_again_and_then_told_without_stack() {
    let mut scene = waiting();
    scene.goroutines.insert(SERVING, Seen::Runs);
    client_leaves(&mut scene, 0);
    scene.until(540);
    scene.silent();
    scene.waits(SERVING, &STACK);
    scene.until(600);
    assert_eq!(site(scene.only().1).1, 132);

    let mut blurred = waiting();
    blurred.goroutines.insert(SERVING, Seen::Torn);
    let made = derived(
        &blurred,
        5,
        (SERVING, CHILD),
        &[(CANCEL_CTX, ROOT)],
        HANDLER,
    );
    blurred.take(5, &made);
    client_leaves(&mut blurred, 10);
    blurred.until(2_000);
    let (at_ms, finding) = blurred.only();
    assert_eq!(at_ms, 710);
    assert_eq!(finding.confidence, Confidence::Medium);
    assert_eq!(finding.evidence.state, Some(WorkState::Running));
    // Any stack of the goroutine tells the handler.
    assert_eq!(site(finding), ("example.com/shop/api.GetReport", 1));
}

#[test]
fn one_that_ended_before_a_good_look_is_told_by_its_handler() {
    let mut scene = waiting();
    scene.goroutines.insert(SERVING, Seen::Runs);
    client_leaves(&mut scene, 0);
    end(&mut scene, 560);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 560);
    assert_eq!(
        finding.message,
        "handler worked 560 ms after the client left"
    );
    assert_eq!(finding.evidence.state, Some(WorkState::Ended));
    assert_eq!(finding.site, None);
}

#[test]
fn one_that_waits_for_the_collector_or_a_processor_alone_is_unknown() {
    let stack = ["runtime.gopark", BUILD, HANDLER, SERVE];
    let states: [fn(Vec<u64>) -> Seen; 2] = [
        |stack| Seen::Waits(stack, "GC assist wait"),
        Seen::Preempted,
    ];
    for state in states {
        let mut scene = waiting();
        let held_up = state(scene.code.pcs(&stack));
        scene.goroutines.insert(SERVING, held_up);
        client_leaves(&mut scene, 0);
        end(&mut scene, 900);
        scene.silent();
        assert_eq!(scene.engine.totals().unknown, 1);
    }
}

#[test]
fn one_that_ended_before_anybody_looked_is_unknown() {
    let mut scene = waiting();
    client_leaves(&mut scene, 0);
    scene.until(400);
    scene.take_late(600, &request_end(&scene.code, ROOT));
    scene.until(2_000);
    scene.silent();
    assert_eq!(scene.engine.totals().unknown, 1);
}

#[test]
fn a_heartbeat_that_stops_within_two_ticks_is_a_warning() {
    for (tick_ms, severity) in [(400, Severity::Warning), (200, Severity::Error)] {
        let mut scene = waiting();
        for beat in 1..=4 {
            let poll = calls(&scene, SERVING, &[(CANCEL_CTX, ROOT)], BUILD);
            scene.take(beat * tick_ms, &poll);
        }
        client_leaves(&mut scene, 4 * tick_ms + 10);
        end(&mut scene, 4 * tick_ms + 610);
        let shown = scene.shown.last().unwrap();
        let (Emission::Finding(finding) | Emission::Update(finding, _)) = &shown.1;
        assert_eq!(finding.severity, severity, "{tick_ms}");
    }
}

#[test]
fn a_loop_that_only_looks_has_no_rhythm_and_its_end_lowers_nothing() {
    // It sleeps and asks ctx.Err(): no hook sees either. It stops at its first look.
    let mut scene = waiting();
    client_leaves(&mut scene, 200);
    end(&mut scene, 900);
    let [
        (_, Emission::Finding(shown)),
        (_, Emission::Update(ended, UpdateReason::Ended)),
    ] = &scene.shown[..]
    else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        (shown.severity, ended.severity),
        (Severity::Error, Severity::Error)
    );
    assert_eq!(ended.evidence.after_cancel_ns, Some(700 * MS));
}

#[test]
fn hits_without_a_rhythm_are_no_heartbeat() {
    let mut scene = waiting();
    for at_ms in [100, 150, 900, 950, 1_700] {
        let poll = calls(&scene, SERVING, &[(CANCEL_CTX, ROOT)], BUILD);
        scene.take(at_ms, &poll);
    }
    client_leaves(&mut scene, 1_710);
    scene.until(2_300);
    assert_eq!(scene.only().1.severity, Severity::Error);
}

#[test]
fn a_shutdown_is_an_info() {
    let mut scene = waiting();
    let stack = [CANCEL_FUNC, "main.main:77"];
    let down = cancel(&scene.code, 50, 0x100, &stack);
    scene.take(10, &down);
    let down = cascade(&scene.code, 50, ROOT);
    scene.take(10, &down);
    scene.until(600);
    let finding = scene.only().1;
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Shutdown));
}

/// A goroutine that waits in `Server.Shutdown`.
const IN_SHUTDOWN: [&str; 3] = [
    "runtime.selectgo",
    "net/http.(*Server).Shutdown",
    "main.main:79",
];
const BUDGET: u64 = 0xc900;

/// Goroutine 50 cancels the base context and then shuts the server down, with so much time for it.
fn shutting_down(stack: &[&str], budget_ms: i64) -> Scene {
    let mut scene = waiting();
    let down = cancel(&scene.code, 50, 0x100, &[CANCEL_FUNC, "main.main:77"]);
    scene.take(10, &down);
    let down = cascade(&scene.code, 50, ROOT);
    scene.take(10, &down);
    let made = Created {
        goid: 50,
        child: (TIMER_CTX, BUDGET),
        chain: &[BACKGROUND],
        stack: &["context.WithDeadlineCause", "main.main:78"],
        deadline: deadline(20 * MS, budget_ms * 1_000_000, true),
        ..Created::default()
    }
    .record(&scene.code);
    scene.take(20, &made);
    scene.waits(50, stack);
    scene.waits_on.push(BUDGET);
    scene
}

fn shutdown_gives_up(scene: &mut Scene, at_ms: u64) {
    let fires = timer_fires(scene, BUDGET);
    scene.take(at_ms, &fires);
}

#[test]
fn work_that_outlives_the_deadline_of_shutdown_is_an_error() {
    let mut scene = shutting_down(&IN_SHUTDOWN, 800);
    scene.until(700);
    assert_eq!(scene.only().1.severity, Severity::Info);
    shutdown_gives_up(&mut scene, 820);
    end(&mut scene, 1_500);
    let [
        _,
        (grown_ms, Emission::Update(grown, UpdateReason::Severity)),
        (_, Emission::Update(ended, UpdateReason::Ended)),
    ] = &scene.shown[..]
    else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!((*grown_ms, grown.severity), (820, Severity::Error));
    assert_eq!(grown.evidence.after_cancel_ns, Some(810 * MS));
    assert_eq!(ended.severity, Severity::Error);
}

#[test]
fn work_after_a_shutdown_that_gave_up_within_grace_is_an_error_at_once() {
    let mut scene = shutting_down(&IN_SHUTDOWN, 200);
    shutdown_gives_up(&mut scene, 220);
    scene.until(600);
    assert_eq!(scene.only().1.severity, Severity::Error);
}

#[test]
fn a_deadline_that_nobody_shuts_down_by_changes_nothing() {
    let refreshes = ["runtime.selectgo", "main.refresh:12", "main.main:79"];
    let mut scene = shutting_down(&refreshes, 800);
    scene.until(700);
    shutdown_gives_up(&mut scene, 820);
    end(&mut scene, 1_500);
    assert!(
        scene
            .findings()
            .iter()
            .all(|finding| finding.severity == Severity::Info)
    );
}

#[test]
fn who_failed_a_write_is_read_from_memory() {
    for (error, by) in [
        (ErrorKind::BrokenPipe, CancelledBy::Client),
        (ErrorKind::IoDeadline, CancelledBy::WriteDeadline),
        (ErrorKind::NetClosing, CancelledBy::ServerClose),
        (ErrorKind::Unknown, CancelledBy::Unknown),
    ] {
        let mut scene = waiting();
        scene.conn = Some(ConnState {
            write_error: Some(error),
            ..ConnState::default()
        });
        let write = cancel(
            &scene.code,
            SERVING,
            CONN,
            &[CANCEL_FUNC, "net/http.checkConnErrorWriter.Write"],
        );
        scene.take(10, &write);
        let root = cascade(&scene.code, SERVING, ROOT);
        scene.take(10, &root);
        scene.until(600);
        assert_eq!(scene.only().1.evidence.cancelled_by, Some(by));
    }
}

#[test]
fn equal_sites_merge_and_are_counted() {
    let mut scene = waiting();
    for round in 0..3 {
        let at_ms = round * 3_000;
        start(&mut scene, at_ms + 1);
        client_leaves(&mut scene, at_ms + 10);
        end(&mut scene, at_ms + 1_010);
    }
    assert_eq!(scene.findings().len(), 1);
    scene.engine.finish(10_000 * MS);
    let last = scene.engine.take_emitted();
    let [Emission::Update(finding, UpdateReason::Count)] = &last[..] else {
        panic!("{last:#?}");
    };
    assert_eq!(finding.count, 3);
}

#[test]
fn a_read_deadline_is_not_the_client() {
    let mut scene = waiting();
    conn_ends(
        &mut scene,
        10,
        ReadError::Op("internal/poll.DeadlineExceededError"),
    );
    scene.until(600);
    let ignored: Vec<_> = scene
        .findings()
        .into_iter()
        .filter(|finding| finding.rule == RuleName::CancelIgnored)
        .collect();
    let [finding] = ignored[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        finding.evidence.cancelled_by,
        Some(CancelledBy::ReadDeadline)
    );
}
