//! Events of any kind in any order: nothing panics and nothing grows.

use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, proptest};

use super::bounds::{assert_bounded, small};
use crate::testkit::{ModelScene, Record, Step, steps};
use observer_common::event::CANCEL_END;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_events_in_any_order_are_taken(all in steps(1..300)) {
        let mut scene = ModelScene::with(small());
        let mut now_ms = 0;
        let mut losses = 0;
        let mut ends = 0;
        for step in &all {
            now_ms += step.gap_ms;
            if step.loss {
                losses += scene.model.loss();
            }
            let record = step.record(&scene.code, now_ms);
            ends += u64::from(matches!(&record, Record::CancelledShort(end) if end.flags & CANCEL_END != 0));
            scene.take(now_ms, &record);
        }
        assert_bounded(&scene.model);
        let totals = scene.model.totals();
        prop_assert_eq!(totals.events, all.len() as u64);
        // Some ends are of requests that were never seen.
        prop_assert!(totals.unknown >= losses && totals.unknown <= losses + ends);
        prop_assert!(losses <= totals.requests);
    }

    #[test]
    fn the_same_events_give_the_same_facts(all in steps(1..200).prop_shuffle()) {
        let run = |all: &[Step]| {
            let mut scene = ModelScene::with(small());
            let mut facts = Vec::new();
            for (number, step) in (1..).zip(all) {
                let record = step.record(&scene.code, number);
                facts.extend(scene.take(number, &record));
            }
            facts
        };
        prop_assert_eq!(run(&all), run(&all));
    }
}
