//! Who started whom, against a program that keeps the ancestors of its goroutines.

use std::collections::BTreeMap;

use serde_json::Value;

use super::command::observe_json;
use super::dump::{Ancestor, parse};
use super::each;
use super::target::{Target, WAITS};

const KEEPS_ANCESTORS: [(&str, &str); 1] = [("GODEBUG", "tracebackancestors=10")];
/// From Go 1.21 on a goroutine says who started it.
const SAYS_ITS_PARENT: u32 = 21;
const GENERATIONS: usize = 7;

/// Who started a goroutine, and where: file and line.
type Origin = (Option<u64>, Option<String>);

#[test]
fn whoever_started_them_did_by_the_programs_own_word() {
    each::variant(|variant| {
        let mut target = Target::with(&WAITS, variant, &KEEPS_ANCESTORS);
        target.ask("crowd 20");
        target.ask(&format!("family {GENERATIONS}"));
        let dumped = parse(&target.ask("dump"));
        // Each stack has at most 10 goroutines told one by one: the crowd stands at more places than that.
        let lines = observe_json(&target, &["--group-by", "stack"]);
        let seen = origins(&lines[1..]);
        assert!(seen.len() >= dumped.len(), "{variant:?}");
        let says_parents = target.image.go_version().minor >= SAYS_ITS_PARENT;
        let (mut deepest, mut ended) = (0, 0);
        for dumped in &dumped {
            let context = format!("{variant:?} {dumped:?}");
            let (parent, line) = &seen[&dumped.goid];
            assert_eq!(
                line.as_deref().unwrap_or_default(),
                dumped.created_line(),
                "{context}"
            );
            let first = dumped.ancestors.first().map(|ancestor| ancestor.goid);
            if dumped.parent.is_some() {
                assert_eq!(dumped.parent, first, "{context}");
            }
            assert_eq!(*parent, first.filter(|_| says_parents), "{context}");
            // Whoever lives still says of itself what was known of it then.
            let older = dumped
                .ancestors
                .iter()
                .skip(1)
                .map(|ancestor| ancestor.goid);
            for (ancestor, older) in dumped.ancestors.iter().zip(older.map(Some).chain([None])) {
                let Some((parent, line)) = seen.get(&ancestor.goid) else {
                    ended += 1;
                    continue;
                };
                assert_eq!(*line, created(ancestor), "{context}");
                assert_eq!(*parent, older.filter(|_| says_parents), "{context}");
            }
            deepest = deepest.max(dumped.ancestors.len());
        }
        // Every other generation is gone, and the first goroutine is an ancestor of all.
        assert_eq!(deepest, GENERATIONS, "{variant:?}");
        assert!(ended >= GENERATIONS / 2, "{variant:?}: {ended}");
    });
}

fn origins(groups: &[Value]) -> BTreeMap<u64, Origin> {
    let stacks = groups
        .iter()
        .flat_map(|group| group["stacks"].as_array().unwrap());
    stacks
        .flat_map(|stack| {
            let known = stack["goroutines"].as_array().unwrap();
            assert_eq!(stack["count"], known.len(), "{stack}");
            let go = &stack["go"];
            let file = go["file"].as_str();
            let line = file.map(|file| format!("{file}:{}", go["line"]));
            let goid = |one: &Value, key: &str| one[key].as_u64();
            let of_each = move |one: &Value| {
                (
                    goid(one, "goid").unwrap(),
                    (goid(one, "parent"), line.clone()),
                )
            };
            known.iter().map(of_each).collect::<Vec<_>>()
        })
        .collect()
}

fn created(ancestor: &Ancestor) -> Option<String> {
    let place = ancestor.created.as_ref();
    place.map(|(_, file, line)| format!("{file}:{line}"))
}
