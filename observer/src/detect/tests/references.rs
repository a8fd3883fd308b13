//! When the memory is searched for what goroutines wait on, and what that proves.

use super::goroutine_leak::{GO, NIL, OTHER_GO, count, left, left_by, waits};
use super::{CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, WORKER, derived, end, start};
use crate::detect::Question;
use crate::finding::{Confidence, Finding, RuleName, Severity};
use crate::inspect::Unreferenced;
use crate::testkit::{MS, Scene, Seen, cascade, goroutine, request, request_end};

/// How often the memory was searched so far.
fn searches(scene: &Scene) -> usize {
    let asked = scene.asked.iter();
    let searches = asked.filter(|ask| matches!(ask.question, Question::Unreferenced { .. }));
    searches.count()
}

#[test]
fn one_to_whose_channel_nothing_refers_is_an_error() {
    let cases = [
        ("chan send", "a channel"),
        ("select", "channels"),
        ("sync.Mutex.Lock", "a lock"),
        ("sync.WaitGroup.Wait", "a WaitGroup"),
        ("semacquire", "a lock or a WaitGroup"),
        ("sync.Cond.Wait", "a Cond"),
    ];
    for (reason, what) in cases {
        let mut scene = left_by(&[GO, HANDLER, SERVE], reason);
        scene.unreferenced = Some(vec![Unreferenced::of(WORKER, 0xc0_0000, &[0xc0_1000])]);
        scene.until(5_099);
        assert_eq!(searches(&scene), 0);
        scene.until(60_000);
        let (at_ms, finding) = scene.only();
        assert!((6_100..12_000).contains(&at_ms), "{at_ms}");
        assert_eq!(
            (finding.severity, finding.confidence),
            (Severity::Error, Confidence::High)
        );
        let waiting_on = format!("{what} to which no reference was found");
        assert!(
            finding
                .message
                .starts_with(&format!("goroutine waits on {waiting_on}, "))
        );
        assert_eq!(finding.evidence.waiting_on, Some(waiting_on));
        assert_eq!(finding.evidence.wait_reason.as_deref(), Some(reason));
        assert_eq!(searches(&scene), 2);
    }
}

/// A search finds all that wait, those too that are not due for a look of their own yet.
#[test]
fn one_whose_context_is_dead_is_told_so_although_nothing_refers_to_its_channel() {
    const EARLIER: (u64, u64, u64) = (400, 0xa000, 100);
    const LIVE: u64 = 0x9100;
    let message = |waits_on: &[u64]| {
        let mut scene = Scene::new();
        let lost = |goid| Unreferenced::of(goid, 0xc0_0000, &[]);
        scene.unreferenced = Some(vec![lost(EARLIER.2), lost(WORKER)]);
        scene.waits_on = waits_on.to_vec();
        // The memory is searched for the goroutine of this request.
        let (serving, root, goid) = EARLIER;
        let earlier = [
            request(&scene.code, serving, root, "GET /report/7"),
            goroutine(&scene.code, goid, serving, &[GO, HANDLER, SERVE]),
            request_end(&scene.code, root),
        ];
        waits(&mut scene, goid, "chan send");
        for record in &earlier {
            scene.take(0, record);
        }
        start(&mut scene, 3_000);
        let made = [
            goroutine(&scene.code, WORKER, SERVING, &[OTHER_GO]),
            derived(
                &scene,
                3_000,
                (WORKER, CHILD),
                &[(CANCEL_CTX, ROOT)],
                OTHER_GO,
            ),
            derived(&scene, 3_000, (WORKER, LIVE), &[], OTHER_GO),
        ];
        // What has made the context is still at work.
        let stack = scene.code.pcs(&["runtime.chanrecv1", OTHER_GO]);
        let seen = Seen::Waits(stack, "chan receive");
        scene.goroutines.insert(WORKER, seen);
        for record in &made {
            scene.take(3_000, record);
        }
        end(&mut scene, 3_010);
        let dies = cascade(&scene.code, SERVING, CHILD);
        scene.take(3_010, &dies);
        // Five seconds after its request, its own look would tell it by its context.
        scene.until(8_000);
        let is_its = |found: &&&Finding| {
            found.rule == RuleName::GoroutineLeak
                && found.site.as_ref().is_some_and(|at| at.line == 150)
        };
        let found = scene.findings();
        found.iter().find(is_its).map(|found| found.message.clone())
    };
    let message_of = |waits_on: &[u64]| message(waits_on).expect("a finding");
    let dead = message_of(&[]);
    assert!(
        dead.starts_with("goroutine waits without its context's Done, "),
        "{dead}"
    );
    let lost = message_of(&[LIVE]);
    assert!(
        lost.starts_with("goroutine waits on a channel to which no reference"),
        "{lost}"
    );
}

