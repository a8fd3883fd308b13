//! The health figures, on hand-made events with known numbers of requests.

use super::{
    CANCEL_FUNC, CHILD, HANDLER, ROOT, SERVE, SERVING, client_leaves, derived, end, start,
    timer_fires,
};
use crate::model::Health;
use crate::testkit::{MS, PID, Scene, cancel, cascade};

const STACK: [&str; 3] = ["runtime.chanrecv1", HANDLER, SERVE];

/// One request from `at_ms` on whose client leaves after 100 ms, and whose handler returns
/// `after_ms` later. Each needs 10 s.
fn left(scene: &mut Scene, at_ms: u64, after_ms: u64) {
    start(scene, at_ms);
    client_leaves(scene, at_ms + 100);
    scene.until(at_ms + 100 + after_ms);
    end(scene, at_ms + 100 + after_ms);
    scene.until(at_ms + 9_000);
}

fn waiting() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &STACK);
    scene
}

fn figures(health: &Health) -> (u64, u64, u64, u64) {
    (
        health.requests,
        health.lost,
        health.cancelled,
        health.recovered,
    )
}

#[test]
fn five_of_twenty_cancelled_requests_ignore_it() {
    let mut scene = waiting();
    for number in 0..20 {
        let after_ms = if number % 4 == 0 { 2_000 } else { 3 };
        left(&mut scene, number * 10_000, after_ms);
    }
    let health = scene.engine.health();
    assert_eq!(figures(&health), (20, 5, 20, 20));
    assert_eq!(health.loss_ratio(), Some(0.25));
    assert_eq!(health.latency.count(), 20);
    assert_eq!(health.latency.max_ns(), 2_000 * MS);
    assert!((3 * MS..=4 * MS).contains(&health.latency.quantile_ns(50)));
    // Only what went on beyond grace is waste, and then all of it.
    assert_eq!(health.wasted.most_first(), [("/report/{}", 10_000 * MS, 5)]);
    assert_eq!(health.wasted.other_ns, 0);
}

#[test]
fn work_that_goes_on_is_lost_at_grace_and_recovered_at_its_end() {
    let mut scene = waiting();
    start(&mut scene, 0);
    client_leaves(&mut scene, 100);
    scene.until(599);
    assert_eq!(figures(&scene.engine.health()), (0, 0, 0, 0));
    scene.until(1_100);
    let health = scene.engine.health();
    assert_eq!(figures(&health), (1, 1, 1, 0));
    assert_eq!(health.latency.count(), 0);
    assert_eq!(health.wasted.total_ns(), 1_000 * MS);
    end(&mut scene, 2_100);
    let health = scene.engine.health();
    assert_eq!(figures(&health), (1, 1, 1, 1));
    assert_eq!(health.wasted.total_ns(), 2_000 * MS);
    assert_eq!(health.latency.max_ns(), 2_000 * MS);
}

#[test]
fn a_request_without_cancel_and_deadline_is_in_no_figure() {
    let mut scene = waiting();
    start(&mut scene, 0);
    end(&mut scene, 5_000);
    assert_eq!(scene.engine.health(), Health::default());
    assert_eq!(scene.engine.health().loss_ratio(), None);
}

#[test]
fn a_deadline_that_nothing_lost_is_kept() {
    let mut scene = waiting();
    start(&mut scene, 0);
    let made = derived(
        &scene,
        10,
        (SERVING, CHILD),
        &[("context.cancelCtx", ROOT)],
        HANDLER,
    );
    scene.take(10, &made);
    end(&mut scene, 200);
    assert_eq!(figures(&scene.engine.health()), (1, 0, 0, 0));
    assert_eq!(scene.engine.health().loss_ratio(), Some(0.0));
}

#[test]
fn what_lost_events_hide_is_in_no_figure() {
    let mut scene = waiting();
    // One is known before, one is cancelled, one works on unfound, and one comes after.
    left(&mut scene, 0, 2_000);
    let before = scene.engine.health();
    start(&mut scene, 10_000);
    client_leaves(&mut scene, 10_100);
    scene.engine.loss();
    end(&mut scene, 10_103);
    scene.until(19_000);
    start(&mut scene, 20_000);
    client_leaves(&mut scene, 20_100);
    scene.engine.loss();
    scene.until(25_000);
    end(&mut scene, 25_000);
    assert_eq!(scene.engine.health(), before);
    left(&mut scene, 30_000, 3);
    assert_eq!(figures(&scene.engine.health()), (2, 1, 2, 2));
}

#[test]
fn what_a_process_takes_with_it_is_not_recovered() {
    let mut scene = waiting();
    start(&mut scene, 0);
    client_leaves(&mut scene, 100);
    scene.until(1_000);
    scene.engine.process_ended(PID);
    let health = scene.engine.health();
    assert_eq!(figures(&health), (1, 1, 1, 0));
    assert_eq!(health.wasted.total_ns(), 0);
}

#[test]
fn a_server_that_shuts_down_cancels_no_chain() {
    let mut scene = waiting();
    start(&mut scene, 0);
    // From above the connection: BaseContext.
    let stack = [CANCEL_FUNC, "main.main"];
    let records = [
        cancel(&scene.code, 1, 0x400, &stack),
        cascade(&scene.code, 1, ROOT),
    ];
    for record in &records {
        scene.take(100, record);
    }
    scene.until(5_000);
    end(&mut scene, 5_000);
    assert_eq!(figures(&scene.engine.health()), (0, 0, 0, 0));
}

#[test]
fn a_request_is_counted_once_whatever_it_lost() {
    let mut scene = waiting();
    start(&mut scene, 0);
    let made = derived(
        &scene,
        10,
        (SERVING, CHILD),
        &[("context.cancelCtx", ROOT)],
        HANDLER,
    );
    scene.take(10, &made);
    let fired = timer_fires(&scene, CHILD);
    scene.take(1_010, &fired);
    scene.until(1_700);
    client_leaves(&mut scene, 1_800);
    scene.until(4_000);
    end(&mut scene, 4_000);
    let (requests, lost, cancelled, recovered) = figures(&scene.engine.health());
    assert_eq!((requests, lost), (1, 1));
    assert_eq!((cancelled, recovered), (1, 1));
}
