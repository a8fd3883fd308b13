//! goroutine-leak where nothing but a goroutine's age speaks against it.

use super::goroutine_leak::{GO, NIL, count, first, left, waits};
use super::{SERVING, end, start};
use crate::finding::{Confidence, Severity};
use crate::testkit::{MS, Scene, Seen, goroutine, goroutine_end, request, request_end};

#[test]
fn by_age_it_takes_three_of_a_line() {
    let mut scene = left(2, "chan receive");
    scene.until(120_000);
    scene.silent();
    let mut scene = left(3, "chan receive");
    scene.until(62_000);
    scene.silent();
    scene.until(80_000);
    let (at_ms, finding) = first(&scene);
    assert!((62_600..68_000).contains(&at_ms), "{at_ms}");
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::Medium)
    );
    assert_eq!(finding.evidence.live, Some(3));
    assert_eq!(finding.request.as_ref().unwrap().number, 1);
    assert_eq!(count(&mut scene, 100_000), 3, "each is told once");
}

/// One was proved to be a leak; of the others of its line age says enough.
#[test]
fn beside_a_proved_one_age_needs_no_three() {
    let mut scene = left(2, "chan receive");
    waits(&mut scene, 100, NIL);
    assert_eq!(count(&mut scene, 80_000), 2);
}

#[test]
fn three_of_one_request_are_not_of_three() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    for goid in 100..103 {
        let started = goroutine(&scene.code, goid, SERVING, &[GO]);
        scene.take(10, &started);
        waits(&mut scene, goid, "chan receive");
    }
    end(&mut scene, 100);
    scene.until(120_000);
    scene.silent();
}

/// At the age that makes a leak none could have ended so late yet.
#[test]
fn a_first_burst_of_long_jobs_is_silent() {
    let mut scene = left(10, "chan receive");
    for goid in 100..110 {
        scene.take(40_000 + (goid - 100) * 1_000, &goroutine_end(goid));
    }
    scene.until(200_000);
    scene.silent();
}

/// Workers and sessions wait so in health: it is said, and no alarm. For locks and receivers they wait for moments.
#[test]
fn where_others_can_get_at_what_a_worker_waits_on_it_is_an_info() {
    for (reason, severity) in [
        ("chan receive", Severity::Info),
        ("select", Severity::Info),
        ("sync.Cond.Wait", Severity::Info),
        ("sync.WaitGroup.Wait", Severity::Info),
        ("chan send", Severity::Warning),
        ("sync.Mutex.Lock", Severity::Warning),
        ("sync.RWMutex.RLock", Severity::Warning),
        ("semacquire", Severity::Warning),
        ("sleep", Severity::Warning),
    ] {
        let mut scene = left(3, reason);
        scene.unreferenced = Some(Vec::new());
        scene.until(80_000);
        let (at_ms, finding) = first(&scene);
        assert!((62_600..68_000).contains(&at_ms), "{reason}: {at_ms}");
        assert_eq!(finding.severity, severity, "{reason}");
        let reached = finding.evidence.waiting_on.as_deref();
        let is_info = severity == Severity::Info;
        assert_eq!(
            reached.is_some_and(|what| what.ends_with(" that others can get at")),
            is_info,
            "{reason}: {reached:?}"
        );
        assert_eq!(finding.confidence == Confidence::Low, is_info, "{reason}");
    }
}

#[test]
fn a_system_call_is_a_wait_while_its_thread_does_not_wake() {
    let mut scene = left(3, "chan receive");
    let stack = scene
        .code
        .pcs(&["syscall.read", "example.com/shop/report.load:7"]);
    let in_call = |scene: &mut Scene, sleeps| {
        for goid in 100..103 {
            let seen = Seen::InCall(stack.clone(), sleeps);
            scene.goroutines.insert(goid, seen);
        }
    };
    // It comes back, and makes the next call at the same place; or its thread works in it.
    for round in 0..30 {
        in_call(&mut scene, Some(round));
        scene.until(10_000 + 10_000 * round);
    }
    in_call(&mut scene, None);
    scene.until(400_000);
    scene.silent();
    in_call(&mut scene, Some(30));
    scene.until(500_000);
    let (at_ms, finding) = first(&scene);
    assert!((460_000..475_000).contains(&at_ms), "{at_ms}");
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.evidence.wait_reason.as_deref(), Some("syscall"));
    assert!(finding.evidence.wait_ns >= Some(60_000 * MS));
}

