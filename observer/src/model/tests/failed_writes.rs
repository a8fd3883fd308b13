//! Answers that cannot be written: whose they are, and what is remembered of the time that there was for them.

use super::super::Fact;
use super::cancels::{CANCEL_FUNC, CONN, USER, root_cancel, running};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, TIMER_CTX, get};
use crate::finding::CancelledBy;
use crate::testkit::{Created, MS, ModelScene, cancel, cascade, deadline, request_end};

#[test]
fn a_failed_write_is_left_to_memory() {
    let (mut scene, _) = running();
    let stack = [CANCEL_FUNC, "net/http.checkConnErrorWriter.Write", USER];
    scene.take(4, &cancel(&scene.code, SERVING, CONN, &stack));
    scene.take(4, &cascade(&scene.code, SERVING, ROOT));
    let found = root_cancel(&scene).unwrap();
    assert_eq!((found.by, found.by_write), (CancelledBy::Unknown, true));
    let request = scene.model.running().next().unwrap().id;
    scene
        .model
        .correct_cancel(request, CancelledBy::WriteDeadline);
    assert_eq!(root_cancel(&scene).unwrap().by, CancelledBy::WriteDeadline);
}

/// net/http writes what the handler has left, and cannot.
fn flush_fails(scene: &mut ModelScene, at_ms: u64) -> Vec<Fact> {
    let stack = [
        CANCEL_FUNC,
        "net/http.checkConnErrorWriter.Write",
        "bufio.(*Writer).Flush",
        "net/http.(*response).finishRequest",
    ];
    let record = cancel(&scene.code, SERVING, CONN, &stack);
    scene.take(at_ms, &record)
}

#[test]
fn a_write_that_fails_when_the_handler_has_returned_is_that_requests() {
    let (mut scene, _) = running();
    let request = scene.model.running().next().unwrap().id;
    // Its handler's own write cancels it.
    assert!(!flush_fails(&mut scene, 4).contains(&Fact::AnswerFailed(request)));
    let (mut scene, _) = running();
    let end = request_end(&scene.code, ROOT);
    scene.take(4, &end);
    assert!(flush_fails(&mut scene, 4).contains(&Fact::AnswerFailed(request)));
    // The goroutine serves the next.
    scene.take(5, &get(&scene.code));
    assert!(!flush_fails(&mut scene, 6).contains(&Fact::AnswerFailed(request)));
}

/// Whether a handler's context of this length is still known once the handler has freed it, and returned at `at_ms`.
fn is_kept(left_ms: i64, at_ms: u64) -> bool {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithTimeout", USER],
        deadline: deadline(2 * MS, left_ms * 1_000_000, true),
        ..Created::default()
    };
    let facts = scene.take(2, &made.record(&scene.code));
    let [Fact::ContextCreated(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    let freed = cancel(&scene.code, SERVING, CHILD, &[CANCEL_FUNC, USER]);
    scene.take(at_ms, &freed);
    scene.take(at_ms, &request_end(&scene.code, ROOT));
    flush_fails(&mut scene, at_ms);
    scene.model.context(id).is_some()
}

#[test]
fn what_a_request_had_time_for_is_known_where_its_answer_may_be_late() {
    assert!(is_kept(2_000, 200));
    assert!(!is_kept(2_000, 50), "in time");
    assert!(!is_kept(150, 200), "no time left");
}
