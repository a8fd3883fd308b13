//! The rules about deadlines: what each compares, and where each is silent.

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, TIMER_CTX,
    WORKER, end, site, start, timer_fires,
};
use crate::detect::Deadlines;
use crate::finding::{CancelledBy, Emission, Finding, RuleName, Severity, Timer};
use crate::inspect::{ConnState, ErrorKind, RequestDetails, ServerTimeouts};
use crate::testkit::{
    Created, MS, ReadError, Record, Scene, asked, call, cancel, cascade, conn_error, deadline,
};

const GRANDCHILD: u64 = 0x3000;
const WITHOUT: (&str, u64) = ("context.withoutCancelCtx", 0x7000);
const MIDDLEWARE: &str = "example.com/shop/api.limited.ServeHTTP:57";
const HANDLER_FUNC: &str = "net/http.HandlerFunc.ServeHTTP";
const TIMEOUT_HANDLER: &str = "net/http.(*timeoutHandler).ServeHTTP";
const TIMEOUT_WORKER: &str = "net/http.(*timeoutHandler).ServeHTTP.func1";
const SECOND: u64 = 1_000;

/// Stack of a handler under the service's middleware.
const UNDER_MIDDLEWARE: [&str; 5] = [BUILD, HANDLER, HANDLER_FUNC, MIDDLEWARE, SERVE];

/// What a `WithTimeout` of `asked_ms` under `parent` makes, with this stack above it.
struct Timeout<'a> {
    goid: u64,
    data: u64,
    chain: &'a [(&'a str, u64)],
    asked_ms: u64,
    stack: &'a [&'a str],
    /// The parent's deadline is sooner: no timer is made.
    clamped: bool,
}

impl Timeout<'_> {
    fn make(&self, scene: &mut Scene, at_ms: u64) {
        let until = deadline(at_ms * MS, i64::try_from(self.asked_ms * MS).unwrap(), true);
        let asks = asked(&scene.code, self.goid, self.chain[0], until);
        scene.take(at_ms, &asks);
        let mut stack = vec!["context.WithDeadlineCause", "context.WithTimeout"];
        stack.extend(self.stack);
        let made = Created {
            goid: self.goid,
            parent_goid: if self.goid == SERVING { 0 } else { SERVING },
            child: if self.clamped {
                (CANCEL_CTX, self.data)
            } else {
                (TIMER_CTX, self.data)
            },
            chain: self.chain,
            stack: &stack,
            deadline: if self.clamped { [0; 2] } else { until },
            ..Created::default()
        };
        let record = made.record(&scene.code);
        scene.take(at_ms, &record);
    }
}

/// A request whose middleware allows `ms`.
fn under_middleware(ms: u64) -> Scene {
    limited(Scene::new(), ms)
}

fn limited(mut scene: Scene, ms: u64) -> Scene {
    start(&mut scene, 0);
    let budget = Timeout {
        goid: SERVING,
        data: CHILD,
        chain: &[(CANCEL_CTX, ROOT)],
        asked_ms: ms,
        stack: &[MIDDLEWARE, SERVE],
        clamped: false,
    };
    budget.make(&mut scene, 1);
    scene
}

fn calls_at(scene: &mut Scene, at_ms: u64, goid: u64, chain: &[(&str, u64)], above: &[&str]) {
    let mut stack = vec!["net/http.(*Client).do"];
    stack.extend(above);
    let parent = if goid == SERVING { 0 } else { SERVING };
    let record = call(&scene.code, (goid, parent), 0x9000, chain, &stack);
    scene.take(at_ms, &record);
}

fn of_rule(scene: &Scene, rule: RuleName) -> Vec<&Finding> {
    let mut found = scene.findings();
    found.retain(|finding| finding.rule == rule);
    found
}

fn only(scene: &Scene, rule: RuleName) -> &Finding {
    match of_rule(scene, rule)[..] {
        [finding] => finding,
        ref other => panic!("not one {rule}: {other:#?}"),
    }
}

