//! goroutine-leak: who is left of a request, and cannot go on.

use std::sync::Arc;

use observer_common::tcp::{CLOSE, CLOSE_WAIT, ECONNRESET, ESTABLISHED, LAST_ACK};

use super::{CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, WORKER, derived, end, site, start};
use crate::detect::Question;
use crate::finding::{CancelledBy, Confidence, Emission, Finding, RuleName, Severity};
use crate::inspect::Unreferenced;
use crate::testkit::{
    MS, Scene, Seen, cascade, goroutine, goroutine_end, hijacked, request, request_end, socket,
};

pub(super) const GO: &str = "example.com/shop/report.(*Builder).Build:140";
const WAITS: [&str; 2] = ["runtime.chanrecv1", "example.com/shop/report.load:7"];
pub(super) const NIL: &str = "chan receive (nil chan)";

/// `goid` waits so.
pub(super) fn waits(scene: &mut Scene, goid: u64, reason: &'static str) {
    let seen = Seen::Waits(scene.code.pcs(&WAITS), reason);
    scene.goroutines.insert(goid, seen);
}

/// A request at 0 ms whose handler has started a goroutine with this stack, and has ended at 100 ms.
pub(super) fn left_by(stack: &[&str], reason: &'static str) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let started = goroutine(&scene.code, WORKER, SERVING, stack);
    scene.take(10, &started);
    end(&mut scene, 100);
    waits(&mut scene, WORKER, reason);
    scene
}

/// Requests of one line, a second apart from 0 ms on, each with a goroutine that waits from its end on; their goids
/// begin at 100.
pub(super) fn left(requests: u64, reason: &'static str) -> Scene {
    let mut scene = Scene::new();
    for number in 0..requests {
        let at_ms = number * 1_000;
        let (serving, root) = (SERVING + number * 2, ROOT + number * 0x100);
        let begun = request(&scene.code, serving, root, "GET /report/7");
        scene.take(at_ms, &begun);
        let started = goroutine(&scene.code, 100 + number, serving, &[GO, HANDLER, SERVE]);
        scene.take(at_ms + 10, &started);
        waits(&mut scene, 100 + number, reason);
        let ended = request_end(&scene.code, root);
        scene.take(at_ms + 100, &ended);
    }
    scene
}

pub(super) fn first(scene: &Scene) -> (u64, &Finding) {
    match scene.shown.first() {
        Some((at_ms, Emission::Finding(finding))) => (*at_ms, finding),
        other => panic!("no finding: {other:?}"),
    }
}

/// How many were counted in the end.
pub(super) fn count(scene: &mut Scene, at_ms: u64) -> u64 {
    scene.until(at_ms);
    scene.engine.finish(at_ms * MS);
    scene.until(at_ms + 1);
    let last = scene.shown.last().map(|(_, emission)| match emission {
        Emission::Finding(finding) | Emission::Update(finding, _) => finding.count,
    });
    last.unwrap_or(0)
}

#[test]
fn one_that_nothing_wakes_is_an_error_after_five_seconds() {
    for reason in [NIL, "chan send (nil chan)", "select (no cases)", "select"] {
        let mut scene = left_by(&[GO, HANDLER, SERVE], reason);
        // All channels of this `select` are nil.
        scene.channels.insert(WORKER, Vec::new());
        scene.until(5_099);
        scene.silent();
        scene.until(60_000);
        let (at_ms, finding) = scene.only();
        assert!((5_100..10_700).contains(&at_ms), "{at_ms}");
        assert_eq!(finding.rule, RuleName::GoroutineLeak);
        assert_eq!(
            (finding.severity, finding.confidence),
            (Severity::Error, Confidence::High)
        );
        let function = "example.com/shop/report.(*Builder).Build";
        assert_eq!(site(finding), (function, 140));
        assert_eq!(&*finding.stack[1].function, "example.com/shop/report.load");
        assert_eq!(finding.evidence.wait_reason.as_deref(), Some(reason));
        assert_eq!(finding.evidence.live, Some(1));
        assert_eq!(
            finding.evidence.outlived_ns,
            Some((at_ms - 100) * MS),
            "since the end of its request"
        );
        assert_eq!(finding.request.as_ref().unwrap().number, 1);
        assert!(finding.message.starts_with("goroutine waits for ever, "));
    }
}

