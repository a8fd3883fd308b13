//! Round trips that belong to one call: redirects, retries, streams of HTTP/2.

use observer_common::event::{ATTEMPT_AGAIN, ATTEMPT_BEGINS, ATTEMPT_OVER};

use super::super::{Call, CallEnd, CallId, Fact};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, WORKER, get};
use crate::testkit::{
    Created, MS, ModelScene, Record, attempt, call, call_done, cancel, created_short, redirected,
    stream_ended,
};

const USER: &str = "example.com/shop/api.Get:42";
const ROUND_TRIP: &str = "net/http.(*Transport).RoundTrip";
const CANCELLER: &str = "context.WithCancelCause.func1";
const VIA: &str = "net/http.(*Transport).prepareTransportCancel.func1";
const INNER: u64 = 0x4000;
const READ_LOOP: u64 = 90;
const FIRST: u64 = 0x9000;
const SECOND: u64 = 0x9100;
const CLOSED: &str = "http2: response body closed";

/// A running request with a child context.
fn serving() -> ModelScene {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let child = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithCancel", USER],
        ..Created::default()
    };
    scene.take(2, &child.record(&scene.code));
    scene
}

fn begins(scene: &ModelScene, request: u64, stack: &[&str]) -> Record {
    let chain = [(CANCEL_CTX, CHILD)];
    call(&scene.code, (SERVING, 0), request, &chain, stack)
}

/// A call that begins at `at_ms`.
fn started(scene: &mut ModelScene, at_ms: u64, request: u64) -> CallId {
    let start = begins(scene, request, &[ROUND_TRIP, USER]);
    match scene.take(at_ms, &start)[..] {
        [.., Fact::CallStarted(id)] => id,
        ref facts => panic!("{facts:?}"),
    }
}

/// The round trip that follows a redirect of `previous` to `request`.
fn follows(scene: &mut ModelScene, at_ms: u64, request: u64, previous: u64) -> Vec<Fact> {
    assert_eq!(
        scene.take(at_ms, &redirected(SERVING, request, previous)),
        []
    );
    let start = begins(scene, request, &[ROUND_TRIP, USER]);
    scene.take(at_ms, &start)
}

fn of(scene: &ModelScene, id: CallId) -> &Call {
    scene.model.call(id).unwrap()
}

fn attempts(scene: &ModelScene, id: CallId) -> u32 {
    of(scene, id).attempts().unwrap()
}

fn inner(scene: &mut ModelScene, at_ms: u64, inner: u64) {
    let made = created_short(&scene.code, SERVING, inner, (CANCEL_CTX, CHILD));
    scene.take(at_ms, &made);
}

#[test]
fn a_redirect_goes_on_with_the_call() {
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    inner(&mut scene, 3, INNER);
    let done = call_done(&scene.code, READ_LOOP, INNER);
    assert_eq!(scene.take(4, &done)[0], Fact::CallEnded(id));
    assert_eq!(
        follows(&mut scene, 5, SECOND, FIRST),
        [Fact::CallResumed(id)]
    );
    let now = of(&scene, id);
    assert_eq!((now.start_ns, now.handle), (3 * MS, SECOND));
    assert!(now.is_open() && now.inner.is_none());
    assert_eq!(attempts(&scene, id), 2);
    // A third, which the redirect of the first does not lead to.
    let late = call_done(&scene.code, READ_LOOP, INNER);
    assert!(!scene.take(6, &late).contains(&Fact::CallEnded(id)));
    inner(&mut scene, 6, INNER + 0x100);
    let done = call_done(&scene.code, READ_LOOP, INNER + 0x100);
    assert_eq!(scene.take(7, &done)[0], Fact::CallEnded(id));
    assert_eq!(of(&scene, id).ended, Some((7 * MS, CallEnd::Done)));
    let facts = follows(&mut scene, 8, 0x9200, FIRST);
    assert!(matches!(facts[..], [Fact::CallStarted(other)] if other != id));
}