/// The newest state of the only finding of a rule.
fn last(scene: &Scene, rule: RuleName) -> &Finding {
    let last = scene.shown.iter().rev().find_map(|(_, shown)| match shown {
        Emission::Finding(finding) | Emission::Update(finding, _) if finding.rule == rule => {
            Some(&**finding)
        }
        _ => None,
    });
    last.unwrap_or_else(|| panic!("no {rule}"))
}

const fn about(ns: i64, ms: i64) -> bool {
    ns <= ms * 1_000_000 && ns > (ms - 20) * 1_000_000
}

mod inflated {
    use super::*;

    const RULE: RuleName = RuleName::DeadlineInflated;

    fn more(asked_ms: u64, clamped: bool) -> Scene {
        let mut scene = under_middleware(SECOND);
        let more = Timeout {
            goid: SERVING,
            data: GRANDCHILD,
            chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
            asked_ms,
            stack: &UNDER_MIDDLEWARE,
            clamped,
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
            clamped: false,
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
            clamped: false,
        };
        made.make(&mut scene, 5);
        let chain = [(TIMER_CTX, GRANDCHILD), WITHOUT, (TIMER_CTX, CHILD)];
        calls_at(&mut scene, 6, WORKER, &chain, &[BUILD]);
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
            goid: SERVING,
            data: GRANDCHILD,
            chain: &[(TIMER_CTX, CHILD)],
            asked_ms: 30_000,
            stack: &["net.(*Dialer).DialContext", BUILD, SERVE],
            clamped: true,
        };
        made.make(&mut scene, 5);
        scene.silent();
    }
}

mod dropped {
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
            goid: SERVING,
            data: CHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 2 * SECOND,
            stack: &[TIMEOUT_HANDLER, HANDLER, SERVE],
            clamped: false,
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
                chain: &[(CANCEL_CTX, ROOT)],
                asked_ms: 500,
                stack: &[maker, BUILD, HANDLER_FUNC, TIMEOUT_WORKER],
                clamped: false,
            };
            own.make(&mut scene, 4);
            let chain = [(TIMER_CTX, GRANDCHILD), (CANCEL_CTX, ROOT)];
            calls_at(&mut scene, 5, WORKER, &chain, &IN_WORKER);
            assert!(of_rule(&scene, RULE).is_empty());
        }
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
            goid: SERVING,
            data: CHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 500,
            stack: &[HANDLER, SERVE],
            clamped: false,
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
}

fn details() -> std::sync::Arc<RequestDetails> {
    std::sync::Arc::new(RequestDetails {
        peer: None,
        proto: None,
        host: None,
        pattern: None,
        headers: Vec::new(),
        headers_whole: true,
    })
}