#[test]
fn one_that_ends_in_time_leaves_nothing() {
    let mut scene = left(3, NIL);
    for (at_ms, goid) in [(2_200, 100), (2_500, 101), (5_000, 102)] {
        scene.take(at_ms, &goroutine_end(goid));
    }
    scene.until(120_000);
    scene.silent();
    assert_eq!(scene.engine.totals().evicted, 0);
}

#[test]
fn one_whose_end_was_not_told_is_counted_as_forgotten() {
    let mut scene = left(1, NIL);
    scene.goroutines.insert(100, Seen::Gone);
    scene.until(120_000);
    scene.silent();
    assert_eq!(scene.engine.totals().evicted, 1);
}

#[test]
fn one_whose_end_is_told_after_it_was_missed_is_not_forgotten() {
    let mut scene = left(1, "chan receive");
    scene.goroutines.insert(100, Seen::Gone);
    scene.until(2_000);
    scene.take(2_001, &goroutine_end(100));
    scene.until(120_000);
    scene.silent();
    assert_eq!(scene.engine.totals().evicted, 0);
}

#[test]
fn who_works_is_silent() {
    for seen in [Seen::Runs, Seen::Torn] {
        let mut scene = left(3, "chan receive");
        for goid in 100..103 {
            scene.goroutines.insert(goid, seen.clone());
        }
        scene.until(120_000);
        scene.silent();
    }
    // Now and then it is seen at work.
    let mut scene = left(3, "chan receive");
    for round in 1..8 {
        for goid in 100..103 {
            scene.goroutines.insert(goid, Seen::Runs);
        }
        scene.until(round * 20_000);
        for goid in 100..103 {
            waits(&mut scene, goid, "chan receive");
        }
        scene.until(round * 20_000 + 10_000);
    }
    scene.silent();
}

#[test]
fn who_makes_a_context_now_and_then_works() {
    let mut scene = left(3, "chan receive");
    for at_s in 3..20 {
        for goid in 100..103u64 {
            let chain = [(CANCEL_CTX, ROOT)];
            let made = derived(&scene, at_s * 10_000, (goid, 0x9_0000 + goid), &chain, GO);
            scene.take(at_s * 10_000, &made);
        }
    }
    let leaks = scene.findings().into_iter();
    let leaks: Vec<_> = leaks
        .filter(|found| found.rule == RuleName::GoroutineLeak)
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn who_is_woken_at_the_same_channel_works() {
    let mut scene = left(3, "chan receive");
    for round in 1..12 {
        for goid in 100..103 {
            scene.noted.insert(goid, round * 10_000 * MS);
            scene.channels.insert(goid, vec![0x77]);
        }
        scene.until(round * 10_000 + 9_000);
    }
    scene.silent();
}

#[test]
fn what_is_noted_proves_for_how_long_at_the_last_look() {
    let mut scene = left(3, "chan receive");
    // The end of a collection long before the wait.
    scene.noted.extend((100..103).map(|goid| (goid, MS)));
    scene.until(80_000);
    let (at_ms, finding) = first(&scene);
    assert_eq!(at_ms, 62_600);
    // It was looked at every five seconds: from 5 600 ms on there was a note, and at 60 600 ms it was seen last.
    assert_eq!(finding.evidence.wait_ns, Some(55_000 * MS));
}

#[test]
fn without_a_note_nobody_knows_for_how_long() {
    let mut scene = left(3, "chan receive");
    scene.until(80_000);
    assert_eq!(first(&scene).1.evidence.wait_ns, None);
}

#[test]
fn what_waits_for_ever_has_since_the_first_look() {
    let mut scene = left_by(&[GO, HANDLER, SERVE], NIL);
    scene.noted.insert(WORKER, MS);
    scene.until(60_000);
    let (at_ms, finding) = scene.only();
    assert_eq!(finding.evidence.wait_ns, Some((at_ms - 600) * MS));
}

/// A goroutine whose context, made at `opens`, dies with its request at 100 ms, and that waits at its own line then.
fn waits_on_beside_a_dead_context(opens: &str) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let started = goroutine(&scene.code, WORKER, SERVING, &[GO]);
    scene.take(10, &started);
    let made = derived(&scene, 20, (WORKER, CHILD), &[(CANCEL_CTX, ROOT)], opens);
    scene.take(20, &made);
    let stack = ["runtime.chanrecv1", GO];
    let seen = Seen::Waits(scene.code.pcs(&stack), "chan receive");
    scene.goroutines.insert(WORKER, seen);
    end(&mut scene, 100);
    let dies = cascade(&scene.code, SERVING, CHILD);
    scene.take(100, &dies);
    scene.until(20_000);
    scene
}

