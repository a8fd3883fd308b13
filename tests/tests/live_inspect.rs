//! Memory of live Go programs, read from outside and compared with what the programs say themselves.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

#[path = "live_inspect/dump.rs"]
mod dump;
#[path = "live_inspect/objects.rs"]
mod objects;
#[path = "live_inspect/probes.rs"]
mod probes;
#[path = "live_inspect/reach.rs"]
mod reach;
#[path = "live_inspect/record.rs"]
mod record;
#[path = "live_inspect/target.rs"]
mod target;

use std::time::{Duration, Instant};

use observer::go::Frame;
use observer::inspect::{Goroutine, Inspection, StackState, Status};

use dump::{Dumped, parse, plain, shown};
use target::{Target, hex, variants};

/// Bound on goroutines read at once in these tests.
const LIMIT: usize = 10_000;

fn frames(target: &Target, goroutine: &Goroutine) -> Vec<Frame> {
    goroutine
        .stack
        .iter()
        .flat_map(|&pc| target.image.frames(pc))
        .collect()
}

fn state(goroutine: &Goroutine) -> String {
    match goroutine.status {
        Status::Waiting => goroutine.wait_reason.as_deref().unwrap().to_owned(),
        Status::Syscall => "syscall".to_owned(),
        Status::Running => "running".to_owned(),
        Status::Runnable => "runnable".to_owned(),
        other => format!("{other:?}"),
    }
}

fn assert_equal(target: &Target, goroutine: &Goroutine, dumped: &Dumped) {
    let context = format!("{:?} {dumped:?}", target.image.go_version());
    assert_eq!(state(goroutine), dumped.state, "{context}");
    assert_eq!(goroutine.stack_state, StackState::Whole, "{context}");
    let mut mine = shown(&frames(target, goroutine));
    if let Some(cut) = dumped.cut_after {
        let tail = dumped.functions.len() - cut;
        assert!(mine.len() > dumped.functions.len(), "{context}");
        mine.drain(cut..mine.len() - tail);
    }
    // Up to Go 1.20 a dump ends after 100 frames, hidden ones counted, and does not say so.
    if target.image.go_version().minor <= 20 && goroutine.stack.len() > 100 {
        assert!(dumped.functions.len() > 90, "{context}");
        mine.truncate(dumped.functions.len());
    }
    // `go f(x)` starts a closure that the compiler makes in the creating function (`creator.gowrap1`,
    // `creator.func1` before 1.22); a dump does not show it.
    let wrapper = dumped.created_by.as_ref().map(|by| format!("{by}."));
    if mine.len() == dumped.functions.len() + 1
        && wrapper.is_some_and(|by| mine.last().unwrap().starts_with(&by))
    {
        mine.pop();
    }
    assert_eq!(mine, dumped.functions, "{context}");
    let creator = target.image.frames(goroutine.gopc);
    let creator = creator.last().map(|frame| plain(&frame.function));
    assert_eq!(creator, dumped.created_by, "{context}");
}

#[test]
fn every_wait_equals_the_programs_own_dump() {
    for variant in variants() {
        let mut target = Target::start(variant);
        let dumped = parse(&target.ask("dump"));
        let inspector = target.inspector();
        let (goroutines, coverage) = target.snapshot(LIMIT).unwrap();
        assert!(!coverage.cut && coverage.every == 1);
        assert_eq!(coverage.torn, 0, "{variant:?}");
        let mut compared = 0;
        // Goroutine 1 dumps, and so is elsewhere when it is read.
        for dumped in dumped.iter().filter(|dumped| dumped.goid != 1) {
            let in_snapshot = goroutines.iter().find(|g| g.goid == dumped.goid);
            let in_snapshot = in_snapshot.unwrap_or_else(|| panic!("{variant:?} {dumped:?}"));
            assert_equal(&target, in_snapshot, dumped);
            let Inspection::Alive(found) = inspector.inspect(dumped.goid, None) else {
                panic!("{variant:?}: not found without a hint: {dumped:?}");
            };
            // Who feeds what it waits on is asked of single goroutines only.
            let in_snapshot = Goroutine {
                waits_on_timer: found.waits_on_timer,
                waits_on_others: found.waits_on_others,
                ..in_snapshot.clone()
            };
            assert_eq!(*found, in_snapshot);
            let hinted = inspector.inspect(dumped.goid, Some(found.g_addr));
            assert_eq!(hinted, Inspection::Alive(found));
            compared += 1;
        }
        assert!(compared >= 20, "{variant:?}: {compared}");
        // What the dump leaves out belongs to the runtime.
        for goroutine in &goroutines {
            if dumped.iter().all(|dumped| dumped.goid != goroutine.goid) {
                let start = target.image.function_at(goroutine.startpc).unwrap();
                assert!(start.name.starts_with("runtime."), "{}", start.name);
            }
        }
        assert_eq!(inspector.inspect(999_999, None), Inspection::Gone);
        let stale = goroutines.last().unwrap();
        assert_eq!(
            inspector.inspect(999_999, Some(stale.g_addr)),
            Inspection::Gone
        );
    }
}

