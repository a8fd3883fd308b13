//! Which waits nobody can end, against what a program says of itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use observer::inspect::{HeapOffsets, Roots, Unreferenced, Unsearched};

use crate::target::{PLAIN, Target, UNREFERENCED, variants};

/// First Go 1.N that can tell by itself which goroutines have leaked.
const PROFILED_SINCE: u32 = 27;
/// Looks, each after a collection, of which one must find all that is lost.
const COLLECTIONS: usize = 100;
/// Looks in a row of which one must come to an end, though spans of the heap come and go meanwhile.
const UNCLEAR: usize = 10;
/// Looks at what is moved.
const LOOKS: usize = 30;

fn roots(target: &Target) -> Roots {
    Roots::of(&target.image, target.process.mapping.bias).unwrap()
}

fn look(target: &Target) -> Vec<Unreferenced> {
    let offsets = HeapOffsets::of(&target.layout).unwrap();
    for _ in 0..UNCLEAR {
        let found = target
            .inspector()
            .unreferenced(&offsets, &roots(target), |_| true);
        match found.unwrap() {
            Ok(found) => return found.lost,
            Err(why) => assert_eq!(why, Unsearched::Unclear),
        }
    }
    panic!("the memory is never still");
}

/// Looks again until one look finds all that is lost, and nothing else ever: what it has found, and how long it took. What a
/// goroutine that runs has left in registers may hide one for a moment.
fn look_until_all(
    target: &mut Target,
    lost: &BTreeMap<u64, String>,
) -> (Vec<Unreferenced>, Duration) {
    let mut hidden = Vec::new();
    for _ in 0..COLLECTIONS {
        let begun = Instant::now();
        let found = look(target);
        let took = begun.elapsed();
        let is_lost = |one: &Unreferenced| lost.contains_key(&one.goid);
        assert!(found.iter().all(is_lost), "{lost:?} {found:?}");
        let is_found = |goid: &u64| found.iter().any(|one| one.goid == *goid);
        let left = lost.iter().filter(|(goid, _)| !is_found(goid));
        hidden = left.map(|(_, name)| name).collect();
        if hidden.is_empty() {
            return (found, took);
        }
        target.ask("collect");
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{hidden:?} stay hidden");
}

#[test]
fn what_nobody_can_get_at_is_told_from_what_is_far_away() {
    for variant in variants() {
        let mut target = Target::of(&UNREFERENCED, variant);
        let (lost, held) = (target.named("lost"), target.named("held"));
        assert!(lost.len() >= 7 && held.len() >= 13, "{lost:?} {held:?}");
        let expected: Vec<u64> = lost.keys().copied().collect();
        let (first, took) = look_until_all(&mut target, &lost);
        eprintln!("{variant:?}: {lost:?} in {took:?}");
        // The same waits, whatever the collector does in between.
        target.ask("collect");
        for one in &look_until_all(&mut target, &lost).0 {
            let is_confirmed = first.iter().any(|earlier| one.is_confirmed_by(earlier));
            assert!(is_confirmed, "{variant:?} {first:?} {one:?}");
        }
        if target.image.go_version().minor >= PROFILED_SINCE {
            assert_eq!(leaked(&target.ask("leaks")), expected, "{variant:?}");
        }
    }
}

/// One look may miss what is moved meanwhile; two apart do not agree on it.
#[test]
fn what_is_handed_on_all_the_time_is_never_missed_twice() {
    for variant in variants().into_iter().filter(|it| it.flags == PLAIN) {
        for how in ["churn", "swap"] {
            let mut target = Target::of(&UNREFERENCED, variant);
            assert_eq!(target.ask(how).len(), 64);
            let lost = target.named("lost");
            let (mut missed, mut confirmed) = (0, [0, 0]);
            let mut before: Vec<Unreferenced> = Vec::new();
            for _ in 0..LOOKS {
                let found = look(&target);
                for one in &found {
                    let is_lost = lost.contains_key(&one.goid);
                    missed += usize::from(!is_lost);
                    let again = before.iter().any(|it| one.is_confirmed_by(it));
                    confirmed[usize::from(is_lost)] += usize::from(again);
                }
                before = found;
                std::thread::sleep(Duration::from_millis(20));
            }
            let [wrong, right] = confirmed;
            eprintln!(
                "{variant:?} {how}: one look missed {missed}, two {wrong}; {right} confirmed"
            );
            assert_eq!(wrong, 0, "{variant:?} {how}");
            assert!(right > lost.len() * LOOKS / 2, "{variant:?} {how}: {right}");
        }
    }
}

/// Beyond so much memory nobody looks; up to there, whatever hangs on one long chain is found.
#[test]
fn large_heaps_are_left_alone() {
    let variant = variants().pop().unwrap();
    let mut target = Target::of(&UNREFERENCED, variant);
    let offsets = HeapOffsets::of(&target.layout).unwrap();
    let mut looked = 0;
    loop {
        let begun = Instant::now();
        let found = target
            .inspector()
            .unreferenced(&offsets, &roots(&target), |_| true);
        let took = begun.elapsed();
        let found = match found.unwrap() {
            Ok(found) => found,
            Err(why) => {
                assert_eq!(why, Unsearched::TooMuch);
                break;
            }
        };
        assert_eq!(found.beyond, 0);
        assert_eq!(found.lost.len(), target.named("lost").len());
        eprintln!("{variant:?}: some {} MiB in {took:?}", looked * 20);
        looked += 1;
        target.ask("grow");
    }
    assert!((3..=4).contains(&looked), "{looked} looks");
}

/// The goroutines that a dump calls leaked, rising: `goroutine 7 [chan send (leaked)]:`.
fn leaked(dump: &[String]) -> Vec<u64> {
    let headers = dump
        .iter()
        .filter_map(|line| line.strip_prefix("goroutine "));
    let leaked = headers.filter(|header| header.contains("(leaked)"));
    let mut leaked: Vec<u64> = leaked
        .map(|header| header.split(' ').next().unwrap().parse().unwrap())
        .collect();
    leaked.sort_unstable();
    leaked
}