#[test]
fn whose_context_is_dead_and_not_among_what_it_waits_for() {
    // Its function is on its stack, so it may still call its CancelFunc.
    let scene = waits_on_beside_a_dead_context(GO);
    let (_, finding) = first(&scene);
    assert_eq!(finding.rule, RuleName::GoroutineLeak);
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
    assert!(finding.message.ends_with(" after the handler returned"));
}

#[test]
fn one_whose_cancel_func_is_somebody_elses_by_now_is_not_inside_its_scope() {
    // What has made it has returned, and its CancelFunc is kept for the end of the session.
    let scene = waits_on_beside_a_dead_context("example.com/shop/report.open:9");
    let leaks = scene.findings().into_iter();
    assert_eq!(
        leaks
            .filter(|of| of.rule == RuleName::GoroutineLeak)
            .count(),
        0
    );
}

#[test]
fn who_waits_for_a_dead_context_is_about_to_leave() {
    let mut scene = left(3, "select");
    scene.waits_on = (0..3).map(|number| ROOT + number * 0x100).collect();
    scene.until(120_000);
    scene.silent();
}

#[test]
fn the_standard_library_and_plumbing_answer_for_themselves() {
    for place in [
        "net/http.(*Transport).queueForDial",
        "database/sql.(*DB).beginDC",
        "google.golang.org/grpc.NewClient",
        "context.(*cancelCtx).propagateCancel",
    ] {
        let mut scene = left_by(&[place, HANDLER, SERVE], NIL);
        scene.until(60_000);
        scene.silent();
    }
}

#[test]
fn ancestry_ends_at_plumbing_and_goes_on_through_timeout_handlers() {
    for (parent, told) in [
        ("net/http.(*Transport).queueForDial", false),
        ("golang.org/x/net/http2.(*Transport).newClientConn", false),
        ("net/http.(*timeoutHandler).ServeHTTP", true),
        ("golang.org/x/sync/errgroup.(*Group).Go", true),
        (HANDLER, true),
    ] {
        let mut scene = Scene::new();
        start(&mut scene, 0);
        let between = goroutine(&scene.code, WORKER, SERVING, &[parent, HANDLER]);
        scene.take(10, &between);
        let started = goroutine(&scene.code, 40, WORKER, &[GO]);
        scene.take(20, &started);
        scene.take(30, &goroutine_end(WORKER));
        waits(&mut scene, 40, NIL);
        end(&mut scene, 100);
        scene.until(60_000);
        assert_eq!(scene.findings().len(), usize::from(told), "{parent}");
    }
}

#[test]
fn who_runs_what_it_is_handed_is_named_by_its_caller() {
    for helper in [
        "sync.(*WaitGroup).Go",
        "golang.org/x/sync/errgroup.(*Group).Go",
    ] {
        let mut scene = left_by(&[helper, GO, HANDLER, SERVE], NIL);
        scene.until(60_000);
        assert_eq!(site(scene.only().1).1, 140, "{helper}");
    }
}

#[test]
fn a_library_is_named_and_its_caller_too() {
    let mut scene = left_by(&["github.com/x/pool.Get:9", GO, SERVE], NIL);
    scene.until(60_000);
    let (_, finding) = scene.only();
    assert_eq!(site(finding), ("github.com/x/pool.Get", 9));
    assert_eq!(finding.caller.as_ref().map(|at| at.line), Some(140));
}

#[test]
fn goroutines_of_a_connection_that_was_taken_over_are_its_own_while_it_is_open() {
    let mut scene = taken_over();
    scene.until(60_000);
    scene.silent();
    // Its client has said all that it has to say: it may still be told things.
    scene.take(60_000, &socket(PEER, (ESTABLISHED, CLOSE_WAIT), 0));
    scene.until(100_000);
    scene.silent();
    scene.take(100_000, &socket(PEER, (CLOSE_WAIT, LAST_ACK), 0));
    scene.until(120_000);
    let (at_ms, finding) = scene.only();
    assert!((105_000..106_000).contains(&at_ms), "{at_ms}");
    assert_eq!(finding.request.as_ref().unwrap().number, 1);
    let says = "goroutine waits for ever, 5.";
    assert!(finding.message.starts_with(says), "{}", finding.message);
    let says = " after the connection of its request closed";
    assert!(finding.message.ends_with(says), "{}", finding.message);
}

