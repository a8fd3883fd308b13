//! Who cancelled, row by row of the table.

use super::super::{Cancel, CtxId, Ending, Fact};
use super::{CANCEL_CTX, CHILD, READER, ROOT, SERVER, SERVING, TIMER_CTX, get};
use crate::finding::CancelledBy;
use crate::testkit::{
    Created, MS, ModelScene, ReadError, cancel, cancelled_again, cascade, conn_error, request,
    request_end,
};

pub(super) const USER: &str = "example.com/shop/api.Get:42";
pub(super) const CANCEL_FUNC: &str = "context.WithCancel.func1";
const TIMER_FIRED: [&str; 3] = [
    "context.(*timerCtx).cancel",
    "context.WithDeadlineCause.func2",
    "time.goFunc",
];
/// The connection's own context, made by the server.
pub(super) const CONN: u64 = 0x800;

/// A running request with a child context; facts so far are dropped.
pub(super) fn running() -> (ModelScene, CtxId) {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let child = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithTimeout", USER],
        ..Created::default()
    };
    let facts = scene.take(2, &child.record(&scene.code));
    let [Fact::ContextCreated(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    (scene, id)
}

pub(super) fn root_cancel(scene: &ModelScene) -> Option<&Cancel> {
    let request = scene.model.running().next().unwrap();
    let root = scene.model.context(request.root).unwrap();
    root.cancelled.as_ref()
}

fn cancel_of(scene: &ModelScene, id: CtxId) -> &Cancel {
    let ctx = scene.model.context(id).unwrap();
    ctx.cancelled.as_ref().unwrap()
}

/// The background read meets `error` and cancels the connection's context, which takes the
/// request's with it.
fn read_error(error: ReadError, function: &str) -> CancelledBy {
    let (mut scene, child) = running();
    scene.take(3, &conn_error(&scene.code, READER, error));
    let stack = [
        CANCEL_FUNC,
        function,
        "net/http.(*connReader).backgroundRead",
    ];
    assert_eq!(
        scene.take(4, &cancel(&scene.code, READER, CONN, &stack)),
        []
    );
    let facts = scene.take(4, &cascade(&scene.code, READER, ROOT));
    let request = scene.model.running().next().unwrap().id;
    assert_eq!(facts, [Fact::RequestCancelled(request)]);
    let facts = scene.take(4, &cascade(&scene.code, READER, CHILD));
    assert_eq!(facts, [Fact::ContextCancelled(child)]);
    let by = root_cancel(&scene).unwrap().by;
    let of_child = cancel_of(&scene, child);
    assert_eq!((of_child.by, of_child.origin), (CancelledBy::Parent, by));
    assert_eq!(of_child.at_ns, 4 * MS);
    by
}

#[test]
fn the_background_reads_error_tells_who() {
    let new = "net/http.(*connReader).handleReadErrorLocked";
    let old = "net/http.(*connReader).handleReadError";
    let rows = [
        (ReadError::Text("EOF"), CancelledBy::Client),
        (ReadError::Errno(104), CancelledBy::Client),
        (ReadError::Errno(32), CancelledBy::Client),
        (ReadError::Errno(110), CancelledBy::Unknown),
        (ReadError::Text("EOFs"), CancelledBy::Unknown),
        (ReadError::Text("tls: bad record"), CancelledBy::Unknown),
        (
            ReadError::Op("internal/poll.DeadlineExceededError"),
            CancelledBy::ReadDeadline,
        ),
        (
            ReadError::Bare("internal/poll.DeadlineExceededError"),
            CancelledBy::ReadDeadline,
        ),
        (
            ReadError::Op("internal/poll.errNetClosing"),
            CancelledBy::ServerClose,
        ),
        (ReadError::Bare("main.myError"), CancelledBy::Unknown),
        (ReadError::Op("main.myError"), CancelledBy::Unknown),
    ];
    for (error, by) in rows {
        for function in [new, old] {
            assert_eq!(read_error(error, function), by, "{error:?}");
        }
    }
}

#[test]
fn the_error_of_another_connection_says_nothing() {
    let (mut scene, _) = running();
    scene.take(
        3,
        &conn_error(&scene.code, READER + 1, ReadError::Text("EOF")),
    );
    let stack = [CANCEL_FUNC, "net/http.(*connReader).handleReadErrorLocked"];
    scene.take(4, &cancel(&scene.code, READER, CONN, &stack));
    scene.take(4, &cascade(&scene.code, READER, ROOT));
    assert_eq!(root_cancel(&scene).unwrap().by, CancelledBy::Unknown);
}

#[test]
fn a_reset_stream_is_the_client() {
    for function in [
        "net/http.(*http2serverConn).processResetStream",
        "golang.org/x/net/http2.(*serverConn).processResetStream",
        "google.golang.org/grpc/internal/transport.(*http2Server).handleRSTStream",
    ] {
        let (mut scene, _) = running();
        let facts = scene.take(4, &cancel(&scene.code, 40, ROOT, &[CANCEL_FUNC, function]));
        let request = scene.model.running().next().unwrap().id;
        assert_eq!(facts, [Fact::RequestCancelled(request)], "{function}");
        assert_eq!(
            root_cancel(&scene).unwrap().by,
            CancelledBy::Client,
            "{function}"
        );
    }
}

#[test]
fn a_cancel_from_above_the_connection_is_a_shutdown() {
    let by_code: &[&str] = &[CANCEL_FUNC, "main.main:77"];
    for stack in [by_code, &TIMER_FIRED] {
        let (mut scene, _) = running();
        scene.take(4, &cancel(&scene.code, 50, 0x100, stack));
        scene.take(4, &cascade(&scene.code, 50, CONN));
        scene.take(4, &cascade(&scene.code, 50, ROOT));
        assert_eq!(root_cancel(&scene).unwrap().by, CancelledBy::Shutdown);
    }
}

#[test]
fn a_cancel_from_below_is_never_a_shutdown() {
    let (mut scene, _) = running();
    // The goroutine cancelled something of the request just before the connection went.
    scene.take(3, &cancel(&scene.code, 50, CHILD, &[CANCEL_FUNC, USER]));
    scene.take(4, &cascade(&scene.code, 50, ROOT));
    assert_eq!(root_cancel(&scene).unwrap().by, CancelledBy::Unknown);
}

#[test]
fn a_cancel_func_that_races_with_the_timer_was_called() {
    for (called_ms, counts) in [(300, true), (340, true), (400, false)] {
        let (mut scene, child) = running();
        scene.take(300, &cancel(&scene.code, 61, CHILD, &TIMER_FIRED));
        let stack = [
            "context.(*timerCtx).cancel",
            "context.WithDeadlineCause.func3",
            USER,
        ];
        // It had seen no error yet either.
        let facts = scene.take(called_ms, &cancel(&scene.code, SERVING, CHILD, &stack));
        let expected = counts.then_some(Fact::CancelCalled(child));
        assert_eq!(facts, Vec::from_iter(expected), "{called_ms}");
        assert_eq!(cancel_of(&scene, child).by, CancelledBy::Deadline);
    }
}

#[test]
fn a_timer_is_the_deadline_and_not_the_cancel_func() {
    for fired in [
        "context.WithDeadlineCause.func2",
        "context.WithDeadline.func2",
    ] {
        let (mut scene, child) = running();
        let stack = [TIMER_FIRED[0], fired, TIMER_FIRED[2]];
        let facts = scene.take(4, &cancel(&scene.code, 60, CHILD, &stack));
        assert_eq!(facts, [Fact::ContextCancelled(child)]);
        assert_eq!(cancel_of(&scene, child).by, CancelledBy::Deadline);
        assert_eq!(scene.model.context(child).unwrap().cancel_called_ns, None);
        // `defer cancel()` comes later, and only it is the CancelFunc.
        let parent = [
            "context.(*cancelCtx).propagateCancel.func2",
            "runtime.goexit",
        ];
        let nothing = cancelled_again(&scene.code, 61, CHILD, parent);
        assert_eq!(scene.take(5, &nothing), []);
        let func = [
            "context.(*timerCtx).cancel",
            "context.WithDeadlineCause.func3",
        ];
        let again = cancelled_again(&scene.code, SERVING, CHILD, func);
        assert_eq!(scene.take(6, &again), [Fact::CancelCalled(child)]);
        assert_eq!(scene.take(7, &again), []);
        let ctx = scene.model.context(child).unwrap();
        assert_eq!(ctx.cancel_called_ns, Some(6 * MS));
    }
}

#[test]
fn a_deadline_that_had_passed_at_creation() {
    let (mut scene, child) = running();
    let stack = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause",
        USER,
    ];
    scene.take(3, &cancel(&scene.code, SERVING, CHILD, &stack));
    assert_eq!(cancel_of(&scene, child).by, CancelledBy::Deadline);
}

