//! Deadlines on the way from a `time.Time` to what rules compare.

use crate::model::CtxId;
use crate::testkit::{Created, MS, ModelScene, asked, call, deadline, request};

const ROOT: u64 = 0x1000;
const CHILD: u64 = 0x2000;
const GRANDCHILD: u64 = 0x3000;
const CANCEL: &str = "context.cancelCtx";
const TIMER: &str = "context.timerCtx";
const SECOND: i64 = 1_000_000_000;

fn started() -> ModelScene {
    let mut scene = ModelScene::new();
    let record = request(&scene.code, 10, ROOT, "GET /");
    scene.take(0, &record);
    scene
}

/// What a `WithTimeout` makes of this time under `chain`.
fn made(
    scene: &mut ModelScene,
    at_ms: u64,
    child: (&str, u64),
    chain: &[(&str, u64)],
    until: [u64; 2],
) {
    let wish = asked(&scene.code, 10, chain[0], until);
    scene.take(at_ms, &wish);
    let stack = [
        "context.WithDeadlineCause",
        "context.WithTimeout",
        "main.get:7",
    ];
    let record = Created {
        goid: 10,
        child,
        chain,
        stack: &stack,
        deadline: until,
        ..Created::default()
    };
    let record = record.record(&scene.code);
    scene.take(at_ms, &record);
}

fn times(scene: &ModelScene, id: u64) -> (Option<i64>, Option<i64>) {
    let ctx = scene.model.context(CtxId(id)).unwrap();
    (ctx.deadline_ns, ctx.asked_ns)
}

#[test]
fn wished_and_in_force() {
    let mut scene = started();
    let second = deadline(5 * MS, SECOND, true);
    made(&mut scene, 5, (TIMER, CHILD), &[(CANCEL, ROOT)], second);
    let more = deadline(6 * MS, 30 * SECOND, true);
    made(&mut scene, 6, (CANCEL, GRANDCHILD), &[(TIMER, CHILD)], more);
    assert_eq!(times(&scene, 2), (Some(SECOND), Some(SECOND)));
    assert_eq!(times(&scene, 3), (None, Some(30 * SECOND)));
    let bound = scene.model.bound_of(Some(CtxId(3))).unwrap();
    assert_eq!(bound.id, CtxId(2));
    assert_eq!(bound.deadline_at_ns(), Some(5 * MS + 1_000_000_000));
}

#[test]
fn a_step_of_the_wall_clock_moves_no_deadline() {
    let mut scene = started();
    let second = deadline(5 * MS, SECOND, true);
    made(&mut scene, 5, (TIMER, CHILD), &[(CANCEL, ROOT)], second);
    // An hour forward, before observer has noticed.
    let [wall, ext] = deadline(6 * MS, SECOND, true);
    let stepped = [wall + (3600 << 30), ext];
    made(
        &mut scene,
        6,
        (TIMER, GRANDCHILD),
        &[(CANCEL, ROOT)],
        stepped,
    );
    assert_eq!(times(&scene, 3), (Some(SECOND), Some(SECOND)));
}

#[test]
fn a_deadline_by_the_wall_follows_the_wall() {
    let mut scene = started();
    let [wall, ext] = deadline(5 * MS, SECOND, false);
    scene
        .model
        .set_clock(crate::testkit::REAL_MINUS_MONOTONIC_NS + 3600 * SECOND);
    let by_wall = [wall, ext + 3600];
    made(&mut scene, 5, (TIMER, CHILD), &[(CANCEL, ROOT)], by_wall);
    assert_eq!(times(&scene, 2), (Some(SECOND), Some(SECOND)));
}

#[test]
fn a_wish_is_forgotten_with_a_loss() {
    let mut scene = started();
    let wish = asked(
        &scene.code,
        10,
        (CANCEL, ROOT),
        deadline(5 * MS, SECOND, true),
    );
    scene.take(5, &wish);
    scene.model.loss();
    let record = Created {
        goid: 10,
        child: (CANCEL, CHILD),
        chain: &[(CANCEL, ROOT)],
        stack: &["context.WithCancel", "main.get:7"],
        ..Created::default()
    };
    let record = record.record(&scene.code);
    scene.take(6, &record);
    assert_eq!(times(&scene, 2), (None, None));
}

#[test]
fn no_deadline_comes_down_through_a_cut() {
    let mut scene = started();
    let second = deadline(5 * MS, SECOND, true);
    made(&mut scene, 5, (TIMER, CHILD), &[(CANCEL, ROOT)], second);
    let without = ("context.withoutCancelCtx", 0x7000);
    let record = Created {
        goid: 10,
        child: (CANCEL, GRANDCHILD),
        chain: &[without, (TIMER, CHILD)],
        stack: &["context.WithCancel", "main.get:7"],
        ..Created::default()
    };
    let record = record.record(&scene.code);
    scene.take(6, &record);
    assert!(scene.model.bound_of(Some(CtxId(3))).is_none());
    let chain = [without, (TIMER, CHILD)];
    let record = call(&scene.code, (10, 0), 0x9000, &chain, &["main.get:7"]);
    scene.take(7, &record);
    let call = scene.model.last_call_of(crate::testkit::PID, 10).unwrap();
    assert_eq!(call.ctx, Some(CtxId(2)));
    assert_eq!(scene.model.context_of_call(call), None);
}