mod mismatch {
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
        let own = Timeout {
            goid: SERVING,
            data: CHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 2 * SECOND,
            stack: &[HANDLER, SERVE],
            clamped: false,
        };
        own.make(&mut scene, 1);
        again(&mut scene, 2, client_ms);
        scene
    }

    fn again(scene: &mut Scene, at_ms: u64, client_ms: u64) {
        let timeout = Timeout {
            goid: SERVING,
            data: GRANDCHILD,
            chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
            asked_ms: client_ms,
            stack: &DO,
            clamped: false,
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
            goid: SERVING,
            data: GRANDCHILD,
            chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
            asked_ms: 200,
            stack: &UNDER_MIDDLEWARE,
            clamped: false,
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
            goid: SERVING,
            data: GRANDCHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 200,
            stack: &DO,
            clamped: false,
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

    /// A write fails at `at_ms` of a request whose handler has two seconds; memory says why.
    fn write_fails(at_ms: u64, error: ErrorKind, write_ms: i64) -> Scene {
        let mut scene = Scene::new();
        scene.details = Some(details());
        scene.conn = Some(ConnState {
            write_error: Some(error),
            hijacked: false,
            server: Some(ServerTimeouts {
                read_ns: 0,
                read_header_ns: 0,
                write_ns: write_ms * 1_000_000,
                idle_ns: 0,
            }),
        });
        start(&mut scene, 0);
        let own = Timeout {
            goid: SERVING,
            data: CHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 2 * SECOND,
            stack: &[HANDLER, SERVE],
            clamped: false,
        };
        own.make(&mut scene, 1);
        let stack = [
            "context.WithCancel.func1",
            "net/http.checkConnErrorWriter.Write",
            "net/http.(*response).Flush",
            BUILD,
            SERVE,
        ];
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

    #[test]
    fn a_read_deadline_is_premature_cancels() {
        let mut scene = Scene::new();
        start(&mut scene, 0);
        let own = Timeout {
            goid: SERVING,
            data: CHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 2 * SECOND,
            stack: &[HANDLER, SERVE],
            clamped: false,
        };
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
}

mod too_short {
    use super::*;

    const RULE: RuleName = RuleName::DeadlineTooShort;
    const DEEP: [&str; 9] = [
        "example.com/shop/cache.get:1|example.com/shop/cache.Get:2",
        "example.com/shop/page.teaser:3",
        "github.com/x/y.Do:4",
        "sort.Slice",
        "example.com/shop/page.ranking:5",
        "example.com/shop/page.Page:6",
        HANDLER,
        HANDLER_FUNC,
        SERVE,
    ];

    fn made(scene: &mut Scene, at_ms: u64, ms: u64, stack: &[&str]) {
        let short = Timeout {
            goid: SERVING,
            data: GRANDCHILD,
            chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
            asked_ms: ms,
            stack,
            clamped: false,
        };
        short.make(scene, at_ms);
    }

    #[test]
    fn short_and_deep_is_an_info_at_the_line() {
        let mut scene = under_middleware(2 * SECOND);
        made(&mut scene, 5, 50, &DEEP);
        let finding = only(&scene, RULE);
        assert_eq!(finding.severity, Severity::Info);
        assert_eq!(site(finding), ("example.com/shop/cache.get", 1));
        assert_eq!(finding.evidence.deadline_ns, Some(50_000_000));
        assert_eq!(finding.evidence.remaining_ns, Some(1_996_000_000));
        assert_eq!(
            finding.message,
            "deadline of 50 ms is set 6 frames below the handler"
        );
    }

    #[test]
    fn neither_alone_is_worth_a_word() {
        let mut scene = under_middleware(2 * SECOND);
        made(&mut scene, 5, 100, &DEEP);
        made(&mut scene, 6, 50, &DEEP[1..]);
        scene.silent();
    }

    /// So many uses, of which the first `fired` fire, under a middleware that allows `over_ms`.
    fn uses(made_times: u64, fired: u64, over_ms: u64) -> Scene {
        let mut scene = Scene::new();
        for n in 0..made_times {
            let at_ms = n * 1_000;
            start(&mut scene, at_ms);
            let budget = Timeout {
                goid: SERVING,
                data: CHILD,
                chain: &[(CANCEL_CTX, ROOT)],
                asked_ms: over_ms,
                stack: &[MIDDLEWARE, SERVE],
                clamped: false,
            };
            budget.make(&mut scene, at_ms + 1);
            made(&mut scene, at_ms + 2, 50, &DEEP);
            // The last ones fire: nothing is said before there are enough.
            let stack = ["context.WithDeadlineCause.func3", BUILD];
            let record = if n >= made_times - fired {
                timer_fires(&scene, GRANDCHILD)
            } else {
                cancel(&scene.code, SERVING, GRANDCHILD, &stack)
            };
            scene.take(at_ms + 52, &record);
            end(&mut scene, at_ms + 60);
        }
        scene
    }

    #[test]
    fn a_fifth_of_twenty_that_fired_with_ten_times_as_much_left_is_a_warning() {
        let scene = uses(20, 4, 2 * SECOND);
        let finding = last(&scene, RULE);
        assert_eq!((finding.severity, finding.count), (Severity::Warning, 20));
        assert!(
            finding.message.contains("fired in 4 of 20 uses"),
            "{}",
            finding.message
        );
    }

    #[test]
    fn fewer_uses_fewer_fired_or_less_left_stay_an_info() {
        for scene in [
            uses(19, 19, 2 * SECOND),
            uses(20, 3, 2 * SECOND),
            uses(20, 20, 500),
        ] {
            assert_eq!(last(&scene, RULE).severity, Severity::Info);
        }
    }
}
