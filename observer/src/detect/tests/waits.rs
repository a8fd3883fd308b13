//! For how long a goroutine has waited is never said to be longer than it is.

use std::sync::Arc;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, proptest};

use crate::detect::waits::Waits;
use crate::inspect::{Goroutine, StackState, Status};

const PID: u32 = 7;

fn goroutine(goid: u64, reason: Option<&str>, noted_ns: u64) -> Goroutine {
    Goroutine {
        goid,
        g_addr: 0,
        status: if reason.is_some() {
            Status::Waiting
        } else {
            Status::Running
        },
        wait_reason: reason.map(Arc::from),
        wait_since_ns: (noted_ns != 0).then_some(noted_ns),
        stack: Vec::new(),
        stack_state: StackState::None,
        outer: Vec::new(),
        gopc: 0,
        startpc: 0,
        parent_goid: None,
        waiting_channels: vec![0x77],
        waits_on_timer: false,
        waits_on_others: false,
        stops: 0,
        sleeps: None,
        stack_bytes: 0,
    }
}

/// Takes in a look, and gives the bound that it leaves.
fn look(
    waits: &mut Waits,
    (goid, now_ns): (u64, u64),
    reason: Option<&str>,
    noted_ns: u64,
) -> Option<u64> {
    let seen = goroutine(goid, reason, noted_ns);
    waits.looked(PID, &seen, now_ns);
    waits.at_least_ns(PID, &seen, now_ns)
}

#[test]
fn one_look_proves_nothing() {
    let mut waits = Waits::default();
    assert_eq!(look(&mut waits, (1, 1_000), Some("select"), 400), None);
    assert_eq!(look(&mut waits, (2, 1_000), Some("select"), 0), None);
}

#[test]
fn a_note_that_stays_is_that_of_one_wait() {
    let mut waits = Waits::default();
    look(&mut waits, (1, 1_000), Some("select"), 400);
    let bound = look(&mut waits, (1, 1_500), Some("select"), 400);
    assert_eq!(bound, Some(500));
    let woken = look(&mut waits, (1, 2_000), Some("select"), 1_600);
    assert_eq!(woken, None, "another note is another wait's");
    // Nothing is noted twice, so it may have been woken in between.
    look(&mut waits, (2, 1_000), Some("select"), 0);
    assert_eq!(look(&mut waits, (2, 1_500), Some("select"), 0), None);
    assert_eq!(look(&mut waits, (2, 1_600), Some("select"), 1_550), None);
}

#[test]
fn a_later_collection_proves_it_at_once() {
    let mut waits = Waits::default();
    look(&mut waits, (2, 900), Some("chan receive"), 700);
    look(&mut waits, (3, 900), None, 800);
    let bound = look(&mut waits, (1, 1_000), Some("select"), 400);
    assert_eq!(bound, Some(300), "since 700, when it was found already");
    waits.forget(PID);
    assert_eq!(look(&mut waits, (1, 1_000), Some("select"), 400), None);
}

#[test]
fn what_nothing_ends_is_one_wait() {
    let mut waits = Waits::default();
    let reason = Some("select (no cases)");
    assert_eq!(look(&mut waits, (1, 1_000), reason, 0), None);
    assert_eq!(look(&mut waits, (1, 1_500), reason, 0), Some(500));
    assert_eq!(look(&mut waits, (1, 2_000), reason, 1_600), Some(1_000));
}

#[test]
fn who_runs_or_hands_over_bears_an_old_note() {
    let mut waits = Waits::default();
    for at_ns in [1_000, 1_500] {
        assert_eq!(look(&mut waits, (1, at_ns), Some("coroutine"), 400), None);
        assert_eq!(look(&mut waits, (2, at_ns), None, 400), None);
    }
}

/// A goroutine as the runtime has it.
#[derive(Debug, Clone, Copy, Default)]
struct Real {
    waits_since_ns: Option<u64>,
    noted_ns: u64,
    is_scanned: bool,
}

/// Go's runtime, as far as it notes waits (`markroot`, `gcMark`, `execute`).
#[derive(Debug, Default)]
struct Runtime {
    goroutines: [Real; 3],
    collects: bool,
    last_end_ns: u64,
}

impl Runtime {
    fn scan(&mut self, index: usize) {
        let one = &mut self.goroutines[index];
        if self.collects && !one.is_scanned {
            one.is_scanned = true;
            if one.waits_since_ns.is_some() && one.noted_ns == 0 {
                one.noted_ns = self.last_end_ns;
            }
        }
    }

    fn begin_or_end_collection(&mut self, now_ns: u64) {
        if self.collects {
            for index in 0..self.goroutines.len() {
                self.scan(index);
            }
            self.last_end_ns = now_ns;
        }
        self.collects = !self.collects;
        for one in &mut self.goroutines {
            one.is_scanned = false;
        }
    }

    fn wait_or_wake(&mut self, index: usize, now_ns: u64) {
        let one = &mut self.goroutines[index];
        one.noted_ns = 0;
        one.waits_since_ns = match one.waits_since_ns {
            None => Some(now_ns),
            Some(_) => None,
        };
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Collection,
    Scan(usize),
    Turn(usize),
    Look(usize),
}

fn step() -> impl Strategy<Value = Step> {
    (any::<u8>(), 0..3usize).prop_map(|(kind, index)| match kind % 7 {
        0 | 1 => Step::Collection,
        2 => Step::Scan(index),
        3 => Step::Turn(index),
        _ => Step::Look(index),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_bound_is_longer_than_the_wait(steps in proptest::collection::vec((1..1_000u64, step()), 1..80)) {
        let (mut runtime, mut waits) = (Runtime::default(), Waits::default());
        let mut now_ns = 0;
        for (after_ns, step) in steps {
            now_ns += after_ns;
            match step {
                Step::Collection => runtime.begin_or_end_collection(now_ns),
                Step::Scan(index) => runtime.scan(index),
                Step::Turn(index) => runtime.wait_or_wake(index, now_ns),
                Step::Look(index) => {
                    let real = runtime.goroutines[index];
                    let reason = real.waits_since_ns.map(|_| "chan receive");
                    let bound = look(&mut waits, (index as u64, now_ns), reason, real.noted_ns);
                    let waited_ns = real.waits_since_ns.map(|since_ns| now_ns - since_ns);
                    prop_assert!(bound <= waited_ns, "{bound:?} of {waited_ns:?}");
                }
            }
        }
    }
}
