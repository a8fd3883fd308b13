//! deadline-dropped: none where the request has one.

use super::*;

const RULE: RuleName = RuleName::DeadlineDropped;

/// detached-context is not shown.
fn alone() -> Scene {
    Scene::with(Deadlines {
        detached_is_off: true,
        ..Deadlines::default()
    })
}

/// A request inside `http.TimeoutHandler`, which allows two seconds.
fn in_handler() -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let budget = Timeout {
        stack: &[TIMEOUT_HANDLER, HANDLER, SERVE],
        ..Timeout::default()
    };
    budget.make(&mut scene, 1);
    scene
}

const IN_WORKER: [&str; 3] = [BUILD, HANDLER_FUNC, TIMEOUT_WORKER];

#[test]
fn past_the_handlers_context_is_a_warning_at_the_call() {
    let mut scene = in_handler();
    calls_at(&mut scene, 5, WORKER, &[(CANCEL_CTX, ROOT)], &IN_WORKER);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(finding.evidence.deadline_ns, Some(2_000_000_000));
    assert_eq!(finding.evidence.remaining_ns, Some(1_996_000_000));
    assert!(finding.evidence.call.is_some());
    let line = finding.evidence.deadline_site.as_ref().unwrap();
    assert_eq!(
        (&*line.function, line.line),
        ("example.com/shop/api.GetReport", 31)
    );
}

#[test]
fn on_the_handlers_context_nothing_is_lost() {
    let mut scene = in_handler();
    let chain = [(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)];
    calls_at(&mut scene, 5, WORKER, &chain, &IN_WORKER);
    scene.silent();
}

#[test]
fn a_deadline_of_its_own_or_the_clients_timeout_bounds_the_call() {
    for maker in [BUILD, "net/http.setRequestCancel"] {
        let mut scene = in_handler();
        let own = Timeout {
            goid: WORKER,
            data: GRANDCHILD,
            asked_ms: 500,
            stack: &[maker, BUILD, HANDLER_FUNC, TIMEOUT_WORKER],
            ..Timeout::default()
        };
        own.make(&mut scene, 4);
        let chain = [(TIMER_CTX, GRANDCHILD), (CANCEL_CTX, ROOT)];
        calls_at(&mut scene, 5, WORKER, &chain, &IN_WORKER);
        assert!(of_rule(&scene, RULE).is_empty());
    }
}

#[test]
fn the_handler_inside_is_judged_as_one_that_serves() {
    let mut scene = in_handler();
    scene.details = Some(details());
    calls_at(&mut scene, 5, WORKER, &[BACKGROUND], &IN_WORKER);
    let (_, finding) = scene.only();
    assert_eq!(finding.rule, RuleName::DetachedContext);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.evidence.deadline_ns, Some(2_000_000_000));
}

#[test]
fn outside_the_handler_the_deadline_is_not_meant() {
    let mut scene = in_handler();
    calls_at(&mut scene, 5, 13, &[(CANCEL_CTX, ROOT)], &[BUILD]);
    scene.silent();
}

#[test]
fn a_call_beside_a_sibling_with_a_timeout_is_free() {
    let mut scene = alone();
    start(&mut scene, 0);
    let sibling = Timeout {
        asked_ms: 500,
        ..Timeout::default()
    };
    sibling.make(&mut scene, 1);
    calls_at(
        &mut scene,
        5,
        SERVING,
        &[(CANCEL_CTX, ROOT)],
        &[HANDLER, SERVE],
    );
    scene.silent();
    // Nor is what a handler allows one call what the request has.
    calls_at(
        &mut scene,
        6,
        SERVING,
        &[BACKGROUND],
        &[BUILD, HANDLER, SERVE],
    );
    assert!(of_rule(&scene, RULE).is_empty());
}

#[test]
fn detached_context_tells_of_it_with_the_lost_deadline() {
    let mut scene = under_middleware(SECOND);
    scene.details = Some(details());
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &UNDER_MIDDLEWARE);
    let (_, finding) = scene.only();
    assert_eq!(finding.rule, RuleName::DetachedContext);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.evidence.deadline_ns, Some(1_000_000_000));
    assert_eq!(finding.evidence.remaining_ns, Some(996_000_000));
    assert_eq!(finding.evidence.deadline_site.as_ref().unwrap().line, 57);
}

