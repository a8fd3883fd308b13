//! cancel-not-called: nobody called the CancelFunc, and nobody is left to call it.

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CANCEL_FUNC, CHILD, HANDLER, ROOT, SERVE, SERVING, TIMER_CTX,
    WORKER, derived, end, site, start, timer_fires,
};
use crate::finding::{CancelledBy, Confidence, Emission, RuleName, Severity};
use crate::inspect::{Child, Status};
use crate::testkit::{Created, MS, Scene, Seen, cancel, cancelled_again, cascade};

const PARENT: u64 = 0x1800;
const HELPER: &str = "example.com/shop/store.(*Client).Item:12";

/// A request that made a context at this place and ended at 100 ms.
fn ended(place: &str) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], place);
    scene.take(1, &made);
    end(&mut scene, 100);
    let dies = cascade(&scene.code, SERVING, CHILD);
    scene.take(100, &dies);
    scene
}

fn child(scene: &Scene, gopc: &str) -> Child {
    Child {
        goid: 40,
        g_addr: 0,
        status: Status::Waiting,
        gopc: scene.code.pc(gopc),
        startpc: 0,
    }
}

#[test]
fn one_that_only_its_parent_freed_is_told_after_grace() {
    let mut scene = ended(HELPER);
    scene.until(599);
    scene.silent();
    scene.until(700);
    let (at_ms, finding) = scene.only();
    assert_eq!((at_ms, finding.rule), (600, RuleName::CancelNotCalled));
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::High)
    );
    assert_eq!(site(finding), ("example.com/shop/store.(*Client).Item", 12));
    assert_eq!(
        finding.message,
        "cancel function of WithTimeout never called; only its parent freed it"
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
    assert_eq!(finding.evidence.cancel_site, None);
    assert_eq!(finding.evidence.deadline_ns, Some(1_000 * 1_000_000));
    assert_eq!(finding.request.as_ref().unwrap().number, 1);
}

#[test]
fn one_that_only_its_timer_freed() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HELPER);
    scene.take(1, &made);
    let fires = timer_fires(&scene, CHILD);
    scene.take(50, &fires);
    end(&mut scene, 100);
    scene.until(700);
    let finding = scene.only().1;
    assert_eq!(
        finding.message,
        "cancel function of WithTimeout never called; only its timer freed it"
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Deadline));
}

#[test]
fn code_that_cancelled_its_parent_is_named() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let parent = derived(&scene, 1, (SERVING, PARENT), &[(CANCEL_CTX, ROOT)], BUILD);
    scene.take(1, &parent);
    let chain = [(TIMER_CTX, PARENT), (CANCEL_CTX, ROOT)];
    let made = derived(&scene, 2, (SERVING, CHILD), &chain, HELPER);
    scene.take(2, &made);
    let called = cancel(&scene.code, SERVING, PARENT, &[CANCEL_FUNC, BUILD, SERVE]);
    scene.take(50, &called);
    let dies = cascade(&scene.code, SERVING, CHILD);
    scene.take(50, &dies);
    end(&mut scene, 100);
    scene.until(700);
    let finding = scene.only().1;
    assert_eq!(site(finding).1, 12);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Code));
    let by = finding.evidence.cancel_site.as_ref().unwrap();
    assert_eq!(
        (&*by.function, by.line),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
}

#[test]
fn called_before_grace_is_silent_whoever_calls() {
    for (goid, at_ms) in [(SERVING, 50), (WORKER, 590)] {
        let mut scene = Scene::new();
        start(&mut scene, 0);
        let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HELPER);
        scene.take(1, &made);
        if at_ms > 100 {
            end(&mut scene, 100);
        }
        let called = cancel(&scene.code, goid, CHILD, &[CANCEL_FUNC, HELPER]);
        scene.take(at_ms, &called);
        if at_ms < 100 {
            end(&mut scene, 100);
        }
        scene.until(2_000);
        scene.silent();
        assert!(scene.asked.is_empty());
    }
}

