//! A call has a deadline that the process it calls was not told of.

use super::{CANCEL_CTX, CHILD, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, TIMER_CTX};
use crate::detect::Deadlines;
use crate::finding::{Confidence, Finding, JoinedBy, RuleName, Severity, Timer};
use crate::testkit::{Created, MS, STORE, Scene, call, created_short, deadline, request};

/// The transport's own context of the call.
const INNER: u64 = 0x3000;
/// The request's own context in the process that is called.
const BELOW: u64 = 0x7000;
const BELOW_SERVING: u64 = 20;
const PLACE: &str = "example.com/store/catalog.report:40";
const HEADER: &str = "X-Timeout-Ms";

fn scene(headers: &[&str]) -> Scene {
    let mut scene = Scene::told(Deadlines::default(), headers);
    scene.waits(BELOW_SERVING, &["time.Sleep", PLACE, SERVE]);
    scene
}

/// A handler calls at 10 ms, with 300 ms set at 0.
fn calling(scene: &mut Scene, id: &str) {
    let code = &scene.code;
    let stack = [
        "context.WithDeadlineCause",
        "context.WithTimeout",
        HANDLER,
        SERVE,
    ];
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &stack,
        deadline: deadline(0, 300 * i64::try_from(MS).unwrap(), true),
        ..Created::default()
    };
    let records = [
        (0, request(code, SERVING, ROOT, "GET /report/7").with_id(id)),
        (0, made.record(code)),
    ];
    for (at_ms, record) in &records {
        scene.take(*at_ms, record);
    }
    calls(scene, 10, &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)]);
}

fn calls(scene: &mut Scene, at_ms: u64, chain: &[(&str, u64)]) {
    let code = &scene.code;
    let stack = [ROUND_TRIP, HANDLER, SERVE];
    let records = [
        call(code, (SERVING, 1), INNER + 2, chain, &stack),
        created_short(code, SERVING, INNER, chain[0]),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
}

/// The request below begins, with what its caller says.
fn served(scene: &mut Scene, at_ms: u64, says: Option<&str>) {
    let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7").with_id("r-1");
    let record = match says {
        Some(text) => record.waits(text),
        None => record,
    };
    scene.take(at_ms, &record.of(STORE));
}

fn lost(scene: &Scene) -> Vec<&Finding> {
    let rule = RuleName::DeadlineNotForwarded;
    let all = scene.findings().into_iter();
    all.filter(|finding| finding.rule == rule).collect()
}

#[test]
fn none_is_told_when_the_request_begins() {
    let mut scene = scene(&[HEADER]);
    calling(&mut scene, "r-1");
    served(&mut scene, 20, None);
    let [finding] = lost(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::Medium)
    );
    assert_eq!(super::site(finding), ("example.com/shop/api.GetReport", 31));
    assert_eq!(
        finding.message,
        "shop-store was not told that this call has 280 ms left"
    );
    let evidence = &finding.evidence;
    assert_eq!(evidence.timer, Some(Timer::Context));
    assert_eq!(evidence.deadline_ns, Some(300_000_000));
    assert_eq!(evidence.remaining_ns, Some(290_000_000));
    let below = evidence.downstream.as_deref().unwrap();
    assert_eq!(below.process.pid, STORE);
    assert_eq!(below.site.as_ref().unwrap().line, 40);
    assert_eq!(below.remaining_ns, Some(280_000_000));
    assert_eq!(below.deadline_ns, None);
    assert_eq!(below.joined_by, JoinedBy::RequestId);
    assert_eq!(scene.engine.cases(), 0);
}

#[test]
fn a_later_one_is_told_and_a_sooner_one_is_not() {
    // When the call began 290 ms were left, and a tolerance of 29 ms.
    for (says, message) in [
        (
            "2000",
            Some("shop-store was given 2 s for this call, which has 280 ms left"),
        ),
        (
            "320",
            Some("shop-store was given 320 ms for this call, which has 280 ms left"),
        ),
        ("319", None),
        ("280000u", None),
        ("100", None),
    ] {
        let mut scene = scene(&[HEADER]);
        calling(&mut scene, "r-1");
        served(&mut scene, 20, Some(says));
        let found: Vec<_> = lost(&scene).iter().map(|f| &*f.message).collect();
        assert_eq!(found, message.into_iter().collect::<Vec<_>>(), "{says}");
        assert_eq!(scene.engine.totals().deadlines_broken, 0);
    }
}

