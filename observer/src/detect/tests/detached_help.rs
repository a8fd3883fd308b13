//! What detached-context advises: nothing that the code does already.

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, TIMER_CTX,
    calls, client_leaves, start,
};
use crate::finding::Emission;
use crate::testkit::{Created, MS, Scene, deadline};

const WITHOUT: (&str, u64) = ("context.withoutCancelCtx", 0x7000);

/// A call of the handler on this chain, below a `WithTimeout` of its own if it is bounded.
fn called(bounded: bool, parent: &[(&str, u64)]) -> Scene {
    let mut scene = Scene::new();
    let round_trip = "net/http.(*persistConn).roundTrip";
    scene.waits(SERVING, &[round_trip, ROUND_TRIP, BUILD, SERVE]);
    start(&mut scene, 0);
    let mut chain = parent.to_vec();
    if bounded {
        let made = Created {
            goid: SERVING,
            child: (TIMER_CTX, CHILD),
            chain: parent,
            stack: &["context.WithTimeout", HANDLER, SERVE],
            deadline: deadline(MS, 1_000_000_000, true),
            ..Created::default()
        };
        let made = made.record(&scene.code);
        scene.take(1, &made);
        chain.insert(0, (TIMER_CTX, CHILD));
    }
    let call = calls(&scene, SERVING, &chain, BUILD);
    scene.take(5, &call);
    scene
}

fn advice(scene: &Scene) -> String {
    let (_, Emission::Finding(last) | Emission::Update(last, _)) = scene.shown.last().unwrap();
    format!("{:?}: {}", last.severity, last.help)
}

#[test]
fn who_has_a_deadline_is_not_told_to_have_one() {
    let cut = [WITHOUT, (CANCEL_CTX, ROOT)];
    let bare = called(false, &cut);
    let bounded = called(true, &cut);
    let background = called(true, &[BACKGROUND]);
    let mut outlives = called(true, &cut);
    client_leaves(&mut outlives, 10);
    outlives.until(600);
    let all = [bare, bounded, background, outlives].map(|scene| advice(&scene));
    insta::assert_snapshot!(all.join("\n"), @r"
    Info: hand the request's context on, or give the detached work a deadline and let it go at code.go:132
    Info: leave it so if the work is meant to outlive the request, else derive from the request's context at code.go:31
    Warning: derive from the request's context at code.go:31
    Error: hand the request's context on, or do not wait for the detached work at code.go:31
    ");
}