#[test]
fn one_search_proves_nothing_nor_do_two_of_other_waits() {
    let lost = |sudog, references: &[u64]| Some(vec![Unreferenced::of(WORKER, sudog, references)]);
    let others = [
        // Something has found its way there since.
        lost(0xc0_0000, &[0xc0_1000, 0xc0_2000]),
        lost(0xc0_0008, &[0xc0_1000]),
        Some(vec![]),
        None,
    ];
    for then in others {
        let mut scene = left_by(&[GO, HANDLER, SERVE], "chan receive");
        scene.unreferenced = lost(0xc0_0000, &[0xc0_1000]);
        let first = (5_000..).step_by(100).find(|at_ms| {
            scene.until(*at_ms);
            searches(&scene) == 1
        });
        scene.unreferenced = then;
        scene.until(first.unwrap() + 2_000);
        assert_eq!(searches(&scene), 2);
        scene.silent();
    }
}

#[test]
fn searches_that_find_nothing_become_rare() {
    let mut scene = left_by(&[GO, HANDLER, SERVE], "chan receive");
    scene.unreferenced = Some(Vec::new());
    scene.until(20_000);
    assert_eq!(searches(&scene), 1);
    scene.until(60_000);
    assert_eq!(searches(&scene), 3, "after 10 s, and after 20 s more");
    scene.until(3_600_000);
    assert!((8..=12).contains(&searches(&scene)), "{}", searches(&scene));
}

/// Waits that end by themselves need nobody.
#[test]
fn nobody_searches_for_who_wakes_by_himself() {
    for reason in ["sleep", "IO wait", NIL] {
        let mut scene = left_by(&[GO, HANDLER, SERVE], reason);
        scene.until(120_000);
        assert_eq!(searches(&scene), 0, "{reason}");
    }
}

/// Old ones that were too few to be told, and are proved later.
#[test]
fn each_is_told_once_by_age_or_by_proof() {
    const LATER: u64 = 0x9000;
    let mut scene = left(2, "chan receive");
    scene.unreferenced = Some(Vec::new());
    scene.until(45_000);
    scene.silent();
    let lost = |goid| Unreferenced::of(goid, 0xc0_0000, &[]);
    scene.unreferenced = Some(vec![lost(100), lost(101)]);
    scene.until(200_000);
    // One more, of which nothing is proved.
    let records = [
        request(&scene.code, 300, LATER, "GET /report/7"),
        goroutine(&scene.code, 102, 300, &[GO, HANDLER, SERVE]),
        request_end(&scene.code, LATER),
    ];
    waits(&mut scene, 102, "chan receive");
    for record in &records {
        scene.take(200_010, record);
    }
    assert_eq!(count(&mut scene, 300_000), 3);
}

/// In a heap that is too large, new lines are told by age as early as anywhere else.
#[test]
fn age_does_not_wait_where_searches_come_to_nothing() {
    // Nothing can be searched here: the next try is ten minutes later.
    let mut scene = left(3, "chan send");
    scene.until(20_000);
    assert_eq!(searches(&scene), 1);
    for number in 0..3u64 {
        let (serving, root) = (400 + number, 0xa000 + number * 0x100);
        let records = [
            request(&scene.code, serving, root, "GET /report/7"),
            goroutine(
                &scene.code,
                200 + number,
                serving,
                &[OTHER_GO, HANDLER, SERVE],
            ),
            request_end(&scene.code, root),
        ];
        waits(&mut scene, 200 + number, "chan send");
        for record in &records {
            scene.take(20_010 + number, record);
        }
    }
    scene.until(90_000);
    assert_eq!(searches(&scene), 1);
    let lines = scene.findings().into_iter();
    let mut lines: Vec<_> = lines
        .map(|found| found.site.as_ref().unwrap().line)
        .collect();
    lines.dedup();
    assert_eq!(lines, [140, 150]);
}

#[test]
fn a_search_is_paid_for_by_rest() {
    // So many lines, each of which shows ten seconds after the one before.
    let scene = |search_ns| {
        let mut scene = Scene::new();
        scene.unreferenced = Some(Vec::new());
        scene.search_ns = search_ns;
        for number in 0..60u64 {
            let (serving, root, goid) = (400 + number, 0xa000 + number * 0x100, 200 + number);
            let go = format!("example.com/shop/report.load:{number}");
            let records = [
                request(&scene.code, serving, root, "GET /report/7"),
                goroutine(&scene.code, goid, serving, &[&go, HANDLER, SERVE]),
                request_end(&scene.code, root),
            ];
            waits(&mut scene, goid, "chan send");
            for record in &records {
                scene.take(number * 10_000 + 1, record);
            }
        }
        scene.until(600_000);
        searches(&scene)
    };
    assert!(scene(MS) >= 40, "{}", scene(MS));
    // Half a second of searching is free, and another three in ten minutes.
    assert!((6..=8).contains(&scene(500 * MS)), "{}", scene(500 * MS));
}