#[test]
fn a_reset_ends_a_connection_that_was_taken_over() {
    let mut scene = taken_over();
    scene.take(2_000, &socket(PEER, (ESTABLISHED, CLOSE), ECONNRESET));
    scene.until(60_000);
    assert_eq!(scene.only().0 / 1000, 7);
}

#[test]
fn a_connection_that_was_taken_over_may_be_over_before_its_handler_returns() {
    let mut scene = Scene::new();
    serve_taken_over(&mut scene);
    scene.take(50, &socket(PEER, (ESTABLISHED, CLOSE_WAIT), 0));
    scene.take(60, &socket(PEER, (CLOSE_WAIT, LAST_ACK), 0));
    end(&mut scene, 100);
    scene.until(60_000);
    assert_eq!(scene.only().0 / 1000, 5);
}

#[test]
fn who_leaves_with_its_connection_is_no_leak() {
    let mut scene = taken_over();
    scene.take(2_000, &goroutine_end(WORKER));
    scene.take(3_000, &socket(PEER, (ESTABLISHED, CLOSE), ECONNRESET));
    scene.until(60_000);
    scene.silent();
}

const PEER: &str = "192.0.2.7:51322";

/// A request whose handler has taken its connection over, and has left it to a goroutine.
fn taken_over() -> Scene {
    let mut scene = Scene::new();
    serve_taken_over(&mut scene);
    end(&mut scene, 100);
    scene
}

fn serve_taken_over(scene: &mut Scene) {
    start(scene, 0);
    let started = goroutine(&scene.code, WORKER, SERVING, &[GO]);
    scene.take(10, &started);
    waits(scene, WORKER, NIL);
    scene.take(20, &hijacked(SERVING, ROOT + 1, PEER));
}

#[test]
fn what_begins_after_the_end_is_found_too() {
    let mut scene = left_by(&[GO], "chan receive");
    let started = goroutine(&scene.code, 40, WORKER, &[HANDLER]);
    scene.take(150, &started);
    waits(&mut scene, 40, NIL);
    scene.until(60_000);
    assert_eq!(site(scene.only().1).1, 31);
}

#[test]
fn after_a_loss_nobody_is_guilty() {
    let mut scene = left(3, NIL);
    scene.engine.loss();
    scene.until(120_000);
    scene.silent();
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.engine.loss();
    let started = goroutine(&scene.code, WORKER, SERVING, &[GO]);
    scene.take(10, &started);
    waits(&mut scene, WORKER, NIL);
    end(&mut scene, 100);
    scene.until(60_000);
    scene.silent();
}

#[test]
fn many_of_one_line_are_counted_and_some_are_looked_at() {
    let mut scene = left(200, "chan receive");
    scene.until(205_000);
    let asked = scene.asked.len();
    let goids = scene.asked.iter().filter_map(|ask| match &ask.question {
        Question::Work { goid, .. } => Some(*goid),
        _ => None,
    });
    let goids: std::collections::BTreeSet<u64> = goids.collect();
    assert!(goids.len() <= 200 && asked < 200 * 12, "{asked}");
    assert!(first(&scene).1.evidence.live.unwrap() > 30);
    let info: Arc<str> = "GET".into();
    assert_eq!(
        first(&scene).1.request.as_ref().unwrap().method.as_deref(),
        Some(&*info)
    );
}

/// So many requests at once from a time on, each with a goroutine of this line; goids and addresses begin at `from`.
fn flood(scene: &mut Scene, at_ms: u64, from: u64, requests: u64, go: &str) {
    for number in from..from + requests {
        let (serving, root) = (0x10_0000 + number, 0xc100_0000 + number * 0x100);
        let begun = request(&scene.code, serving, root, "GET /report/7");
        scene.take(at_ms, &begun);
        let goid = 0x1000_0000 + number;
        let started = goroutine(&scene.code, goid, serving, &[go, HANDLER, SERVE]);
        scene.take(at_ms, &started);
        waits(scene, goid, "chan receive");
        let ended = request_end(&scene.code, root);
        scene.take(at_ms, &ended);
    }
}

pub(super) const OTHER_GO: &str = "example.com/shop/report.(*Builder).Build:150";

