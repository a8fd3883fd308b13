//! When a call is told of, and what is known of its end by then.

use super::{CHILD, READER, ROOT, ROUND_TRIP, SERVING, TIMER_CTX, derived, end, start};
use crate::correlate::Told;
use crate::finding::CallOutcome;
use crate::testkit::{Scene, call, cancel, redirected, stream_ended};

const FIRST: u64 = 0x9000;
const SECOND: u64 = 0x9100;
const PLACE: &str = "example.com/shop/api.GetReport:31";

/// The round trip before has ended as long ago as an end needs to settle, just as the handler returns: that one's timer
/// says nothing of the next.
#[test]
fn the_end_of_the_last_round_trip_is_waited_for_though_an_earlier_one_has_settled() {
    let mut scene = Scene::new();
    scene.engine.tell_all();
    start(&mut scene, 5);
    let timed = derived(
        &scene,
        6,
        (SERVING, CHILD),
        &[("context.cancelCtx", ROOT)],
        PLACE,
    );
    scene.take(6, &timed);
    let stack = [ROUND_TRIP, PLACE];
    let begins = |scene: &Scene, request| {
        call(
            &scene.code,
            (SERVING, 0),
            request,
            &[(TIMER_CTX, CHILD)],
            &stack,
        )
    };
    let first = begins(&scene, FIRST);
    scene.take(10, &first);
    let over = stream_ended(&scene.code, SERVING, "");
    scene.take(15, &over);
    scene.take(16, &redirected(SERVING, SECOND, FIRST));
    let second = begins(&scene, SECOND);
    scene.take(16, &second);
    let fires = cancel(
        &scene.code,
        READER,
        CHILD,
        &["context.WithDeadlineCause.func2"],
    );
    scene.take(113, &fires);
    end(&mut scene, 114);
    scene.until(116);
    let over = stream_ended(&scene.code, SERVING, "context deadline exceeded");
    scene.take(117, &over);
    scene.until(400);
    let told = scene.engine.take_told();
    let calls: Vec<_> = told
        .iter()
        .filter_map(|one| match one {
            Told::Call(fact) => Some((fact.call.attempts, fact.call.outcome)),
            Told::Request(_) => None,
        })
        .collect();
    assert_eq!(calls, [(Some(2), CallOutcome::Cancelled)], "{told:?}");
}