#[test]
fn what_is_not_certain_is_another_call() {
    // Without a redirect, from the same line.
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    assert_ne!(started(&mut scene, 4, SECOND), id);
    // With one that something else followed.
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    scene.take(4, &redirected(SERVING, SECOND, FIRST));
    assert_ne!(started(&mut scene, 4, 0x9200), id);
    assert_ne!(started(&mut scene, 5, SECOND), id);
    // On another goroutine.
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    scene.take(4, &redirected(WORKER, SECOND, FIRST));
    let chain = [(CANCEL_CTX, CHILD)];
    let start = call(
        &scene.code,
        (WORKER, SERVING),
        SECOND,
        &chain,
        &[ROUND_TRIP, USER],
    );
    let facts = scene.take(4, &start);
    assert!(matches!(facts[..], [Fact::CallStarted(other)] if other != id));
    // Long after the end of the one before, or after its cancel.
    for (end, later_ms) in [("done", 60), ("cancelled", 1)] {
        let mut scene = serving();
        let id = started(&mut scene, 3, FIRST);
        inner(&mut scene, 3, INNER);
        if end == "done" {
            let done = call_done(&scene.code, READ_LOOP, INNER);
            scene.take(4, &done);
        } else {
            let stack = ["context.WithCancel.func1", USER];
            let killed = cancel(&scene.code, SERVING, CHILD, &stack);
            scene.take(4, &killed);
            let cascade = crate::testkit::cascade(&scene.code, SERVING, INNER);
            scene.take(4, &cascade);
        }
        let facts = follows(&mut scene, 4 + later_ms, SECOND, FIRST);
        assert!(
            matches!(facts[..], [Fact::CallStarted(other)] if other != id),
            "{end}"
        );
        assert_eq!(attempts(&scene, id), 1, "{end}");
    }
}

#[test]
fn a_round_trip_that_hands_over_is_one() {
    let x_net = "golang.org/x/net/http2.(*Transport).RoundTrip";
    for (within, outer) in [
        (x_net, "net/http.(*Transport).roundTrip"),
        (
            ROUND_TRIP,
            "golang.org/x/net/http2.(*Transport).roundTripOpt",
        ),
    ] {
        let mut scene = serving();
        let id = started(&mut scene, 3, FIRST);
        let nested = begins(&scene, SECOND, &[within, outer, ROUND_TRIP, USER]);
        assert_eq!(scene.take(3, &nested), []);
        assert_eq!(attempts(&scene, id), 1);
        // Somebody's own transport between them makes a call of its own.
        let own = begins(&scene, SECOND, &[within, USER, outer, USER]);
        assert!(matches!(
            scene.take(4, &own)[..],
            [.., Fact::CallStarted(_)]
        ));
    }
}

#[test]
fn tries_are_counted_once_the_round_trip_has_its_own_context() {
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    // Only the way to HTTP/2 was looked for.
    scene.take(3, &attempt(SERVING, FIRST, ATTEMPT_AGAIN));
    assert_eq!(attempts(&scene, id), 1);
    inner(&mut scene, 3, INNER);
    scene.take(4, &attempt(WORKER, FIRST, ATTEMPT_AGAIN));
    assert_eq!(attempts(&scene, id), 1);
    scene.take(4, &attempt(SERVING, FIRST, ATTEMPT_AGAIN));
    assert_eq!(attempts(&scene, id), 2);
}

#[test]
fn up_to_1_22_connections_tell_of_tries_and_of_the_end() {
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    scene.take(3, &attempt(SERVING, FIRST, ATTEMPT_BEGINS));
    assert_eq!(attempts(&scene, id), 1);
    // The caller gives a dead connection back, and takes another.
    assert_eq!(scene.take(4, &attempt(SERVING, FIRST, ATTEMPT_OVER)), []);
    scene.take(4, &attempt(SERVING, FIRST, ATTEMPT_BEGINS));
    assert_eq!(attempts(&scene, id), 2);
    assert_eq!(scene.take(5, &attempt(READ_LOOP, SECOND, ATTEMPT_OVER)), []);
    let over = attempt(READ_LOOP, FIRST, ATTEMPT_OVER);
    assert_eq!(scene.take(5, &over), [Fact::CallEnded(id)]);
    assert_eq!(of(&scene, id).ended, Some((5 * MS, CallEnd::Done)));
    assert_eq!(scene.take(6, &over), []);
    // After a redirect the first request's connection says nothing more.
    follows(&mut scene, 6, SECOND, FIRST);
    assert_eq!(scene.take(7, &over), []);
    assert!(of(&scene, id).is_open());
    scene.take(7, &attempt(SERVING, SECOND, ATTEMPT_BEGINS));
    assert_eq!(attempts(&scene, id), 3);
}