#[test]
fn a_request_that_is_over_before_it_is_described_had_its_deadline_all_the_same() {
    let mut scene = under_middleware(SECOND);
    let stack = [
        "net/http.(*Client).do",
        BUILD,
        HANDLER,
        HANDLER_FUNC,
        MIDDLEWARE,
        SERVE,
    ];
    let calls = call(&scene.code, (SERVING, 0), 0x9000, &[BACKGROUND], &stack);
    let defer = ["context.WithDeadlineCause.func3", MIDDLEWARE];
    let cancels = cancel(&scene.code, SERVING, CHILD, &defer);
    let ends = request_end(&scene.code, ROOT);
    scene.take_at_once(5, &[&calls, &cancels, &ends]);
    let (_, finding) = scene.only();
    assert_eq!(finding.rule, RuleName::DetachedContext);
    assert_eq!(finding.evidence.remaining_ns, Some(996_000_000));
    assert_eq!(finding.evidence.deadline_site.as_ref().unwrap().line, 57);
}

#[test]
fn a_dial_with_a_timeout_of_its_own_is_bounded() {
    let dials = |bounded: bool| {
        let mut scene = limited(alone(), SECOND);
        let stack = UNDER_MIDDLEWARE;
        let record = dial(&scene.code, (SERVING, 0), &[BACKGROUND], &stack, "store:1");
        let record = if bounded { record.bounded() } else { record };
        scene.take(5, &record);
        of_rule(&scene, RULE).len()
    };
    assert_eq!((dials(false), dials(true)), (1, 0));
}

#[test]
fn alone_it_is_a_warning_and_an_error_when_the_call_outlives_the_deadline() {
    let mut scene = limited(alone(), SECOND);
    scene.waits(SERVING, &[ROUND_TRIP, BUILD, SERVE]);
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &UNDER_MIDDLEWARE);
    assert_eq!(only(&scene, RULE).severity, Severity::Warning);
    scene.until(1_090);
    assert_eq!(last(&scene, RULE).severity, Severity::Warning);
    scene.until(1_200);
    assert_eq!(last(&scene, RULE).severity, Severity::Error);
}

#[test]
fn what_a_dependency_does_inside_itself_is_an_info() {
    let mut scene = limited(alone(), SECOND);
    let stack = [
        "github.com/x/y.Do:4",
        HANDLER,
        HANDLER_FUNC,
        MIDDLEWARE,
        SERVE,
    ];
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &stack);
    assert_eq!(only(&scene, RULE).severity, Severity::Info);
}

#[test]
fn what_is_made_ready_once_is_the_processs() {
    let mut scene = limited(alone(), SECOND);
    let stack = [
        BUILD,
        "sync.(*Once).doSlow",
        HANDLER,
        HANDLER_FUNC,
        MIDDLEWARE,
        SERVE,
    ];
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &stack);
    assert!(of_rule(&scene, RULE).is_empty());
}

/// A request whose caller waits for a second, as it says.
fn told(deadlines: Deadlines) -> Scene {
    let mut scene = Scene::told(deadlines, &["X-Timeout-Ms"]);
    let serve = crate::testkit::request(&scene.code, SERVING, ROOT, "GET /report/7");
    scene.take(0, &serve.waits("1000"));
    scene
}

#[test]
fn a_call_on_the_requests_context_lacks_what_the_caller_sent() {
    let mut scene = told(Deadlines::default());
    scene.waits(SERVING, &[ROUND_TRIP, BUILD, HANDLER, SERVE]);
    let chain = [(CANCEL_CTX, ROOT)];
    calls_at(&mut scene, 5, SERVING, &chain, &[BUILD, HANDLER, SERVE]);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding
            .message
            .ends_with("has no deadline, its request has 995 ms")
    );
    assert_eq!(
        finding.help,
        "give the call a context with the time that X-Timeout-Ms leaves"
    );
    let evidence = &finding.evidence;
    assert_eq!(evidence.timer, Some(Timer::Caller));
    assert_eq!(evidence.deadline_ns, Some(1_000_000_000));
    assert_eq!(evidence.remaining_ns, Some(995_000_000));
    assert_eq!(evidence.deadline_header.as_deref(), Some("X-Timeout-Ms"));
    assert_eq!(evidence.deadline_site, None);
    scene.until(1_200);
    let grown = last(&scene, RULE);
    assert_eq!(grown.severity, Severity::Error);
}

