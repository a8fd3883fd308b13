//! Which waits nobody can end, against what a program says of itself.

use std::time::{Duration, Instant};

use observer::inspect::{HeapOffsets, Roots, Unreferenced, Unsearched};

use crate::target::{PLAIN, Target, UNREFERENCED, variants};

/// First Go 1.N that can tell by itself which goroutines have leaked.
const PROFILED_SINCE: u32 = 27;
/// Collections after which all that is lost must have been found once more.
const COLLECTIONS: usize = 40;
/// Looks at what is moved.
const LOOKS: usize = 30;

fn roots(target: &Target) -> Roots {
    Roots::of(&target.image, target.process.mapping.bias).unwrap()
}

fn look(target: &Target) -> Vec<Unreferenced> {
    let offsets = HeapOffsets::of(&target.layout).unwrap();
    let found = target
        .inspector()
        .unreferenced(&offsets, &roots(target), |_| true);
    found.unwrap().unwrap().lost
}

#[test]
fn what_nobody_can_get_at_is_told_from_what_is_far_away() {
    for variant in variants() {
        let mut target = Target::of(&UNREFERENCED, variant);
        let (lost, held) = (target.named("lost"), target.named("held"));
        assert!(lost.len() >= 7 && held.len() >= 13, "{lost:?} {held:?}");
        let begun = Instant::now();
        let first = look(&target);
        let took = begun.elapsed();
        let found: Vec<&str> = first
            .iter()
            .map(|one| lost.get(&one.goid).or(held.get(&one.goid)))
            .map(|name| name.map_or("?", String::as_str))
            .collect();
        eprintln!("{variant:?}: {found:?} in {took:?}");
        let goids: Vec<u64> = first.iter().map(|one| one.goid).collect();
        let expected: Vec<u64> = lost.keys().copied().collect();
        assert_eq!(goids, expected, "{variant:?}: {lost:?} {held:?}");
        // The same waits, whatever the collector does in between. A word that it has left behind on a stack may hide one
        // until it runs again.
        let all_again = (0..COLLECTIONS).any(|_| {
            target.ask("collect");
            std::thread::sleep(Duration::from_millis(50));
            let second = look(&target);
            for one in &second {
                let is_confirmed = first.iter().any(|earlier| one.is_confirmed_by(earlier));
                assert!(is_confirmed, "{variant:?} {first:?} {one:?}");
            }
            let hidden = expected
                .iter()
                .filter(|goid| second.iter().all(|one| one.goid != **goid));
            let hidden: Vec<&str> = hidden.map(|goid| lost[goid].as_str()).collect();
            if !hidden.is_empty() {
                eprintln!("{variant:?}: {hidden:?} hidden");
            }
            hidden.is_empty()
        });
        assert!(all_again, "{variant:?}: something stays hidden");
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