#[test]
fn a_flood_of_leaks_does_not_hide_itself_nor_others() {
    let mut scene = Scene::new();
    flood(&mut scene, 0, 0, 3, OTHER_GO);
    flood(&mut scene, 100, 10, 20_000, GO);
    // A line that is seen for the first time when there is no room left.
    flood(&mut scene, 200, 30_000, 3, "example.com/shop/report.late:7");
    scene.until(80_000);
    let lines: std::collections::BTreeSet<_> = scene
        .findings()
        .iter()
        .map(|finding| finding.site.as_ref().unwrap().line)
        .collect();
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), [7, 140, 150]);
}

#[test]
fn help_is_for_what_it_waits_for() {
    for (reason, word) in [
        (NIL, "nil channel"),
        ("sync.RWMutex.RLock", "unlock"),
        ("sync.WaitGroup.Wait", "Done on every way out"),
        ("sync.Cond.Wait", "signal"),
        ("semacquire", "unlock"),
        ("IO wait", "deadline"),
        ("sleep", "timer"),
        ("chan send", "room in the channel"),
    ] {
        let mut scene = left(3, reason);
        scene.until(80_000);
        let help = &first(&scene).1.help;
        assert!(help.contains(word), "{reason}: {help}");
    }
}

#[test]
fn those_that_are_only_counted_are_taken_to_hold_and_to_wait_as_the_others() {
    let mut scene = Scene::new();
    flood(&mut scene, 0, 0, 500, GO);
    scene.until(80_000);
    let evidence = &first(&scene).1.evidence;
    assert_eq!(
        (evidence.live, evidence.stack_bytes),
        (Some(500), Some(500 * 2048))
    );
    let waiting = scene.engine.goroutines().waiting;
    assert_eq!(waiting, [("chan receive".to_owned(), 500)].into());
}

/// More than the model remembers: those that are looked at are the oldest, which it forgets first.
#[test]
fn a_flood_beyond_what_is_remembered_is_told_where_memory_proves_it() {
    let mut scene = Scene::new();
    flood(&mut scene, 0, 0, 66_000, GO);
    let lost = |number: u64| Unreferenced::of(0x1000_0000 + number, 0xc0_0000, &[]);
    scene.unreferenced = Some((0..3).map(lost).collect());
    scene.until(20_000);
    let told = scene.findings();
    assert!(!told.is_empty());
    assert!(
        told.iter()
            .all(|finding| finding.severity == Severity::Error)
    );
}

#[test]
fn the_oldest_that_was_only_counted_takes_the_place_of_one_that_has_ended() {
    let mut scene = Scene::new();
    flood(&mut scene, 0, 0, 80, GO);
    for number in 0..70 {
        let gone = goroutine_end(0x1000_0000 + number);
        scene.take(4_000, &gone);
    }
    scene.until(80_000);
    assert_eq!(first(&scene).1.evidence.live, Some(10));
}

#[test]
fn all_of_a_line_are_told_with_their_stacks_and_their_rate() {
    let mut scene = left(3, "chan receive");
    // Nothing wakes the first: it is told before there is a minute.
    waits(&mut scene, 100, NIL);
    scene.until(50_000);
    let (_, finding) = first(&scene);
    assert_eq!(finding.evidence.stack_bytes, Some(3 * 2048));
    assert_eq!(
        finding.evidence.per_hour, None,
        "half a minute tells no rate"
    );
    let mut scene = left(44, "chan receive");
    scene.until(150_000);
    scene.engine.finish(150_000 * MS);
    scene.until(150_001);
    let last = scene.shown.last().map(|(_, emission)| match emission {
        Emission::Finding(finding) | Emission::Update(finding, _) => &finding.evidence,
    });
    let evidence = last.unwrap();
    assert_eq!(evidence.live, Some(44), "the newest count");
    // Within some 105 s: the last is told a minute after it was left.
    let per_hour = evidence.per_hour.unwrap();
    assert!((1_200..1_800).contains(&per_hour), "{per_hour}");
}

#[test]
fn what_is_left_is_counted_by_what_it_waits_for() {
    let mut scene = left(3, "chan receive");
    let of = |scene: &Scene| scene.engine.goroutines();
    scene.until(2_200);
    assert_eq!((of(&scene).started, of(&scene).outliving), (3, 3));
    scene.until(20_000);
    assert_eq!(of(&scene).waiting, [("chan receive".to_owned(), 3)].into());
    let ended = goroutine_end(101);
    scene.take(20_001, &ended);
    let totals = of(&scene);
    assert_eq!((totals.ended, totals.outliving), (1, 2));
    assert_eq!(totals.waiting.values().sum::<u64>(), 2);
    assert_eq!(totals.total, None, "nobody counts all");
}
