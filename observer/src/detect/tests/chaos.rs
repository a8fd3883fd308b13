//! The engine on any events: it never panics, it is deterministic, and it accuses no request of
//! which something was lost.

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use crate::finding::{Emission, UpdateReason};
use crate::testkit::{MS, PEERS, Scene, Step, steps};

const STACK: [&str; 3] = [
    "runtime.chanrecv1",
    "example.com/shop/api.Get:43",
    "net/http.serverHandler.ServeHTTP",
];

/// A scene in which every goroutine sits in the handler or is gone.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for goid in [1, 3] {
        scene.waits(goid, &STACK);
    }
    scene.waits_on = vec![0x2000];
    for (ctx, peer) in [(0x1000, PEERS[0]), (0x3000, PEERS[1])] {
        scene.peers.insert(ctx + 2, (peer, None));
    }
    scene
}

/// Feeds all steps; where `drop` says so, a step is lost instead.
fn run(all: &[Step], drop: impl Fn(usize) -> bool) -> Scene {
    let mut scene = scene();
    let mut now_ms = 0;
    for (number, step) in all.iter().enumerate() {
        now_ms += step.gap_ms;
        let record = step.record(&scene.code, now_ms);
        if drop(number) {
            scene.until(now_ms);
            scene.engine.loss();
        } else {
            scene.take(now_ms, &record);
        }
    }
    scene.until(now_ms + 3_000);
    scene.engine.finish(now_ms + 3_000);
    scene
}

/// Who is accused, and when: a worse case may wait a second before it is shown.
fn accused(scene: &Scene) -> Vec<(u64, u64)> {
    scene
        .shown
        .iter()
        .filter_map(|(_, emission)| {
            let finding = match emission {
                // A count or a relation alone repeats what was said before.
                Emission::Update(_, UpdateReason::Count | UpdateReason::Related) => return None,
                Emission::Finding(finding) | Emission::Update(finding, _) => finding,
            };
            finding
                .request
                .as_ref()
                .map(|request| (finding.time_ns / MS, request.number))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_same_input_gives_the_same_emissions(all in steps(1..80)) {
        let (one, two) = (run(&all, |_| false), run(&all, |_| false));
        prop_assert_eq!(one.shown, two.shown);
        prop_assert_eq!(one.asked, two.asked);
    }

    #[test]
    fn after_a_loss_no_request_that_ran_is_accused(all in steps(1..80), at in 0..80usize) {
        let lost = at.min(all.len() - 1);
        // Requests known when it was lost are those numbered so far.
        let before = run(&all[..lost], |_| false);
        let known = before.engine.totals().requests;
        let lost_ms: u64 = all[..=lost].iter().map(|step| step.gap_ms).sum();
        let scene = run(&all, |number| number == lost);
        for (at_ms, number) in accused(&scene) {
            prop_assert!(number > known || at_ms <= lost_ms, "request {} at {}", number, at_ms);
        }
    }
}
