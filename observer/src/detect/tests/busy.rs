//! cancel-ignored by work that computes: one finding wherever it is met.

use super::cancel_ignored::waiting;
use super::{BUILD, HANDLER, SERVE, SERVING, client_leaves, site};
use crate::finding::{Finding, WorkState};
use crate::testkit::{Scene, Seen};

/// The case of a goroutine that computes: its site and its stack's innermost frame.
fn computing(seen: impl Fn(&Scene) -> Seen) -> (Finding, String) {
    let mut scene = waiting();
    let now = seen(&scene);
    scene.goroutines.insert(SERVING, now);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let finding = scene.only().1.clone();
    let inner = finding.stack.first().unwrap().function.to_string();
    (finding, inner)
}

#[test]
fn work_that_computes_is_one_finding_wherever_it_is_met() {
    const ROUTED: &str = "net/http.HandlerFunc.ServeHTTP:2000";
    const LOGS: &str = "example.com/shop/web.Logged.func1:9";
    let loops = "runtime.asyncPreempt:1";
    let stacks: [&[&str]; 4] = [
        &[loops, HANDLER, ROUTED, LOGS, ROUTED, SERVE],
        &[
            loops,
            "example.com/shop/api.GetReport:40",
            ROUTED,
            LOGS,
            ROUTED,
            SERVE,
        ],
        &[BUILD, HANDLER, ROUTED, LOGS, ROUTED, SERVE],
        &["sort.Slice:8", BUILD, HANDLER, ROUTED, LOGS, ROUTED, SERVE],
    ];
    let mut prints = Vec::new();
    for stack in stacks {
        let (put_off, inner) = computing(|scene| Seen::Preempted(scene.code.pcs(stack)));
        // The handler, not the middleware that all routes share.
        assert_eq!(site(&put_off), ("example.com/shop/api.GetReport", 1));
        assert_eq!(put_off.evidence.state, Some(WorkState::Running));
        assert!(stack[0].starts_with(&inner), "{inner}");
        let (running, _) = computing(|scene| Seen::Computes(scene.code.pcs(&stack[1..])));
        prints.extend([put_off.fingerprint, running.fingerprint]);
    }
    prints.dedup();
    assert_eq!(prints.len(), 1);
    // Nothing was dispatched in sight: the outermost of the service's functions.
    let (plain, _) = computing(|scene| Seen::Preempted(scene.code.pcs(&[BUILD, HANDLER, SERVE])));
    assert_eq!(site(&plain), ("example.com/shop/api.GetReport", 1));
}

#[test]
fn one_that_was_just_woken_is_looked_at_until_it_is_let_go_on() {
    let mut scene = waiting();
    let stack = scene.code.pcs(&["runtime.gopark", BUILD, HANDLER, SERVE]);
    scene
        .goroutines
        .insert(SERVING, Seen::Preempted(stack.clone()));
    client_leaves(&mut scene, 10);
    scene.until(1_500);
    scene.silent();
    scene
        .goroutines
        .insert(SERVING, Seen::Waits(stack, "sleep"));
    scene.until(1_800);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 1_510);
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
}

#[test]
fn a_method_value_is_its_method_and_not_the_compilers_wrapper() {
    const METHOD: &str = "example.com/shop/api.(*Api).Report:31";
    const WRAPPER: &str = "example.com/shop/api.(*Api).Report-fm:1";
    const ROUTED: &str = "net/http.HandlerFunc.ServeHTTP:2000";
    let inlined = format!("{METHOD}|{WRAPPER}");
    let stacks: [&[&str]; 3] = [
        &[BUILD, METHOD, WRAPPER, ROUTED, SERVE],
        &[BUILD, &inlined, ROUTED, SERVE],
        // Nothing was dispatched in sight.
        &[BUILD, METHOD, WRAPPER, SERVE],
    ];
    for stack in stacks {
        let (found, _) = computing(|scene| Seen::Preempted(scene.code.pcs(stack)));
        assert_eq!(site(&found), ("example.com/shop/api.(*Api).Report", 1));
        assert!(found.stack.iter().all(|frame| !frame.is_generated()));
    }
}