#[test]
fn plumbing_and_the_standard_library_are_never_guilty() {
    for place in [
        "golang.org/x/sync/errgroup.WithContext",
        "google.golang.org/grpc.newClientStream",
        "net/http.(*persistConn).roundTrip",
        "os/signal.NotifyContext",
        "database/sql.(*DB).beginDC",
    ] {
        let mut scene = ended(place);
        scene.until(2_000);
        scene.silent();
    }
}

#[test]
fn contexts_of_after_func_have_no_cancel_func() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = Created {
        goid: SERVING,
        child: ("context.afterFuncCtx", CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.AfterFunc", HELPER, SERVE],
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(1, &made);
    end(&mut scene, 100);
    scene.until(2_000);
    scene.silent();
}

#[test]
fn while_a_goroutine_of_the_makers_lives_it_may_still_call() {
    let mut scene = ended(HELPER);
    let own = child(&scene, BUILD);
    scene.children = Some([(SERVING, vec![own])].into());
    scene.until(3_000);
    scene.silent();
    scene.children = Some([].into());
    scene.until(4_700);
    assert_eq!(scene.only().1.rule, RuleName::CancelNotCalled);
    // A goroutine that the standard library started calls nobody's function.
    let mut scene = ended(HELPER);
    let loops = child(&scene, "net/http.(*Transport).dialConn");
    scene.children = Some([(SERVING, vec![loops])].into());
    scene.until(700);
    scene.only();
}

#[test]
fn while_the_maker_is_on_its_goroutines_stack_it_may_still_call() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (WORKER, CHILD), &[(CANCEL_CTX, ROOT)], BUILD);
    scene.take(1, &made);
    scene.waits(WORKER, &["runtime.chanrecv1", HELPER, BUILD]);
    end(&mut scene, 100);
    scene.until(3_000);
    scene.silent();
    scene.goroutines.insert(WORKER, Seen::Runs);
    scene.until(4_000);
    scene.silent();
    // It went on to something else and left the function.
    scene.waits(WORKER, &["runtime.chanrecv1", HELPER]);
    scene.until(5_000);
    assert_eq!(site(scene.only().1).1, 132);
}

#[test]
fn a_maker_that_is_gone_cannot_call() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (WORKER, CHILD), &[(CANCEL_CTX, ROOT)], BUILD);
    scene.take(1, &made);
    end(&mut scene, 100);
    scene.until(700);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 600);
    assert_eq!(
        finding.message,
        "cancel function of WithTimeout never called; it is still alive"
    );
}

#[test]
fn someones_long_work_is_left_alone_in_the_end() {
    let mut scene = ended(HELPER);
    let own = child(&scene, BUILD);
    scene.children = Some([(SERVING, vec![own])].into());
    scene.until(120_000);
    scene.silent();
    let asked = scene.asked.len();
    scene.until(180_000);
    assert_eq!(scene.asked.len(), asked);
}

#[test]
fn up_to_1_20_only_descendants_are_judged() {
    let mut scene = ended(HELPER);
    scene.children = None;
    scene.until(700);
    scene.only();
    let mut scene = Scene::new();
    scene.children = None;
    start(&mut scene, 0);
    let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HELPER);
    scene.take(1, &made);
    end(&mut scene, 100);
    scene.until(5_000);
    scene.silent();
}

