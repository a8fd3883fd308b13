//! Events of any kind in any order: nothing panics and nothing grows.

use proptest::prelude::{ProptestConfig, Strategy, prop_assert, prop_assert_eq, proptest};

use super::bounds::{assert_bounded, small};
use crate::testkit::{ModelScene, Step, steps};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_events_in_any_order_are_taken(all in steps(1..300)) {
        let mut scene = ModelScene::with(small());
        let mut now_ms = 0;
        let mut losses = 0;
        for step in &all {
            now_ms += step.gap_ms;
            if step.loss {
                losses += scene.model.loss();
            }
            let record = step.record(&scene.code, now_ms);
            scene.take(now_ms, &record);
        }
        assert_bounded(&scene.model);
        let totals = scene.model.totals();
        prop_assert_eq!(totals.events, all.len() as u64);
        prop_assert!(totals.unknown == losses);
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