/// On a busy host a call may be on its way for longer than any tolerance.
#[test]
fn the_time_on_the_way_is_nobodys() {
    for (says, told) in [(Some("290"), false), (Some("400"), true), (None, true)] {
        let mut scene = scene(&[HEADER]);
        calling(&mut scene, "r-1");
        served(&mut scene, 200, says);
        assert_eq!(lost(&scene).len(), usize::from(told), "{says:?}");
    }
}

#[test]
fn what_is_broken_is_counted_and_nothing_follows() {
    for says in ["soon", "-1", "0", "999999999999999999999999999"] {
        let mut scene = scene(&[HEADER]);
        calling(&mut scene, "r-1");
        served(&mut scene, 20, Some(says));
        assert!(lost(&scene).is_empty(), "{says}: {:#?}", scene.shown);
        assert_eq!(scene.engine.totals().deadlines_broken, 1, "{says}");
    }
}

#[test]
fn without_a_header_or_a_deadline_or_time_left_it_is_silent() {
    let mut plain = scene(&[]);
    calling(&mut plain, "r-1");
    served(&mut plain, 20, None);
    let mut unbound = scene(&[HEADER]);
    let record = request(&unbound.code, SERVING, ROOT, "GET /report/7").with_id("r-1");
    unbound.take(0, &record);
    calls(&mut unbound, 10, &[(CANCEL_CTX, ROOT)]);
    served(&mut unbound, 20, None);
    let mut late = scene(&[HEADER]);
    calling(&mut late, "r-1");
    served(&mut late, 301, None);
    let mut strange = scene(&[HEADER]);
    calling(&mut strange, "r-2");
    served(&mut strange, 20, None);
    for scene in [plain, unbound, late, strange] {
        assert!(lost(&scene).is_empty(), "{:#?}", scene.shown);
        assert!(scene.asked.is_empty(), "nobody was asked for nothing");
    }
}

#[test]
fn a_handler_that_is_gone_leaves_the_line_of_the_call() {
    let mut scene = scene(&[HEADER]);
    scene.goroutines.clear();
    calling(&mut scene, "r-1");
    served(&mut scene, 20, None);
    let [finding] = lost(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert!(finding.site.is_some());
    assert_eq!(finding.evidence.downstream.as_deref().unwrap().site, None);
}

#[test]
fn many_are_told_of_without_a_look_at_each() {
    let mut scene = scene(&[HEADER]);
    for number in 0..300u64 {
        let id = format!("r-{number}");
        let (goid, ctx) = (1_000 + number, 0x10_0000 + number * 0x100);
        let code = &scene.code;
        let made = Created {
            goid,
            child: (TIMER_CTX, ctx + 0x10),
            chain: &[(CANCEL_CTX, ctx)],
            stack: &["context.WithTimeout", HANDLER, SERVE],
            deadline: deadline(0, 300 * i64::try_from(MS).unwrap(), true),
            ..Created::default()
        };
        let chain = [(TIMER_CTX, ctx + 0x10), (CANCEL_CTX, ctx)];
        let records = [
            request(code, goid, ctx, "GET /report/7").with_id(&id),
            made.record(code),
            call(
                code,
                (goid, 1),
                ctx + 0x20,
                &chain,
                &[ROUND_TRIP, HANDLER, SERVE],
            ),
            request(code, goid, ctx + 0x30, "GET /item/7")
                .with_id(&id)
                .of(STORE),
        ];
        for record in &records {
            scene.take(5, record);
        }
    }
    scene.until(100);
    assert_eq!(lost(&scene).len(), 1);
    assert_eq!(scene.asked.len(), 100);
    assert_eq!(scene.engine.joins().joined, 300);
}