#[test]
fn code_is_whoever_is_first_outside_package_context() {
    let (mut scene, child) = running();
    let facts = scene.take(
        3,
        &cancel(&scene.code, SERVING, CHILD, &[CANCEL_FUNC, USER]),
    );
    assert_eq!(
        facts,
        [Fact::ContextCancelled(child), Fact::CancelCalled(child)]
    );
    let found = cancel_of(&scene, child);
    assert_eq!(
        (found.by, found.origin),
        (CancelledBy::Code, CancelledBy::Code)
    );
    assert_eq!((found.at_ns, found.goid), (3 * MS, SERVING));
    assert_eq!(found.pcs[1], scene.code.pc(USER));
    assert_eq!(
        scene.model.context(child).unwrap().cancel_called_ns,
        Some(3 * MS)
    );
}

#[test]
fn frames_that_say_nothing_are_unknown() {
    for stack in [&[][..], &["context.(*timerCtx).cancel"]] {
        let (mut scene, child) = running();
        scene.take(3, &cancel(&scene.code, SERVING, CHILD, stack));
        assert_eq!(cancel_of(&scene, child).by, CancelledBy::Unknown);
    }
}

#[test]
fn a_child_of_a_dead_parent_dies_of_what_killed_the_parent() {
    let (mut scene, _) = running();
    scene.take(3, &request_end(&scene.code, ROOT));
    let late = Created {
        goid: 70,
        parent_goid: SERVING,
        child: (TIMER_CTX, 0x3000),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithTimeout", USER],
        ..Created::default()
    };
    let facts = scene.take(4, &late.record(&scene.code));
    let [Fact::ContextCreated(late)] = facts[..] else {
        panic!("{facts:?}");
    };
    let stack = [
        "context.(*timerCtx).cancel",
        "context.(*cancelCtx).propagateCancel",
        "context.WithDeadlineCause",
        USER,
    ];
    scene.take(4, &cancel(&scene.code, 70, 0x3000, &stack));
    let found = cancel_of(&scene, late);
    assert_eq!(found.by, CancelledBy::Parent);
    assert_eq!(found.origin, CancelledBy::NormalEnd);
}