#[test]
fn one_line_is_one_finding_with_the_count_of_the_living() {
    let mut scene = Scene::new();
    for round in 0..3 {
        let at_ms = round * 1_000;
        start(&mut scene, at_ms);
        let data = CHILD + round * 0x100;
        let made = derived(
            &scene,
            at_ms,
            (SERVING, data),
            &[(CANCEL_CTX, ROOT)],
            HELPER,
        );
        scene.take(at_ms + 1, &made);
        end(&mut scene, at_ms + 100);
    }
    scene.until(3_000);
    assert_eq!(scene.findings().len(), 1);
    scene.engine.finish(20_000 * MS);
    let emitted = scene.engine.take_emitted();
    let last = emitted
        .iter()
        .chain(scene.shown.iter().map(|(_, shown)| shown));
    let counts: Vec<_> = last
        .map(
            |(Emission::Finding(finding) | Emission::Update(finding, _))| {
                (finding.count, finding.evidence.live)
            },
        )
        .collect();
    assert!(counts.contains(&(3, Some(3))), "{counts:?}");
}

/// A context of no request, made by a goroutine that has ended.
fn foreign(scene: &mut Scene, at_ms: u64, number: u64) {
    let made = Created {
        goid: 500 + number,
        child: (CANCEL_CTX, 0x8000 + number * 0x100),
        chain: &[BACKGROUND],
        stack: &["context.WithCancel", HELPER, "example.com/shop/jobs.run:3"],
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(at_ms, &made);
}

#[test]
fn of_contexts_without_request_the_third_of_one_line_counts() {
    let mut scene = Scene::new();
    for number in 0..2 {
        foreign(&mut scene, 10 * number, number);
    }
    scene.until(5_000);
    scene.silent();
    foreign(&mut scene, 5_001, 2);
    // They may lie in a session or a queue: none is judged before it is a minute old, and such are looked for every five
    // seconds.
    scene.until(65_001);
    scene.silent();
    scene.until(75_000);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 70_000);
    assert_eq!(finding.request, None);
    assert!(finding.message.contains("WithCancel"));
}

#[test]
fn contexts_without_request_leave_room_for_what_has_to_be_looked_at() {
    let mut scene = Scene::new();
    // More in a minute than there may be timers.
    for number in 0..300_000 {
        let at_ms = number / 5;
        foreign(&mut scene, at_ms, number);
        let child = 0x8000 + number * 0x100;
        let called = cancel(&scene.code, 500 + number, child, &[CANCEL_FUNC, HELPER]);
        scene.take(at_ms, &called);
    }
    assert_eq!(scene.engine.totals().evicted, 0);
    scene.until(200_000);
    scene.silent();
    assert_eq!(scene.engine.next_ns(), None);
}

#[test]
fn a_line_that_calls_elsewhere_is_one_that_calls() {
    let mut scene = Scene::new();
    for number in 0..6 {
        foreign(&mut scene, number, number);
    }
    let called = cancel(&scene.code, 500, 0x8000, &[CANCEL_FUNC, HELPER]);
    scene.take(100, &called);
    scene.until(70_000);
    scene.silent();
}

#[test]
fn without_request_its_timer_is_enough() {
    let mut scene = Scene::new();
    let made = derived(&scene, 0, (WORKER, CHILD), &[BACKGROUND], HELPER);
    scene.take(0, &made);
    let fires = timer_fires(&scene, CHILD);
    scene.take(1_000, &fires);
    scene.until(1_600);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 1_500);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Deadline));
}

#[test]
fn a_context_on_the_detached_side_of_a_request_needs_the_third_too() {
    let mut scene = Scene::new();
    for round in 0..3 {
        let at_ms = round * 2_000;
        start(&mut scene, at_ms);
        let made = Created {
            goid: SERVING,
            child: (CANCEL_CTX, CHILD + round * 0x100),
            chain: &[BACKGROUND],
            stack: &["context.WithCancel", HANDLER, SERVE],
            ..Created::default()
        };
        let made = made.record(&scene.code);
        scene.take(at_ms + 1, &made);
        end(&mut scene, at_ms + 100);
        if round < 2 {
            scene.until(at_ms + 1_900);
            scene.silent();
        }
    }
    scene.until(64_000);
    scene.silent();
    scene.until(70_000);
    let first = &scene.shown[0];
    assert_eq!(first.0, 64_001);
}