#[test]
fn children_and_channels_are_the_programs_own() {
    for variant in variants() {
        let target = Target::start(variant);
        let inspector = target.inspector();
        let (goroutines, _) = target.snapshot(LIMIT).unwrap();
        for fact in target.facts_of("WAITS") {
            let (function, channels) = fact.split_first().unwrap();
            let waiting = goroutines
                .iter()
                .find(|g| {
                    let start = target.image.function_at(g.startpc);
                    start.is_some_and(|start| start.name == function)
                })
                .unwrap();
            let mut expected: Vec<_> = channels.iter().map(|text| hex(text)).collect();
            let mut seen = waiting.waiting_channels.clone();
            expected.sort_unstable();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{variant:?} {function}");
        }
        let children = inspector.find_children(&[1].into(), LIMIT).unwrap();
        if target.offsets.parent_goid.is_none() {
            assert_eq!(children, None, "{variant:?}");
            continue;
        }
        let children = &children.unwrap()[&1];
        let of_main = goroutines.iter().filter(|g| g.parent_goid == Some(1));
        assert_eq!(children.len(), of_main.count(), "{variant:?}");
        assert!(children.len() >= 20);
        let three = inspector.find_children(&[1].into(), 3).unwrap().unwrap();
        assert_eq!(three[&1].len(), 3);
    }
}

#[test]
fn stacks_of_a_busy_program_are_whole_or_said_to_be_torn() {
    for variant in variants() {
        let mut target = Target::start(variant);
        target.ask("busy");
        let (mut walked, mut torn) = (0, 0);
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let (goroutines, coverage) = target.snapshot(LIMIT).unwrap();
            torn += coverage.torn;
            for goroutine in &goroutines {
                if goroutine.stack_state != StackState::Whole {
                    continue;
                }
                // The outermost frame must be of the function the goroutine was started with, unless that
                // has returned: then the goroutine is on its way out.
                let outermost = *goroutine.stack.last().unwrap();
                let at = target.image.function_at(if outermost == goroutine.startpc {
                    outermost
                } else {
                    outermost - 1
                });
                let start = target.image.function_at(goroutine.startpc);
                let names = (at.unwrap().name, start.unwrap().name);
                if names.0 != "runtime.goexit1" {
                    assert_eq!(names.0, names.1, "{variant:?} {goroutine:?}");
                }
                walked += 1;
            }
        }
        assert!(walked > 100, "{variant:?}: {walked} walked, {torn} torn");
        assert!(
            torn * 5 < walked,
            "{variant:?}: {walked} walked, {torn} torn"
        );
    }
}

#[test]
fn a_kill_in_the_middle_ends_in_unknown() {
    let variant = variants()[0];
    for delay_us in (0..8).map(|step| step * 400) {
        let mut target = Target::start(variant);
        target.ask("busy");
        target.kill();
        let begun = Instant::now();
        let mut last = Inspection::Gone;
        while begun.elapsed() < Duration::from_micros(delay_us) + Duration::from_millis(50) {
            let inspector = target.inspector();
            let _ = target.snapshot(LIMIT);
            let _ = inspector.find_children(&[1].into(), LIMIT);
            last = inspector.inspect(1, None);
        }
        assert_eq!(last, Inspection::Unknown);
        assert!(!target.process.identity.still_same());
    }
}