#[test]
fn a_child_behind_an_opaque_parent_dies_by_its_parent() {
    let (mut scene, child) = running();
    let stack = [
        "context.(*cancelCtx).propagateCancel.func2",
        "runtime.goexit",
    ];
    scene.take(3, &cancel(&scene.code, 71, CHILD, &stack));
    assert_eq!(cancel_of(&scene, child).by, CancelledBy::Parent);
}

#[test]
fn a_normal_end_is_no_cancel_and_takes_the_children_along() {
    let (mut scene, child) = running();
    let request = scene.model.running().next().unwrap();
    let (number, root) = (request.id, request.root);
    let facts = scene.take(3, &request_end(&scene.code, ROOT));
    assert_eq!(facts, [Fact::RequestEnded(number)]);
    assert_eq!(cancel_of(&scene, root).by, CancelledBy::NormalEnd);
    scene.take(3, &cascade(&scene.code, SERVING, CHILD));
    let found = cancel_of(&scene, child);
    assert_eq!(
        (found.by, found.origin),
        (CancelledBy::Parent, CancelledBy::NormalEnd)
    );
}

#[test]
fn a_request_cancelled_before_keeps_who_did_it_when_it_ends() {
    let (mut scene, _) = running();
    let closed = [
        CANCEL_FUNC,
        "net/http.(*http2serverConn).processResetStream",
    ];
    scene.take(3, &cancel(&scene.code, 40, ROOT, &closed));
    let request = scene.model.running().next().unwrap();
    let (number, root) = (request.id, request.root);
    assert_eq!(
        scene.take(4, &request_end(&scene.code, ROOT)),
        [Fact::RequestEnded(number)]
    );
    assert_eq!(cancel_of(&scene, root).by, CancelledBy::Client);
    assert_eq!(
        scene.model.request(number).unwrap().ended,
        Some((4 * MS, Ending::Normal))
    );
}

