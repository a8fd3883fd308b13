//! Hand-made findings for the tests of what comes after the rules.

use std::sync::Arc;

use super::{
    CallEvidence, CallOutcome, CancelledBy, Causes, Confidence, ContextLink, Crowd, Downstream,
    Evidence, Finding, Fingerprint, Grown, HookState, IdSource, JoinedBy, ProcessInfo, RequestInfo,
    Routes, RuleName, Severity, SurgeEvidence, Timer, Trust, WorkState,
};
use crate::go::{Frame, Stack, TypeName};

/// Monotonic time of the first request, ns.
pub const START_NS: u64 = 5_000_000_000;

/// A frame.
#[must_use]
pub fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: function.into(),
        file: file.into(),
        line,
    }
}

/// The process of all samples.
#[must_use]
pub fn process() -> Arc<ProcessInfo> {
    Arc::new(ProcessInfo {
        pid: 4121,
        start_ticks: 88_120,
        name: "shop-api".into(),
        exe: "/srv/shop/shop-api".into(),
        build_id: "k3Jm/aQ".into(),
        go: "go1.27.3".into(),
        module: "example.com/shop".into(),
        main_package: "example.com/shop/cmd/shop-api".into(),
    })
}

/// Two hooks that are on and one that is off.
#[must_use]
pub fn hooks() -> Vec<HookState> {
    let on = |hook: &str, symbol: &str, site: &str, rate: &str| HookState {
        hook: hook.into(),
        on: true,
        symbol: Some(symbol.into()),
        site: Some(site.into()),
        kind: Some("push".into()),
        rate: rate.into(),
        reason: None,
    };
    vec![
        on(
            "context-cancel",
            "context.(*cancelCtx).cancel",
            "0x48a2c4",
            "per-operation",
        ),
        on(
            "http-serve",
            "net/http.serverHandler.ServeHTTP",
            "0x6f10a1",
            "per-request",
        ),
        HookState {
            hook: "sql-query".into(),
            on: false,
            symbol: None,
            site: None,
            kind: None,
            rate: "per-operation".into(),
            reason: Some("not linked".into()),
        },
    ]
}

fn request() -> RequestInfo {
    RequestInfo {
        number: 7,
        method: Some("GET".into()),
        path: Some("/report/7".into()),
        route: Some("/report/{}".into()),
        proto: Some("HTTP/1.1".into()),
        id: Some("3f1c9a".into()),
        id_truncated: false,
        id_source: Some(IdSource::Header("X-Request-Id".into())),
        trace_id: None,
        parent_id: None,
        trace_flags: None,
        peer: Some("10.0.3.9:51322".into()),
        goid: 412,
        start_ns: START_NS,
        duration_ns: Some(4_430_000_000),
    }
}

fn link(
    label: &str,
    type_name: &str,
    site: Option<Frame>,
    deadline_ns: Option<i64>,
    trust: Trust,
) -> ContextLink {
    ContextLink {
        type_name: Some(TypeName {
            package: "context".into(),
            name: type_name.into(),
            pointer: type_name.ends_with("Ctx") && !type_name.starts_with("background"),
        }),
        label: label.into(),
        site,
        deadline_ns,
        trust,
    }
}