/// A request from 0 to 100 ms whose handler makes a context of `Background` with a timer.
fn detached_timer() -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HELPER);
    scene.take(1, &made);
    end(&mut scene, 100);
    scene
}

fn fires(scene: &mut Scene, at_ms: u64) {
    let fires = timer_fires(scene, CHILD);
    scene.take(at_ms, &fires);
}

#[test]
fn a_requests_detached_context_is_told_once_when_its_timer_freed_it() {
    for (fires_ms, told_ms) in [(50, 600), (300, 800), (599, 1_099), (800, 1_300)] {
        let mut scene = Scene::new();
        start(&mut scene, 0);
        let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HELPER);
        scene.take(1, &made);
        if fires_ms < 100 {
            fires(&mut scene, fires_ms);
        }
        end(&mut scene, 100);
        if fires_ms > 100 {
            fires(&mut scene, fires_ms);
        }
        // A minute later it is old, and that is no news.
        scene.until(130_000);
        let (at_ms, finding) = scene.only();
        assert_eq!((at_ms, finding.count), (told_ms, 1), "{fires_ms}");
        assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Deadline));
        assert_eq!(finding.request.as_ref().unwrap().number, 1);
        scene.engine.finish(130_000 * MS);
        assert_eq!(scene.engine.take_emitted(), []);
    }
}

#[test]
fn a_request_that_works_on_after_its_detached_timer_may_still_call() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HELPER);
    scene.take(1, &made);
    fires(&mut scene, 800);
    scene.until(5_000);
    scene.silent();
    assert!(scene.asked.is_empty());
    // `defer cancel()`.
    let called = cancelled_again(&scene.code, SERVING, CHILD, [CANCEL_FUNC, HELPER]);
    scene.take(5_000, &called);
    end(&mut scene, 5_000);
    scene.until(130_000);
    scene.silent();
}

#[test]
fn a_detached_timers_cancel_function_may_be_called_until_grace_is_over() {
    let mut scene = detached_timer();
    fires(&mut scene, 800);
    let called = cancelled_again(&scene.code, WORKER, CHILD, [CANCEL_FUNC, HELPER]);
    scene.take(1_250, &called);
    scene.until(130_000);
    scene.silent();
    // A background worker that outlives the timer.
    let mut scene = detached_timer();
    let own = child(&scene, BUILD);
    scene.children = Some([(SERVING, vec![own])].into());
    fires(&mut scene, 800);
    scene.until(10_000);
    scene.silent();
    let called = cancelled_again(&scene.code, WORKER, CHILD, [CANCEL_FUNC, HELPER]);
    scene.take(10_000, &called);
    scene.children = Some([].into());
    scene.until(130_000);
    scene.silent();
}

#[test]
fn a_queue_whose_line_calls_has_a_minute_for_those_its_timer_freed() {
    let mut scene = Scene::new();
    for (number, called) in [(0, true), (1, false)] {
        let (at_ms, data) = (number * 1_000, CHILD + number * 0x100);
        start(&mut scene, at_ms);
        let made = derived(&scene, at_ms, (SERVING, data), &[BACKGROUND], HELPER);
        scene.take(at_ms + 1, &made);
        end(&mut scene, at_ms + 100);
        let next = if called {
            cancel(&scene.code, WORKER, data, &[CANCEL_FUNC, HELPER])
        } else {
            timer_fires(&scene, data)
        };
        scene.take(at_ms + 800, &next);
    }
    scene.until(61_000);
    scene.silent();
    scene.until(62_000);
    assert_eq!(scene.only().0, 61_001);
}

#[test]
fn one_that_was_silent_while_it_lived_is_told_when_its_timer_frees_it() {
    let mut scene = detached_timer();
    scene.until(70_000);
    scene.silent();
    fires(&mut scene, 80_000);
    scene.until(130_000);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 80_500);
    assert_eq!(finding.evidence.live, Some(0));
}
