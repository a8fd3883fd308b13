//! timeout-mismatch: two clocks.

use super::*;

const RULE: RuleName = RuleName::TimeoutMismatch;
const DO: [&str; 5] = [
    "net/http.setRequestCancel",
    "net/http.(*Client).do",
    BUILD,
    HANDLER,
    SERVE,
];

/// A context of two seconds, and a call of a client that allows `client_ms`.
fn client(client_ms: u64) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let own = Timeout::default();
    own.make(&mut scene, 1);
    again(&mut scene, 2, client_ms);
    scene
}

fn again(scene: &mut Scene, at_ms: u64, client_ms: u64) {
    let timeout = Timeout {
        data: GRANDCHILD,
        chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
        asked_ms: client_ms,
        stack: &DO,
        ..Timeout::default()
    };
    timeout.make(scene, at_ms);
    let chain = [(TIMER_CTX, GRANDCHILD), (TIMER_CTX, CHILD)];
    calls_at(scene, at_ms + 1, SERVING, &chain, &[BUILD, HANDLER, SERVE]);
}

#[test]
fn a_shorter_client_timeout_is_an_info_once() {
    let mut scene = client(SECOND);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(finding.evidence.timer, Some(Timer::ClientTimeout));
    assert_eq!(finding.evidence.asked_ns, Some(1_000_000_000));
    assert_eq!(finding.evidence.deadline_ns, Some(2_000_000_000));
    assert_eq!(finding.evidence.remaining_ns, Some(999_000_000));
    assert_eq!(finding.evidence.deadline_site.as_ref().unwrap().line, 31);
    assert!(finding.evidence.call.is_some());
    again(&mut scene, 20, SECOND);
    scene.engine.finish(60_000 * MS);
    scene.until(30);
    assert_eq!(last(&scene, RULE).count, 1);
}

#[test]
fn one_that_fires_with_time_left_is_a_warning() {
    let mut scene = client(200);
    let fires = timer_fires(&scene, GRANDCHILD);
    scene.take(202, &fires);
    let finding = last(&scene, RULE);
    assert_eq!((finding.severity, finding.count), (Severity::Warning, 1));
    assert_eq!(finding.evidence.remaining_ns, Some(1_799_000_000));
    assert_eq!(
        finding.message,
        "http.Client.Timeout of 200 ms fired with 1.8 s of the context's deadline left"
    );
}

#[test]
fn within_the_tolerance_they_agree() {
    let mut scene = client(1_990);
    let fires = timer_fires(&scene, GRANDCHILD);
    scene.take(1_992, &fires);
    scene.silent();
}

#[test]
fn a_deadline_that_is_no_clients_timeout_is_a_sub_budget() {
    let mut scene = under_middleware(2 * SECOND);
    let own = Timeout {
        data: GRANDCHILD,
        chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
        asked_ms: 200,
        stack: &UNDER_MIDDLEWARE,
        ..Timeout::default()
    };
    own.make(&mut scene, 2);
    calls_at(
        &mut scene,
        3,
        SERVING,
        &[(TIMER_CTX, GRANDCHILD)],
        &UNDER_MIDDLEWARE,
    );
    let fires = timer_fires(&scene, GRANDCHILD);
    scene.take(202, &fires);
    scene.silent();
}

#[test]
fn one_clock_alone_disagrees_with_nobody() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let timeout = Timeout {
        data: GRANDCHILD,
        asked_ms: 200,
        stack: &DO,
        ..Timeout::default()
    };
    timeout.make(&mut scene, 2);
    calls_at(
        &mut scene,
        3,
        SERVING,
        &[(TIMER_CTX, GRANDCHILD)],
        &[BUILD, SERVE],
    );
    let fires = timer_fires(&scene, GRANDCHILD);
    scene.take(202, &fires);
    scene.silent();
}

/// A request whose handler has two seconds from `made_ms` on. Memory says why a write failed, and what the server allows.
fn serves(made_ms: u64, error: ErrorKind, write_ms: i64) -> Scene {
    let mut scene = Scene::new();
    scene.details = Some(details());
    scene.conn = Some(ConnState {
        write_error: Some(error),
        server: Some(ServerTimeouts {
            read_ns: 0,
            read_header_ns: 0,
            write_ns: write_ms * 1_000_000,
            idle_ns: 0,
        }),
        ..ConnState::default()
    });
    start(&mut scene, 0);
    let own = Timeout::default();
    own.make(&mut scene, made_ms);
    scene
}

/// A write fails at `at_ms`.
fn write_fails(at_ms: u64, error: ErrorKind, write_ms: i64) -> Scene {
    let flushes = ["net/http.(*response).Flush", BUILD, SERVE];
    write_fails_in(&flushes, at_ms, error, write_ms)
}