/// The example of the documentation: a handler that waits on a channel after its client left.
#[must_use]
pub fn cancel_ignored() -> Finding {
    let site = frame(
        "example.com/shop/report.(*Builder).wait",
        "/home/ci/src/shop/report/build.go",
        132,
    );
    Finding {
        id: 0,
        fingerprint: Fingerprint(0),
        rule: RuleName::CancelIgnored,
        severity: Severity::Error,
        confidence: Confidence::High,
        message: "handler worked 4.31 s after the client left".into(),
        time_ns: START_NS + 4_430_000_000,
        process: process(),
        request: Some(request()),
        site: Some(site.clone()),
        caller: None,
        stack: vec![
            site,
            frame(
                "example.com/shop/report.(*Builder).Build",
                "/home/ci/src/shop/report/build.go",
                58,
            ),
            frame(
                "example.com/shop/api.GetReport",
                "/home/ci/src/shop/api/report.go",
                77,
            ),
            frame("net/http.HandlerFunc.ServeHTTP", "net/http/server.go", 2322),
            frame(
                "net/http.serverHandler.ServeHTTP",
                "net/http/server.go",
                3340,
            ),
            frame("net/http.(*conn).serve", "net/http/server.go", 2109),
        ]
        .into(),
        context: vec![
            link(
                "context.Background",
                "backgroundCtx",
                Some(frame(
                    "example.com/shop/report.(*Builder).Build",
                    "/home/ci/src/shop/report/build.go",
                    40,
                )),
                None,
                Trust::Root,
            ),
            link(
                "WithTimeout",
                "timerCtx",
                Some(frame(
                    "example.com/shop/api.GetReport",
                    "/home/ci/src/shop/api/report.go",
                    71,
                )),
                Some(30_000_000_000),
                Trust::Known,
            ),
            link("request", "cancelCtx", None, None, Trust::Root),
        ],
        evidence: Evidence {
            cancelled_by: Some(CancelledBy::Client),
            cancelled_at_ns: Some(START_NS + 120_000_000),
            after_cancel_ns: Some(4_310_000_000),
            state: Some(WorkState::Ended),
            wait_reason: Some("chan receive".into()),
            wait_ns: Some(4_290_000_000),
            ..Evidence::default()
        },
        count: 1,
        first_seen_ns: START_NS + 4_430_000_000,
        last_seen_ns: START_NS + 4_430_000_000,
        help: "derive from the request's context at report/build.go:40".into(),
        related: vec![],
        routes: Routes {
            named: vec![("/report/{}".into(), 1)],
            others: 0,
        },
        causes: Causes::default(),
    }
    .identified()
}

/// A call that was given up, and the process that it called worked on.
#[must_use]
pub fn orphaned_downstream() -> Finding {
    let place = "example.com/shop/storeclient.(*Client).Report";
    let site = frame(place, "/home/ci/src/shop/storeclient/client.go", 61);
    let below = frame(
        "example.com/store/catalog.report",
        "/home/ci/src/store/catalog/report.go",
        40,
    );
    let mut caller = request();
    caller.duration_ns = Some(303_000_000);
    Finding {
        rule: RuleName::OrphanedDownstream,
        // Two hosts have two clocks.
        confidence: Confidence::Medium,
        message: "store worked 1.7 s after this call to it was given up: the deadline passed"
            .into(),
        time_ns: START_NS + 2_004_000_000,
        request: Some(caller),
        site: Some(site.clone()),
        stack: vec![site].into(),
        context: vec![],
        evidence: Evidence {
            cancelled_by: Some(CancelledBy::Deadline),
            cancelled_at_ns: Some(START_NS + 302_000_000),
            after_cancel_ns: Some(1_702_000_000),
            state: Some(WorkState::Ended),
            call: Some(CallEvidence {
                kind: "http",
                target: "GET store:8080/report".into(),
                attempts: Some(1),
                start_ns: START_NS + 2_000_000,
                duration_ns: Some(300_000_000),
                waited_ns: None,
                outcome: CallOutcome::Cancelled,
                sent: None,
            }),
            deadline_ns: Some(300_000_000),
            remaining_ns: Some(299_900_000),
            deadline_site: Some(frame(
                "example.com/shop/api.GetReport",
                "/home/ci/src/shop/api/report.go",
                71,
            )),
            timer: Some(Timer::Context),
            downstream: Some(Box::new(Downstream {
                process: Arc::new(ProcessInfo {
                    pid: 977,
                    name: "store".into(),
                    exe: "/srv/shop/store".into(),
                    module: "example.com/store".into(),
                    ..(*process()).clone()
                }),
                host: Some("store-1".into()),
                caller_host: Some("edge-1".into()),
                request: RequestInfo {
                    number: 3,
                    method: Some("GET".into()),
                    path: Some("/report".into()),
                    route: Some("/report".into()),
                    start_ns: START_NS + 4_000_000,
                    duration_ns: Some(2_000_000_000),
                    ..request()
                },
                site: Some(below.clone()),
                stack: vec![below].into(),
                wait_reason: Some("sleep".into()),
                wait_ns: Some(801_000_000),
                joined_by: JoinedBy::RequestId,
                cancelled_by: Some(CancelledBy::Client),
                cancelled_at_ns: Some(START_NS + 302_400_000),
                deadline_ns: None,
                remaining_ns: Some(297_900_000),
                clock_ns: Some((-3_000_200_000, 400_000)),
            })),
            ..Evidence::default()
        },
        help: "let the handler in store stop when its request's context is cancelled".into(),
        routes: Routes::default(),
        ..cancel_ignored()
    }
    .identified()
}

