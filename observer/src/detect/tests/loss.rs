//! Where something was lost, nobody is accused.

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CANCEL_FUNC, CHILD, HANDLER, READER, ROOT, SERVE, SERVING,
    WORKER, calls, client_leaves, derived, end, start,
};
use crate::testkit::{MS, Scene, cancel, request};

const STACK: [&str; 3] = ["runtime.chanrecv1", BUILD, SERVE];

fn serving() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &STACK);
    start(&mut scene, 0);
    scene
}

#[test]
fn a_request_that_missed_something_is_never_guilty() {
    // Before the cancel, within grace, or while it is being looked at.
    for lost_at_ms in [5, 300] {
        let mut scene = serving();
        for at_ms in [5, 300] {
            if at_ms == lost_at_ms {
                scene.until(at_ms);
                assert_eq!(scene.engine.loss(), 1);
            }
            if at_ms == 5 {
                client_leaves(&mut scene, 10);
            }
        }
        end(&mut scene, 3_000);
        scene.until(5_000);
        scene.silent();
        assert_eq!(scene.engine.totals().unknown, 1);
    }
}

#[test]
fn a_case_that_has_to_make_room_is_counted() {
    // One more than a rule remembers.
    const REQUESTS: u64 = 16_385;
    let mut scene = Scene::new();
    for number in 0..REQUESTS {
        let (goid, root) = (1_000 + number, 0x10_0000 + number * 0x100);
        let began = request(&scene.code, goid, root, "GET /report/7");
        scene.take(1, &began);
        let stack = [CANCEL_FUNC, "net/http.(*connReader).backgroundRead"];
        let cancelled = cancel(&scene.code, READER, root, &stack);
        scene.take(1, &cancelled);
    }
    assert_eq!(scene.engine.cases() as u64, REQUESTS - 1);
    // The rule's, and that of the health figures.
    assert_eq!(scene.engine.totals().evicted, 2);
}

#[test]
fn nor_is_it_for_what_began_after_the_loss() {
    let mut scene = serving();
    scene.engine.loss();
    let call = calls(&scene, SERVING, &[BACKGROUND], BUILD);
    scene.take(10, &call);
    let made = derived(&scene, 11, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(11, &made);
    end(&mut scene, 100);
    scene.until(2_000);
    scene.silent();
    let late = calls(&scene, WORKER, &[(CANCEL_CTX, ROOT)], BUILD);
    scene.take(2_001, &late);
    scene.silent();
}

#[test]
fn an_answer_that_comes_after_a_loss_accuses_nobody() {
    // The questions are asked, then something is lost, then they are answered.
    let mut scene = serving();
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(1, &made);
    end(&mut scene, 100);
    scene.engine.tick(600 * MS, &scene.code);
    let asks = scene.engine.take_asks();
    assert_eq!(asks.len(), 1);
    scene.engine.loss();
    let nobody = crate::detect::Answer::Children(Some(Vec::new()));
    scene
        .engine
        .answer(asks[0].id, &nobody, 601 * MS, &scene.code);
    assert!(scene.engine.take_emitted().is_empty());

    let mut scene = serving();
    let call = calls(&scene, SERVING, &[BACKGROUND], BUILD);
    scene.engine.event(call.event(), MS, &scene.code);
    // What the call carries is asked first.
    let asks = scene.engine.take_asks();
    assert_eq!(asks.len(), 2);
    scene.engine.loss();
    let details = crate::detect::Answer::Request {
        request: None,
        conn: None,
    };
    scene
        .engine
        .answer(asks[1].id, &details, 2 * MS, &scene.code);
    assert!(scene.engine.take_emitted().is_empty());
}

#[test]
fn a_request_whose_start_was_lost_does_not_inherit_an_address() {
    let mut scene = serving();
    end(&mut scene, 100);
    // The next request's context lies at the same address; its start is lost.
    scene.engine.loss();
    let call = calls(&scene, SERVING, &[(CANCEL_CTX, ROOT)], BUILD);
    scene.take(200, &call);
    scene.until(1_000);
    scene.silent();
}

#[test]
fn what_was_shown_before_a_loss_is_not_kept_for_ever() {
    let mut scene = serving();
    client_leaves(&mut scene, 10);
    scene.until(600);
    assert_eq!(scene.shown.len(), 1);
    assert!(scene.engine.cases() > 0);
    // Its end may be what was lost, so nothing waits for that.
    scene.engine.loss();
    assert_eq!(scene.engine.cases(), 0);
    end(&mut scene, 700);
    assert_eq!(scene.shown.len(), 1);

    let mut scene = serving();
    client_leaves(&mut scene, 10);
    scene.until(600);
    scene.engine.process_ended(crate::testkit::PID);
    assert_eq!(scene.engine.cases(), 0);
}