#[test]
fn a_line_of_which_one_has_ended_late_is_silent_by_age() {
    let mut scene = left(1, "chan receive");
    scene.take(30_200, &goroutine_end(100));
    for number in 1..5 {
        let (at_ms, goid) = (31_000 + number * 100, 200 + number);
        let begun = request(&scene.code, goid + 100, 0x8000 + goid * 16, "GET /report/7");
        scene.take(at_ms, &begun);
        let started = goroutine(&scene.code, goid, goid + 100, &[GO]);
        scene.take(at_ms + 10, &started);
        waits(&mut scene, goid, "chan receive");
        let ended = request_end(&scene.code, 0x8000 + goid * 16);
        scene.take(at_ms + 20, &ended);
    }
    scene.until(120_000);
    scene.silent();
    // What is proved is told all the same.
    waits(&mut scene, 201, NIL);
    scene.until(130_000);
    assert_eq!(first(&scene).1.severity, Severity::Error);
}

#[test]
fn loops_of_sleeps_and_of_timers_are_told_by_age() {
    let mut sleeps = left(3, "sleep");
    sleeps.until(59_000);
    sleeps.silent();
    sleeps.until(75_000);
    assert_eq!(first(&sleeps).1.severity, Severity::Warning);

    let mut timers = left(3, "select");
    for at_s in 3..15 {
        for goid in 100..103 {
            timers.channels.insert(goid, vec![0x77, 0x1000 + at_s * 8]);
        }
        timers.until(at_s * 4_000);
    }
    timers.silent();
    timers.until(80_000);
    assert_eq!(first(&timers).1.severity, Severity::Warning);
}

/// What may wake a goroutine that waits at one place.
#[derive(Clone, Copy, PartialEq)]
enum Wakes {
    Timer,
    Others,
    Either,
}

/// Stops between looks at the same place, on the same channel if it is on one.
fn woken(reason: &'static str, by: Wakes, minor: u32) -> Scene {
    let mut scene = left(3, reason);
    scene.code.go_minor = Some(minor);
    scene.unreferenced = Some(Vec::new());
    for round in 0..30 {
        for goid in 100..103 {
            scene.stops.insert(goid, (by == Wakes::Timer, round));
            if by == Wakes::Others {
                scene.wait_on_others.insert(goid);
            }
            if reason.starts_with("chan") {
                scene.channels.insert(goid, vec![0x77]);
            }
        }
        scene.until(3_000 + u64::from(round) * 4_000);
    }
    scene
}

#[test]
fn a_ticker_wakes_its_loop_and_a_worker_is_woken_for_work() {
    for minor in [21, 26, 27] {
        let ticker = woken("chan receive", Wakes::Timer, minor);
        assert_eq!(first(&ticker).1.severity, Severity::Warning);
        woken("chan receive", Wakes::Others, minor).silent();
    }
    woken("chan receive", Wakes::Either, 27).silent();
    // Before, nothing tells one from the other for sure where the channel looks like a timer's.
    let either = woken("chan receive", Wakes::Either, 26);
    assert_eq!(first(&either).1.severity, Severity::Warning);
}

#[test]
fn whoever_is_let_in_at_a_lock_now_and_then_does_not_wait_for_ever() {
    for minor in [21, 27] {
        for reason in ["sync.Cond.Wait", "sync.Mutex.Lock", "semacquire"] {
            woken(reason, Wakes::Either, minor).silent();
        }
    }
}
