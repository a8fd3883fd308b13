//! deadline-too-short: short, deep, and harmful when it fires.

use super::*;

const RULE: RuleName = RuleName::DeadlineTooShort;
const DEEP: [&str; 9] = [
    "example.com/shop/cache.get:1|example.com/shop/cache.Get:2",
    "example.com/shop/page.teaser:3",
    "github.com/x/y.Do:4",
    "sort.Slice",
    "example.com/shop/page.ranking:5",
    "example.com/shop/page.Page:6",
    HANDLER,
    HANDLER_FUNC,
    SERVE,
];

fn made(scene: &mut Scene, at_ms: u64, ms: u64, stack: &[&str]) {
    let short = Timeout {
        data: GRANDCHILD,
        chain: &[(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)],
        asked_ms: ms,
        stack,
        ..Timeout::default()
    };
    short.make(scene, at_ms);
}

#[test]
fn short_and_deep_is_an_info_at_the_line() {
    let mut scene = under_middleware(2 * SECOND);
    made(&mut scene, 5, 50, &DEEP);
    let finding = only(&scene, RULE);
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(site(finding), ("example.com/shop/cache.get", 1));
    assert_eq!(finding.evidence.asked_ns, Some(50_000_000));
    assert_eq!(finding.evidence.deadline_ns, Some(2_000_000_000));
    assert_eq!(finding.evidence.remaining_ns, Some(1_996_000_000));
    assert_eq!(
        finding.message,
        "deadline of 50 ms is set 6 frames below the handler"
    );
}

#[test]
fn neither_alone_is_worth_a_word() {
    let mut scene = under_middleware(2 * SECOND);
    made(&mut scene, 5, 100, &DEEP);
    made(&mut scene, 6, 50, &DEEP[1..]);
    scene.silent();
}

/// So many uses, of which the first `fired` fire, under a middleware that allows `over_ms`.
fn uses(made_times: u64, fired: u64, over_ms: u64) -> Scene {
    let mut scene = Scene::new();
    for n in 0..made_times {
        let at_ms = n * 1_000;
        start(&mut scene, at_ms);
        let budget = Timeout {
            asked_ms: over_ms,
            stack: &[MIDDLEWARE, SERVE],
            ..Timeout::default()
        };
        budget.make(&mut scene, at_ms + 1);
        made(&mut scene, at_ms + 2, 50, &DEEP);
        // The last ones fire: nothing is said before there are enough.
        let stack = ["context.WithDeadlineCause.func3", BUILD];
        let record = if n >= made_times - fired {
            timer_fires(&scene, GRANDCHILD)
        } else {
            cancel(&scene.code, SERVING, GRANDCHILD, &stack)
        };
        scene.take(at_ms + 52, &record);
        end(&mut scene, at_ms + 60);
    }
    scene
}

#[test]
fn a_fifth_of_twenty_that_fired_with_ten_times_as_much_left_is_a_warning() {
    let scene = uses(20, 4, 2 * SECOND);
    let finding = last(&scene, RULE);
    assert_eq!((finding.severity, finding.count), (Severity::Warning, 20));
    assert!(
        finding.message.contains("fired in 4 of 20 uses"),
        "{}",
        finding.message
    );
}

#[test]
fn fewer_uses_fewer_fired_or_less_left_stay_an_info() {
    for scene in [
        uses(19, 19, 2 * SECOND),
        uses(20, 3, 2 * SECOND),
        uses(20, 20, 500),
    ] {
        assert_eq!(last(&scene, RULE).severity, Severity::Info);
    }
}