#[test]
fn an_answer_over_http2_is_no_end_but_its_stream_is() {
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    inner(&mut scene, 3, INNER);
    let stack = [CANCELLER, VIA, "net/http.(*Transport).roundTrip", USER];
    let answered = cancel(&scene.code, SERVING, INNER, &stack);
    assert!(!scene.take(4, &answered).contains(&Fact::CallEnded(id)));
    assert!(of(&scene, id).is_open() && of(&scene, id).inner.is_none());
    assert_eq!(scene.take(5, &stream_ended(&scene.code, WORKER, "")), []);
    let over = stream_ended(&scene.code, SERVING, "");
    assert_eq!(scene.take(6, &over), [Fact::CallEnded(id)]);
    assert_eq!(of(&scene, id).ended, Some((6 * MS, CallEnd::Done)));
}

#[test]
fn a_round_trip_that_fails_is_over() {
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    inner(&mut scene, 3, INNER);
    let stack = [
        CANCELLER,
        VIA,
        "net/http.(*Transport).roundTrip.func1",
        USER,
    ];
    let failed = cancel(&scene.code, SERVING, INNER, &stack);
    assert_eq!(scene.take(4, &failed)[0], Fact::CallEnded(id));
    assert_eq!(of(&scene, id).ended, Some((4 * MS, CallEnd::Done)));
}

#[test]
fn why_a_stream_ended_says_how_the_call_did() {
    let ends = |error: &str, dead: bool| {
        let mut scene = serving();
        let id = started(&mut scene, 3, FIRST);
        if dead {
            let stack = ["context.WithCancel.func1", USER];
            let killed = cancel(&scene.code, WORKER, CHILD, &stack);
            scene.take(4, &killed);
        }
        let over = stream_ended(&scene.code, SERVING, error);
        assert_eq!(scene.take(5, &over), [Fact::CallEnded(id)]);
        (scene, id)
    };
    let how = |(scene, id): (ModelScene, CallId)| of(&scene, id).ended.unwrap().1;
    assert_eq!(how(ends("", false)), CallEnd::Done);
    assert_eq!(how(ends("", true)), CallEnd::Done);
    assert_eq!(how(ends(CLOSED, false)), CallEnd::Done);
    assert_eq!(how(ends("context canceled", true)), CallEnd::Cancelled);
    // It may be tried again, and then is.
    let (mut scene, id) = ends("http2: client connection lost", false);
    assert_eq!(of(&scene, id).ended, Some((5 * MS, CallEnd::Unknown)));
    let over = stream_ended(&scene.code, SERVING, "");
    assert_eq!(scene.take(6, &over), [Fact::CallEnded(id)]);
    assert_eq!(of(&scene, id).ended, Some((6 * MS, CallEnd::Done)));
    assert_eq!(attempts(&scene, id), 2);
}

#[test]
fn whose_stream_it_was_has_to_be_certain() {
    // Two bodies are open.
    let mut scene = serving();
    let first = started(&mut scene, 3, FIRST);
    let second = started(&mut scene, 4, SECOND);
    let over = stream_ended(&scene.code, SERVING, "");
    assert_eq!(scene.take(5, &over), [Fact::CallEnded(second)]);
    for id in [first, second] {
        assert!(matches!(of(&scene, id).ended, Some((_, CallEnd::Unknown))));
    }
    assert_eq!(scene.take(6, &over), []);
    // The next is not in doubt.
    let third = started(&mut scene, 7, 0x9200);
    assert_eq!(scene.take(8, &over), [Fact::CallEnded(third)]);
    assert_eq!(of(&scene, third).ended, Some((8 * MS, CallEnd::Done)));
    // One reads from HTTP/1.
    let mut scene = serving();
    let first = started(&mut scene, 3, FIRST);
    inner(&mut scene, 3, INNER);
    let second = started(&mut scene, 4, SECOND);
    assert_eq!(scene.take(5, &over), [Fact::CallEnded(second)]);
    assert!(of(&scene, first).is_open());
    // The stream of an answer that redirected is not that of the next.
    let mut scene = serving();
    let id = started(&mut scene, 3, FIRST);
    follows(&mut scene, 4, SECOND, FIRST);
    assert_eq!(scene.take(5, &over), []);
    assert_eq!(scene.take(6, &over), [Fact::CallEnded(id)]);
}