#[test]
fn a_call_with_a_deadline_of_its_own_has_one() {
    let mut scene = told(Deadlines::default());
    let own = Timeout {
        asked_ms: 900,
        ..Timeout::default()
    };
    own.make(&mut scene, 4);
    let chain = [(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)];
    calls_at(&mut scene, 5, SERVING, &chain, &[BUILD, HANDLER, SERVE]);
    scene.silent();
}

#[test]
fn a_detached_call_lacks_what_the_caller_sent() {
    let off = Deadlines {
        detached_is_off: true,
        ..Deadlines::default()
    };
    let mut scene = told(off);
    calls_at(
        &mut scene,
        5,
        SERVING,
        &[BACKGROUND],
        &[BUILD, HANDLER, SERVE],
    );
    let evidence = &only(&scene, RULE).evidence;
    assert_eq!(evidence.deadline_header.as_deref(), Some("X-Timeout-Ms"));
    // Otherwise detached-context tells of it.
    let mut scene = told(Deadlines::default());
    scene.details = Some(details());
    calls_at(
        &mut scene,
        5,
        SERVING,
        &[BACKGROUND],
        &[BUILD, HANDLER, SERVE],
    );
    let (_, finding) = scene.only();
    assert_eq!(finding.rule, RuleName::DetachedContext);
    assert_eq!(finding.evidence.deadline_ns, Some(1_000_000_000));
    assert_eq!(
        finding.evidence.deadline_header.as_deref(),
        Some("X-Timeout-Ms")
    );
}

/// What goes on after the client has left is told again, not only with what is new.
#[test]
fn what_a_detached_call_has_lost_stays_told_when_it_outlives_its_request() {
    let mut scene = told(Deadlines::default());
    scene.details = Some(details());
    let stack = [BUILD, HANDLER, SERVE];
    scene.waits(SERVING, &[ROUND_TRIP, BUILD, HANDLER, SERVE]);
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &stack);
    client_leaves(&mut scene, 100);
    scene.until(700);
    let grown = last(&scene, RuleName::DetachedContext);
    let evidence = &grown.evidence;
    assert_eq!(grown.severity, Severity::Error);
    assert_eq!(evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(evidence.deadline_ns, Some(1_000_000_000));
    assert_eq!(evidence.remaining_ns, Some(995_000_000));
    assert_eq!(evidence.deadline_header.as_deref(), Some("X-Timeout-Ms"));
}

/// A method of gRPC whose interceptor allows a second, and which calls without it; `id` is what its metadata says.
fn method_calls(id: Option<&str>) -> Scene {
    let mut scene = alone();
    scene.details = id.map(|id| {
        std::sync::Arc::new(RequestDetails {
            headers: vec![Some(id.into()), None],
            ..RequestDetails::default()
        })
    });
    scene.waits(SERVING, &[ROUND_TRIP, BUILD, SERVE]);
    let begins = [
        stream_context(&scene.code, 30, ROOT),
        grpc(
            &scene.code,
            SERVING,
            0x7700,
            &[(CANCEL_CTX, ROOT)],
            "/shop.Depot/Detour",
        ),
    ];
    for record in begins {
        scene.take(0, &record);
    }
    let budget = Timeout {
        asked_ms: SECOND,
        stack: &[MIDDLEWARE, SERVE],
        ..Timeout::default()
    };
    budget.make(&mut scene, 1);
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &UNDER_MIDDLEWARE);
    scene
}

#[test]
fn a_request_of_grpc_is_named_by_the_id_that_it_came_with() {
    for id in [Some("depot-1"), None] {
        let mut scene = method_calls(id);
        scene.until(50);
        let finding = only(&scene, RULE);
        assert_eq!(finding.severity, Severity::Warning);
        let request = finding.request.as_ref().unwrap();
        assert_eq!(request.id.as_deref(), id);
        assert_eq!(finding.evidence.remaining_ns, Some(996_000_000));
        scene.until(1_090);
        assert_eq!(last(&scene, RULE).severity, Severity::Warning);
        scene.until(1_200);
        assert_eq!(last(&scene, RULE).severity, Severity::Error);
    }
}