/// The same in a function with this stack.
fn write_fails_in(above: &[&str], at_ms: u64, error: ErrorKind, write_ms: i64) -> Scene {
    let mut scene = serves(1, error, write_ms);
    let mut stack = vec![
        "context.WithCancel.func1",
        "net/http.checkConnErrorWriter.Write",
    ];
    stack.extend(above);
    let code = &scene.code;
    let records: [Record; 3] = [
        cancel(code, SERVING, super::super::CONN, &stack),
        cascade(code, SERVING, ROOT),
        cascade(code, SERVING, CHILD),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
    end(&mut scene, at_ms + 50);
    scene
}

#[test]
fn a_write_deadline_that_fired_with_time_left_is_a_warning_at_the_write() {
    let scene = write_fails(400, ErrorKind::IoDeadline, 0);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(finding.evidence.timer, Some(Timer::WriteDeadline));
    assert_eq!(
        finding.evidence.cancelled_by,
        Some(CancelledBy::WriteDeadline)
    );
    assert_eq!(finding.evidence.remaining_ns, Some(1_601_000_000));
    assert_eq!(finding.evidence.deadline_site.as_ref().unwrap().line, 31);
}

#[test]
fn the_line_of_a_write_is_behind_all_that_buffers_and_formats() {
    let formats = [
        "bufio.(*Writer).Flush",
        "bufio.(*Writer).Write",
        "net/http.(*chunkWriter).Write",
        "bufio.(*Writer).Write",
        "net/http.(*response).write",
        "net/http.(*response).Write",
        "fmt.Fprint",
        BUILD,
    ];
    let at = |above| {
        let scene = write_fails_in(above, 400, ErrorKind::IoDeadline, 0);
        let (function, line) = site(only(&scene, RULE));
        (function.to_owned(), line)
    };
    let build = "example.com/shop/report.(*Builder).Build".to_owned();
    assert_eq!(at(&formats), (build, 132));
    // Too far above: the handler's declaration.
    let handler = "example.com/shop/api.GetReport".to_owned();
    assert_eq!(at(&formats[..7]), (handler, 1));
}

#[test]
fn the_servers_own_is_told_by_its_length() {
    let scene = write_fails(1_000, ErrorKind::IoDeadline, 700);
    let finding = only(&scene, RULE);
    assert_eq!(finding.evidence.timer, Some(Timer::WriteTimeout));
    assert_eq!(finding.evidence.asked_ns, Some(700_000_000));
    // When it passed, not when somebody wrote.
    assert_eq!(finding.evidence.remaining_ns, Some(1_301_000_000));
    let longer = write_fails(400, ErrorKind::IoDeadline, 700);
    assert_eq!(
        only(&longer, RULE).evidence.timer,
        Some(Timer::WriteDeadline)
    );
}

#[test]
fn a_write_that_failed_for_another_reason_or_in_the_end_says_nothing() {
    write_fails(400, ErrorKind::BrokenPipe, 700).silent();
    write_fails(1_990, ErrorKind::IoDeadline, 0).silent();
}

/// The handler frees its context and returns; what it has left cannot be written.
fn flush_fails(scene: &mut Scene, freed_ms: u64, at_ms: u64) {
    let stack = [
        "context.WithCancel.func1",
        "net/http.checkConnErrorWriter.Write",
        "bufio.(*Writer).Flush",
        "net/http.(*response).finishRequest",
        "net/http.(*conn).serve",
    ];
    let defer = ["context.WithDeadlineCause.func3", HANDLER];
    let frees = cancel(&scene.code, SERVING, CHILD, &defer);
    scene.take(freed_ms, &frees);
    end(scene, at_ms);
    let fails = cancel(&scene.code, SERVING, super::super::CONN, &stack);
    scene.take(at_ms, &fails);
}

/// The same of a server that allows 700 ms.
fn answer_fails((made_ms, freed_ms): (u64, u64), at_ms: u64, error: ErrorKind) -> Scene {
    let mut scene = serves(made_ms, error, 700);
    flush_fails(&mut scene, freed_ms, at_ms);
    scene
}

#[test]
fn an_answer_that_is_written_when_the_handler_has_returned_is_told_at_the_handler() {
    let scene = answer_fails((1, 1_000), 1_000, ErrorKind::IoDeadline);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(site(finding), ("example.com/shop/api.GetReport", 1));
    assert_eq!(finding.evidence.timer, Some(Timer::WriteTimeout));
    assert_eq!(finding.evidence.asked_ns, Some(700_000_000));
    assert_eq!(finding.evidence.deadline_ns, Some(2_000_000_000));
    assert_eq!(finding.evidence.deadline_site.as_ref().unwrap().line, 31);
    // When it passed, not when somebody wrote.
    assert_eq!(finding.evidence.remaining_ns, Some(1_301_000_000));
    assert_eq!(
        finding.message,
        "http.Server.WriteTimeout of 700 ms fired with 1.3 s of the context's deadline left"
    );
    // Nothing has cancelled the request.
    assert_eq!(finding.evidence.cancelled_by, None);
}

#[test]
fn only_a_context_that_the_write_deadline_has_found_had_time_left() {
    for (made_ms, freed_ms) in [(1, 600), (800, 1_000)] {
        answer_fails((made_ms, freed_ms), 1_000, ErrorKind::IoDeadline).silent();
    }
    // Nor one that has run out.
    answer_fails((1, 1_990), 1_990, ErrorKind::IoDeadline).silent();
}

#[test]
fn an_answer_that_a_client_did_not_wait_for_says_nothing() {
    answer_fails((1, 1_000), 1_000, ErrorKind::BrokenPipe).silent();
}

#[test]
fn of_an_answer_after_a_loss_nothing_is_known() {
    let mut scene = serves(1, ErrorKind::IoDeadline, 700);
    scene.engine.loss();
    flush_fails(&mut scene, 1_000, 1_000);
    scene.silent();
}

#[test]
fn a_read_deadline_is_premature_cancels() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let own = Timeout::default();
    own.make(&mut scene, 1);
    let stack = [
        "context.WithCancel.func1",
        "net/http.(*connReader).handleReadErrorLocked",
    ];
    let error = ReadError::Op("internal/poll.DeadlineExceededError");
    let code = &scene.code;
    let records = [
        conn_error(code, 12, error),
        cancel(code, 12, super::super::CONN, &stack),
        cascade(code, 12, ROOT),
    ];
    for record in &records {
        scene.take(300, record);
    }
    assert!(of_rule(&scene, RULE).is_empty());
}
