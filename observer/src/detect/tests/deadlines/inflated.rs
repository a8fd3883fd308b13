//! deadline-inflated: more than is left.

use super::*;

const RULE: RuleName = RuleName::DeadlineInflated;

fn more(asked_ms: u64, clamped: bool) -> Scene {
    let mut scene = under_middleware(SECOND);
    let more = Timeout {
        data: GRANDCHILD,
        chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
        asked_ms,
        stack: &UNDER_MIDDLEWARE,
        clamped,
        ..Timeout::default()
    };
    more.make(&mut scene, 5);
    scene
}

#[test]
fn more_than_the_parent_has_is_an_info_at_the_line_that_asked() {
    let scene = more(30_000, true);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    let evidence = &finding.evidence;
    assert_eq!(evidence.asked_ns, Some(30_000_000_000));
    assert_eq!(evidence.remaining_ns, Some(996_000_000));
    assert_eq!(evidence.deadline_ns, Some(1_000_000_000));
    assert_eq!(evidence.timer, Some(Timer::Context));
    let line = evidence.deadline_site.as_ref().unwrap();
    assert_eq!(
        (&*line.function, line.line),
        ("example.com/shop/api.limited.ServeHTTP", 57)
    );
    assert_eq!(
        finding.message,
        "asks for 30 s where 996 ms are left: without effect"
    );
}

#[test]
fn within_the_tolerance_nothing_is_said() {
    more(1_090, true).silent();
    more(500, false).silent();
}

#[test]
fn without_the_hook_nothing_is_said() {
    let mut scene = under_middleware(SECOND);
    let made = Created {
        goid: SERVING,
        child: (CANCEL_CTX, GRANDCHILD),
        chain: &[(TIMER_CTX, CHILD)],
        stack: &["context.WithDeadlineCause", "context.WithTimeout", BUILD],
        ..Created::default()
    };
    let record = made.record(&scene.code);
    scene.take(5, &record);
    scene.silent();
}

#[test]
fn a_wish_belongs_to_the_creation_with_its_parent() {
    let mut scene = under_middleware(SECOND);
    let until = deadline(5 * MS, 30_000_000_000, true);
    let record = asked(&scene.code, SERVING, (CANCEL_CTX, 0x5000), until);
    scene.take(5, &record);
    let made = Created {
        goid: SERVING,
        child: (CANCEL_CTX, GRANDCHILD),
        chain: &[(TIMER_CTX, CHILD)],
        stack: &["context.WithCancel", BUILD],
        ..Created::default()
    };
    let record = made.record(&scene.code);
    scene.take(6, &record);
    scene.silent();
}

/// A detached context of five seconds, and a call on it, by a goroutine with this stack.
fn detached(scene: &mut Scene, goid: u64, stack: &[&str]) {
    let made = Timeout {
        goid,
        data: GRANDCHILD,
        chain: &[BACKGROUND],
        asked_ms: 5_000,
        stack,
        ..Timeout::default()
    };
    made.make(scene, 5);
    assert!(scene.shown.is_empty(), "making it harms nobody");
    calls_at(
        scene,
        6,
        goid,
        &[(TIMER_CTX, GRANDCHILD), BACKGROUND],
        stack,
    );
}

#[test]
fn a_detached_call_that_has_more_is_a_warning_and_an_error_when_it_overruns() {
    let mut scene = under_middleware(SECOND);
    scene.waits(
        SERVING,
        &[
            "net/http.(*persistConn).roundTrip",
            ROUND_TRIP,
            BUILD,
            SERVE,
        ],
    );
    detached(&mut scene, SERVING, &UNDER_MIDDLEWARE);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(finding.evidence.asked_ns, Some(5_000_000_000));
    assert!(about(finding.evidence.remaining_ns.unwrap(), 1_000));
    // Its end of the request's deadline, and the tolerance of that.
    scene.until(1_090);
    assert_eq!(last(&scene, RULE).severity, Severity::Warning);
    scene.until(1_120);
    let grown = last(&scene, RULE);
    assert_eq!((grown.severity, grown.count), (Severity::Error, 1));
    assert!(
        grown.message.contains("past the request's deadline"),
        "{}",
        grown.message
    );
}

#[test]
fn a_detached_call_that_ended_in_time_stays_a_warning() {
    let mut scene = under_middleware(SECOND);
    scene.waits(SERVING, &[BUILD, SERVE]);
    detached(&mut scene, SERVING, &UNDER_MIDDLEWARE);
    scene.until(3_000);
    assert_eq!(last(&scene, RULE).severity, Severity::Warning);
}

#[test]
fn what_was_let_go_with_a_deadline_of_its_own_is_an_info() {
    let mut scene = under_middleware(SECOND);
    let made = Timeout {
        goid: WORKER,
        data: GRANDCHILD,
        chain: &[WITHOUT, (TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
        asked_ms: 5_000,
        stack: &[BUILD],
        ..Timeout::default()
    };
    made.make(&mut scene, 5);
    let chain = [(TIMER_CTX, GRANDCHILD), WITHOUT, (TIMER_CTX, CHILD)];
    calls_at(&mut scene, 6, WORKER, &chain, &[BUILD]);
    assert_eq!(only(&scene, RULE).severity, Severity::Info);
}

#[test]
fn what_a_dependency_makes_and_uses_inside_itself_is_an_info() {
    let mut scene = under_middleware(SECOND);
    let stack = [
        "github.com/x/y.Do:4",
        HANDLER,
        HANDLER_FUNC,
        MIDDLEWARE,
        SERVE,
    ];
    detached(&mut scene, SERVING, &stack);
    assert_eq!(only(&scene, RULE).severity, Severity::Info);
}

#[test]
fn a_request_without_a_deadline_has_nothing_to_exceed() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    detached(&mut scene, SERVING, &UNDER_MIDDLEWARE);
    assert!(of_rule(&scene, RULE).is_empty());
}

#[test]
fn what_the_standard_library_asks_for_is_nobodys_line() {
    let mut scene = under_middleware(SECOND);
    let made = Timeout {
        data: GRANDCHILD,
        chain: &[(TIMER_CTX, CHILD)],
        asked_ms: 30_000,
        stack: &["net.(*Dialer).DialContext", BUILD, SERVE],
        clamped: true,
        ..Timeout::default()
    };
    made.make(&mut scene, 5);
    scene.silent();
}

#[test]
fn more_than_the_caller_waits_for_is_more_than_the_request_has() {
    for (asked_ms, found) in [(5 * SECOND, true), (1_050, false)] {
        let mut scene = Scene::told(Deadlines::default(), &["X-Timeout-Ms"]);
        let serve = crate::testkit::request(&scene.code, SERVING, ROOT, "GET /report/7");
        scene.take(0, &serve.waits("1000"));
        let own = Timeout {
            asked_ms,
            ..Timeout::default()
        };
        own.make(&mut scene, 4);
        let chain = [(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)];
        calls_at(&mut scene, 5, SERVING, &chain, &[HANDLER, SERVE]);
        if !found {
            scene.silent();
            continue;
        }
        let (_, finding) = scene.only();
        assert_eq!(finding.rule, RuleName::DeadlineInflated);
        assert_eq!(finding.severity, Severity::Warning);
        assert!(
            finding.message.starts_with("call to "),
            "{}",
            finding.message
        );
        let evidence = &finding.evidence;
        assert_eq!(evidence.timer, Some(Timer::Context));
        assert_eq!(evidence.asked_ns, Some(5_000_000_000));
        assert_eq!(evidence.deadline_header.as_deref(), Some("X-Timeout-Ms"));
    }
}