#[test]
fn a_panic_is_a_normal_end_although_the_connection_goes_first() {
    // The deferred cancel of the connection's context runs before the server's recover: as a
    // cancel that `serve` makes, or from the panic itself.
    let from_panic = [CANCEL_FUNC, "runtime.gopanic", USER, SERVER[0], SERVER[1]];
    for stack in [None, Some(&from_panic)] {
        let (mut scene, child) = running();
        let number = scene.model.running().next().unwrap().id;
        match stack {
            Some(stack) => scene.take(3, &cancel(&scene.code, SERVING, CONN, stack)),
            None => scene.take(3, &request_end(&scene.code, CONN)),
        };
        let facts = scene.take(3, &cascade(&scene.code, SERVING, ROOT));
        assert_eq!(facts, [], "{stack:?}");
        assert_eq!(root_cancel(&scene).unwrap().by, CancelledBy::NormalEnd);
        scene.take(3, &cascade(&scene.code, SERVING, CHILD));
        let of_child = cancel_of(&scene, child);
        assert_eq!(
            (of_child.by, of_child.origin),
            (CancelledBy::Parent, CancelledBy::NormalEnd),
            "{stack:?}"
        );
        assert_eq!(
            scene.take(4, &request_end(&scene.code, ROOT)),
            [Fact::RequestEnded(number)]
        );
    }
}

#[test]
fn a_handler_that_shuts_the_server_down_cancels_itself() {
    let (mut scene, _) = running();
    scene.take(
        3,
        &cancel(&scene.code, SERVING, 0x100, &[CANCEL_FUNC, USER]),
    );
    scene.take(3, &cascade(&scene.code, SERVING, CONN));
    scene.take(3, &cascade(&scene.code, SERVING, ROOT));
    assert_eq!(root_cancel(&scene).unwrap().by, CancelledBy::Shutdown);
}

#[test]
fn the_end_of_a_connection_forgets_its_context_only() {
    let mut scene = ModelScene::new();
    let conn = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CONN),
        chain: &[("context.valueCtx", 8), ("context.backgroundCtx", 16)],
        stack: &["context.WithCancel", "net/http.(*conn).serve"],
        ..Created::default()
    };
    scene.take(1, &conn.record(&scene.code));
    scene.take(2, &get(&scene.code));
    scene.take(3, &request_end(&scene.code, ROOT));
    assert_eq!(scene.model.size(), 3);
    assert_eq!(scene.take(4, &request_end(&scene.code, CONN)), []);
    assert_eq!(scene.model.size(), 2);
}

#[test]
fn cancels_of_what_is_not_known_say_nothing() {
    let mut scene = ModelScene::new();
    for record in [
        cancel(&scene.code, 1, 0x777, &[CANCEL_FUNC, USER]),
        cascade(&scene.code, 1, 0x777),
        cancelled_again(&scene.code, 1, 0x777, [CANCEL_FUNC, USER]),
        request_end(&scene.code, 0x777),
    ] {
        assert_eq!(scene.take(1, &record), []);
    }
    assert_eq!(scene.model.size(), 0);
}

#[test]
fn an_address_used_again_has_a_life_of_its_own() {
    let (mut scene, old) = running();
    scene.take(
        3,
        &cancel(&scene.code, SERVING, CHILD, &[CANCEL_FUNC, USER]),
    );
    let next = request(&scene.code, 80, 0x6000, "GET /");
    scene.take(4, &next);
    let again = Created {
        goid: 80,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, 0x6000)],
        ..Created::default()
    };
    let facts = scene.take(5, &again.record(&scene.code));
    let [Fact::ContextCreated(young)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert!(scene.model.context(young).unwrap().cancelled.is_none());
    let facts = scene.take(6, &cancel(&scene.code, 80, CHILD, &[CANCEL_FUNC, USER]));
    assert_eq!(facts[0], Fact::ContextCancelled(young));
    assert_eq!(cancel_of(&scene, old).at_ns, 3 * MS);
}
