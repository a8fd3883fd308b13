//! Nothing grows without a bound.

use super::super::{Fact, Limits, Model};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, WORKER, get};
use crate::testkit::{
    Created, ModelScene, PID, call, cancel, cascade, created_short, request, request_end,
};

const SMALL: Limits = Limits {
    requests: 8,
    contexts: 16,
    calls: 4,
    spawned: 4,
    goroutines: 8,
    ended_settled: 2,
    ended_open: 3,
    ended_last: 3,
    strays: 3,
    per_request: 6,
    connections: 4,
    connections_over: 4,
};

/// Everything that the model keeps, beyond its tables.
pub(super) fn kept(model: &Model) -> Vec<(&'static str, usize)> {
    let mut all = vec![("tables", model.size()), ("strays", model.strays.len())];
    for (_, process) in model.processes.iter() {
        all.extend(process.sizes());
    }
    all.push(("peers", model.by_peer.len()));
    for request in model.requests.values() {
        all.push(("contexts of a request", request.contexts.len()));
        all.push(("calls of a request", request.calls.len()));
        all.push(("beats", request.beats_ns.len()));
    }
    all
}

/// No map is larger than twice the largest limit.
pub(super) fn assert_bounded(model: &Model) {
    let most = 2 * (SMALL.requests + SMALL.contexts + SMALL.calls);
    for (what, len) in kept(model) {
        assert!(len <= most, "{what}: {len}");
    }
}

pub(super) const fn small() -> Limits {
    SMALL
}

#[test]
fn ended_requests_are_forgotten_with_what_was_made_for_them() {
    let mut scene = ModelScene::with(SMALL);
    for number in 0..10u64 {
        let at = number * 10;
        scene.take(at, &get(&scene.code));
        let made = Created {
            goid: SERVING,
            child: (CANCEL_CTX, 0x2000 + number * 8),
            chain: &[(CANCEL_CTX, ROOT)],
            ..Created::default()
        };
        scene.take(at + 1, &made.record(&scene.code));
        scene.take(
            at + 2,
            &call(&scene.code, (SERVING, 0), 1, &[(CANCEL_CTX, ROOT)], &[]),
        );
        scene.take(at + 3, &request_end(&scene.code, ROOT));
    }
    // Three of each: request, root, context, call.
    assert_eq!(scene.model.size(), 12);
    assert_eq!(scene.model.totals().evicted, 0);
    assert_eq!(scene.model.totals().requests, 10);
}

#[test]
fn settled_requests_are_forgotten_sooner() {
    let mut scene = ModelScene::with(SMALL);
    for number in 0..10u64 {
        let at = number * 10;
        let child = 0x2000 + number * 8;
        scene.take(at, &get(&scene.code));
        let made = Created {
            goid: SERVING,
            child: (CANCEL_CTX, child),
            chain: &[(CANCEL_CTX, ROOT)],
            ..Created::default()
        };
        scene.take(at + 1, &made.record(&scene.code));
        scene.take(
            at + 2,
            &cancel(
                &scene.code,
                SERVING,
                child,
                &["context.WithCancel.func1", "example.com/shop/api.Get:42"],
            ),
        );
        scene.take(at + 3, &request_end(&scene.code, ROOT));
    }
    // Two of each: request, root. The context went after its request's end, but for the last one's.
    assert_eq!(scene.model.size(), 5);
}

#[test]
fn requests_whose_end_is_never_seen_make_room_and_leave_nothing() {
    let mut scene = ModelScene::with(SMALL);
    for number in 0..1000u64 {
        let start = request(&scene.code, number, 0x10_0000 + number * 0x100, "GET /");
        scene.take(number, &start);
    }
    assert!(scene.model.totals().evicted >= 992);
    assert_bounded(&scene.model);
}

#[test]
fn contexts_that_live_forever_make_room() {
    let mut scene = ModelScene::with(SMALL);
    for number in 0..1000u64 {
        let made = Created {
            goid: number,
            parent_goid: number.saturating_sub(1),
            child: (CANCEL_CTX, 0x10_0000 + number * 0x100),
            chain: &[("context.backgroundCtx", 8)],
            ..Created::default()
        };
        scene.take(number, &made.record(&scene.code));
    }
    assert_eq!(scene.model.size(), SMALL.contexts);
    assert_eq!(scene.model.totals().evicted, 1000 - 16);
    assert_bounded(&scene.model);
}

#[test]
fn what_ends_for_nobody_takes_no_place_of_the_living() {
    let mut scene = ModelScene::with(SMALL);
    scene.take(0, &get(&scene.code));
    let waits = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        ..Created::default()
    };
    let Fact::ContextCreated(waits) = scene.take(1, &waits.record(&scene.code))[0] else {
        panic!("no context");
    };
    // A poller: each time a context of its own, and a call on it.
    for number in 0..1000u64 {
        let at = 10 + number * 10;
        let child = 0x10_0000 + number * 0x100;
        let (goid, inner) = (WORKER, child + 0x80);
        let made = Created {
            goid,
            child: (CANCEL_CTX, child),
            chain: &[("context.backgroundCtx", 8)],
            ..Created::default()
        };
        scene.take(at, &made.record(&scene.code));
        let on = [(CANCEL_CTX, child)];
        scene.take(at + 1, &call(&scene.code, (goid, 0), number, &on, &[]));
        scene.take(
            at + 2,
            &created_short(&scene.code, goid, inner, (CANCEL_CTX, child)),
        );
        let stack = ["context.WithCancel.func1", "example.com/shop/poll.Once:42"];
        scene.take(at + 3, &cancel(&scene.code, goid, child, &stack));
        scene.take(at + 4, &cascade(&scene.code, goid, inner));
    }
    // The request, its own context and the one that waits; three contexts and calls of the poller's.
    assert_eq!(scene.model.size(), 3 + 3 + 3);
    assert_eq!(scene.model.totals().evicted, 0);
    assert!(scene.model.context(waits).is_some());
    assert_bounded(&scene.model);
}

#[test]
fn a_request_that_never_ends_does_not_grow() {
    let mut scene = ModelScene::with(SMALL);
    scene.take(1, &get(&scene.code));
    for number in 0..1000u64 {
        let made = Created {
            goid: SERVING,
            child: (CANCEL_CTX, 0x10_0000 + number * 0x100),
            chain: &[(CANCEL_CTX, ROOT)],
            ..Created::default()
        };
        scene.take(number, &made.record(&scene.code));
        let start = call(
            &scene.code,
            (SERVING, 0),
            number,
            &[(CANCEL_CTX, ROOT)],
            &[],
        );
        scene.take(number, &start);
    }
    assert_bounded(&scene.model);
}

#[test]
fn goroutines_are_remembered_for_a_while() {
    let mut scene = ModelScene::with(SMALL);
    scene.take(1, &get(&scene.code));
    for number in 0..1000u64 {
        let start = call(
            &scene.code,
            (100 + number, SERVING),
            number,
            &[("", 0)],
            &[],
        );
        scene.take(2, &start);
    }
    assert_bounded(&scene.model);
    let last = scene.model.last_call_of(PID, 1099).unwrap();
    assert!(last.owner.is_some());
    assert!(scene.model.last_call_of(PID, 100).is_none());
}
