//! Which line is named for a detached context, where a helper that many share uses it.

use super::detached_context::serving;
use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, TIMER_CTX, calls, site,
};
use crate::finding::Finding;
use crate::testkit::{Created, MS, deadline};

const FETCH: &str = "example.com/shop/store.Fetch:12";
const LIST: &str = "example.com/shop/api.List:20";

/// A call in a helper that this function calls; where the code of both hands the context on.
fn shared(caller: &str, helper_hands: &[&str], caller_hands: &[&str]) -> Finding {
    let mut scene = serving();
    let itab = scene.code.itab(BACKGROUND.0);
    for (place, hands) in [(FETCH, helper_hands), (caller, caller_hands)] {
        let asked = (scene.code.pc(place), itab);
        let hands = hands.iter().map(|&place| place.to_owned()).collect();
        scene.code.handed.insert(asked, hands);
    }
    let stack = ["net/http.(*Client).Do", FETCH, caller, SERVE];
    let record = crate::testkit::call(&scene.code, (SERVING, 0), 0x9000, &[BACKGROUND], &stack);
    scene.take(5, &record);
    scene.only().1.clone()
}

#[test]
fn a_shared_helper_is_not_blamed_for_what_is_passed_to_it() {
    let list = shared(LIST, &[], &[LIST]);
    assert_eq!(site(&list), ("example.com/shop/api.List", 20));
    assert!(list.help.ends_with("at code.go:20"), "{}", list.help);
    let report = shared(HANDLER, &[], &[HANDLER]);
    assert_eq!(site(&report), ("example.com/shop/api.GetReport", 31));
    assert_ne!(list.fingerprint, report.fingerprint);
    // Both do: the inner one's is used.
    let inner = shared(LIST, &[FETCH], &[LIST]);
    assert_eq!(site(&inner), ("example.com/shop/store.Fetch", 12));
    // Nobody does: it came out of a variable.
    let stored = shared(LIST, &[], &[]);
    assert_eq!(site(&stored), ("example.com/shop/store.Fetch", 12));
}

#[test]
fn of_inlined_callers_the_one_that_passes_is_named() {
    let inlined = "example.com/shop/api.fetch:7|example.com/shop/api.List:20";
    let passes = shared(inlined, &[], &[inlined]);
    assert_eq!(site(&passes), ("example.com/shop/api.fetch", 7));
    let hands_on = shared(inlined, &[], &["example.com/shop/api.List:20"]);
    assert_eq!(site(&hands_on), ("example.com/shop/api.List", 20));
    // Made by another inlined function, at another line of the same caller.
    let elsewhere = "net/http.NewRequest:900|example.com/shop/api.List:18";
    let request = shared(inlined, &[], &[elsewhere]);
    assert_eq!(site(&request), ("example.com/shop/api.List", 20));
    // A logger that was inlined took one for itself.
    let logs = "log/slog.Info:20|example.com/shop/api.List:17";
    let logged = shared(inlined, &[], &[logs]);
    assert_eq!(site(&logged), ("example.com/shop/store.Fetch", 12));
}

/// A call in a helper on what its caller made by `WithoutCancel` at these places.
fn shared_without(makes: &[&str]) -> Finding {
    const WITHOUT: (&str, u64) = ("context.withoutCancelCtx", 0x7000);
    let mut scene = serving();
    let asked = (scene.code.pc(LIST), scene.code.itab(WITHOUT.0));
    let makes = makes.iter().map(|&place| place.to_owned()).collect();
    scene.code.handed.insert(asked, makes);
    let stack = ["net/http.(*Client).Do", FETCH, LIST, SERVE];
    let chain = [WITHOUT, (CANCEL_CTX, ROOT)];
    let record = crate::testkit::call(&scene.code, (SERVING, 0), 0x9000, &chain, &stack);
    scene.take(5, &record);
    scene.only().1.clone()
}

#[test]
fn who_calls_without_cancel_is_named_at_that_line() {
    let made = "context.WithoutCancel:590|example.com/shop/api.List:17";
    let list = shared_without(&[made]);
    assert_eq!(site(&list), ("example.com/shop/api.List", 17));
    assert!(list.help.ends_with("at code.go:17"), "{}", list.help);
    // Through a function of the service's that was inlined.
    let wrapped =
        "context.WithoutCancel:590|example.com/shop/x.Detach:8|example.com/shop/api.List:16";
    assert_eq!(
        site(&shared_without(&[wrapped])),
        ("example.com/shop/api.List", 16)
    );
    // One of two: the line that goes on to the helper is certain.
    assert_eq!(
        site(&shared_without(&[made, wrapped])),
        ("example.com/shop/api.List", 20)
    );
    // Nobody on the stack does.
    assert_eq!(
        site(&shared_without(&[])),
        ("example.com/shop/store.Fetch", 12)
    );
}

#[test]
fn a_library_that_passes_background_leaves_the_line_that_calls_it() {
    let get = "net/http.(*Client).Get:480";
    let mut scene = serving();
    let itab = scene.code.itab(BACKGROUND.0);
    for place in [get, HANDLER] {
        let asked = (scene.code.pc(place), itab);
        scene.code.handed.insert(asked, vec![place.to_owned()]);
    }
    let stack = ["net/http.(*Client).Do", get, BUILD, HANDLER, SERVE];
    let record = crate::testkit::call(&scene.code, (SERVING, 0), 0x9000, &[BACKGROUND], &stack);
    scene.take(5, &record);
    assert_eq!(
        site(scene.only().1),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
}

#[test]
fn a_helper_that_bounds_what_it_is_passed_is_not_blamed_either() {
    let mut scene = serving();
    let asked = (scene.code.pc(HANDLER), scene.code.itab(BACKGROUND.0));
    scene.code.handed.insert(asked, vec![HANDLER.to_owned()]);
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[BACKGROUND],
        stack: &["context.WithTimeout", FETCH, HANDLER, SERVE],
        deadline: deadline(MS, 1_000_000_000, true),
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(1, &made);
    let call = calls(&scene, SERVING, &[(TIMER_CTX, CHILD)], FETCH);
    scene.take(2, &call);
    assert_eq!(site(scene.only().1), ("example.com/shop/api.GetReport", 31));
}
