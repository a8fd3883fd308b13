//! cancel-not-called: a worker's loop, whose function never returns.

use super::{BACKGROUND, CANCEL_FUNC, WORKER, derived, site, timer_fires};
use crate::finding::{CancelledBy, Emission};
use crate::testkit::{MS, Scene, cancelled_again};

const HELPER: &str = "example.com/shop/store.(*Client).Item:12";

/// A worker's loop makes a context with a timer at each of these times, and each timer fires 200 ms later.
fn turns(scene: &mut Scene, times_ms: &[u64]) {
    for at_ms in times_ms {
        let data = 0x8000 + at_ms * 0x10;
        let made = derived(scene, *at_ms, (WORKER, data), &[BACKGROUND], HELPER);
        scene.take(*at_ms, &made);
        let fires = timer_fires(scene, data);
        scene.take(at_ms + 200, &fires);
    }
}

#[test]
fn a_loop_that_drops_them_is_told_while_it_runs() {
    let mut scene = Scene::new();
    scene.waits(WORKER, &["runtime.chanrecv1", HELPER, "main.main"]);
    turns(&mut scene, &[0, 1_000]);
    scene.until(10_000);
    scene.silent();
    turns(&mut scene, &[10_000]);
    scene.until(12_500);
    let finding = scene.findings()[0];
    assert_eq!(scene.findings().len(), 1);
    assert_eq!(site(finding), ("example.com/shop/store.(*Client).Item", 12));
    assert_eq!(
        finding.message,
        "cancel function of WithTimeout not called in the loop that makes it; only its timer freed it"
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Deadline));
    // The newest may still be called.
    scene.engine.finish(12_500 * MS);
    scene.until(12_501);
    let (Emission::Finding(last) | Emission::Update(last, _)) = &scene.shown.last().unwrap().1;
    assert_eq!(last.count, 2);
}

#[test]
fn a_loop_whose_line_calls_or_that_runs_elsewhere_may_still_call() {
    // Called once.
    let mut scene = Scene::new();
    scene.waits(WORKER, &["runtime.chanrecv1", HELPER, "main.main"]);
    turns(&mut scene, &[0, 1_000, 2_000, 3_000]);
    let called = cancelled_again(&scene.code, WORKER, 0x8000, [CANCEL_FUNC, HELPER]);
    scene.take(3_201, &called);
    scene.until(30_000);
    scene.silent();
    // One for each goroutine: each waits with its `defer cancel()` for something else.
    let mut scene = Scene::new();
    for goid in 500..506 {
        let data = 0x8000 + goid * 0x100;
        scene.waits(goid, &["runtime.chanrecv1", HELPER, "main.main"]);
        let made = derived(&scene, goid, (goid, data), &[BACKGROUND], HELPER);
        scene.take(goid, &made);
        let fires = timer_fires(&scene, data);
        scene.take(1_000, &fires);
    }
    scene.until(50_000);
    scene.silent();
    // Alive they may be somebody's.
    let mut scene = Scene::new();
    scene.waits(WORKER, &["runtime.chanrecv1", HELPER, "main.main"]);
    for number in 0..5 {
        let data = 0x8000 + number * 0x100;
        let made = derived(&scene, number, (WORKER, data), &[BACKGROUND], HELPER);
        scene.take(number, &made);
    }
    scene.until(130_000);
    scene.silent();
}