/// Mails that pile up, and their log.
#[must_use]
pub fn goroutine_surge() -> Finding {
    let file = "/home/ci/src/shop/mail/mail.go";
    let site = frame("example.com/shop/mail.Notify", file, 31);
    let wait = frame("example.com/shop/mail.(*Pool).get", file, 88);
    let start = frame("example.com/shop/mail.Notify.func1", file, 32);
    let stack = Stack::from(vec![wait, start]);
    let grown = |site: Frame, grew, most| Grown {
        site: Some(site),
        live: grew + 10,
        grew,
        stack_bytes: grew * 4096,
        most,
    };
    let most = Crowd {
        count: 1_990,
        state: WorkState::Waiting,
        wait_reason: Some("chan receive".into()),
        stack: stack.clone(),
    };
    Finding {
        rule: RuleName::GoroutineSurge,
        severity: Severity::Warning,
        message: "2700 goroutines, where there were 210 on average; 2500 came within 2 s".into(),
        time_ns: START_NS + 2_004_000_000,
        request: None,
        site: Some(site.clone()),
        stack,
        context: vec![],
        evidence: Evidence {
            state: Some(WorkState::Waiting),
            wait_reason: Some("chan receive".into()),
            live: Some(2_010),
            stack_bytes: Some(8_192_000),
            surge: Some(Box::new(SurgeEvidence {
                goroutines: 2_700,
                average: 210,
                grew: 2_500,
                span_ns: 2_004_000_000,
                grown: vec![
                    grown(site, 2_000, Some(most)),
                    grown(frame("example.com/shop/mail.Log", file, 97), 500, None),
                ],
                snapshot: Some(
                    "/var/lib/observer/goroutines-shop-api-4121-20260301T120007.004000000Z.jsonl"
                        .into(),
                ),
            })),
            ..Evidence::default()
        },
        help: "bound how many of them there are at once".into(),
        routes: Routes::default(),
        ..cancel_ignored()
    }
    .identified()
}

/// A call killed by a cancel, with everything unknown that can be.
#[must_use]
pub fn premature_cancel() -> Finding {
    let site = frame(
        "example.com/shop/api.refresh.func1",
        "/home/ci/src/shop/api/refresh.go",
        24,
    );
    Finding {
        rule: RuleName::PrematureCancel,
        severity: Severity::Warning,
        confidence: Confidence::Medium,
        message: "call to store:8080 was killed by `defer cancel` of the handler".into(),
        request: Some(RequestInfo {
            number: 9,
            method: None,
            path: None,
            route: None,
            proto: None,
            id: None,
            id_truncated: false,
            id_source: None,
            trace_id: None,
            parent_id: None,
            trace_flags: None,
            peer: None,
            goid: 77,
            start_ns: START_NS,
            duration_ns: None,
        }),
        site: Some(site.clone()),
        stack: vec![site].into(),
        context: vec![],
        evidence: Evidence {
            cancelled_by: Some(CancelledBy::NormalEnd),
            cancelled_at_ns: Some(START_NS + 12_000_000),
            cancel_site: Some(frame(
                "example.com/shop/api.Refresh",
                "/home/ci/src/shop/api/refresh.go",
                31,
            )),
            call: Some(CallEvidence {
                kind: "http",
                waited_ns: None,
                target: "GET store:8080/item/7".into(),
                attempts: Some(3),
                start_ns: START_NS + 9_000_000,
                duration_ns: Some(3_000_000),
                outcome: CallOutcome::Cancelled,
                sent: None,
            }),
            ..Evidence::default()
        },
        help: "give the goroutine a context of its own: context.WithoutCancel(ctx) with a timeout"
            .into(),
        count: 3,
        related: vec![0x1234],
        routes: Routes {
            named: vec![("/cart".into(), 2), ("/order/{}".into(), 1)],
            others: 0,
        },
        ..cancel_ignored()
    }
    .identified()
}
