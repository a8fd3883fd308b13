//! Which waits nobody can end, as the command tells them, against what a program says of itself.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::command::{observe, observe_json, run};
use super::each;
use super::target::{Target, UNREFERENCED, variants};

#[test]
fn what_nobody_can_get_at_is_told_where_it_was_asked_for() {
    each::variant(|variant| {
        let target = Target::of(&UNREFERENCED, variant);
        let (lost, held) = (target.named("lost"), target.named("held"));
        let plain = observe_json(&target, &[]);
        assert!(plain[0]["references"].is_null(), "{variant:?}");
        let lines = observe_json(&target, &["--references"]);
        let (all, groups) = lines.split_first().unwrap();
        let references = &all["references"];
        let told = u64::try_from(lost.len()).unwrap();
        assert_eq!(references["unreferenced"], told, "{variant:?} {references}");
        assert!(
            references["apart_ns"].as_u64().unwrap() >= 1_000_000_000,
            "{variant:?} {references}"
        );
        assert_eq!(references["unnamed"], 0, "{variant:?} {held:?}");
        let stacks = groups
            .iter()
            .flat_map(|group| group["stacks"].as_array().unwrap());
        let (mut counted, mut named) = (0, BTreeSet::new());
        for stack in stacks {
            counted += stack["unreferenced"].as_u64().unwrap_or(0);
            let of_stack = stack["goroutines"].as_array().unwrap().iter();
            let of_stack = of_stack.filter(|one| one["unreferenced"] == true);
            named.extend(of_stack.map(|one| one["goid"].as_u64().unwrap()));
        }
        assert_eq!(counted, told, "{variant:?}");
        assert!(named.iter().eq(lost.keys()), "{variant:?} {named:?}");
        let text = observe(&target, &["--references", "--verbose"]);
        assert!(text.contains("no reference found to what"), "{text}");
        let text: Vec<&str> = text.split_whitespace().collect();
        let text = text.join(" ");
        assert!(text.contains(&format!("none found for {told} goroutines")));
        let unsaid = "not searched for, as nothing names what they wait on";
        assert!(!text.contains(unsaid), "{variant:?} {text}");
        let folded = observe(&target, &["--references", "--folded"]);
        let of_folded = folded
            .lines()
            .filter_map(|line| line.rsplit_once(";[no reference found] "));
        let of_folded = of_folded.map(|(_, count)| count.parse::<u64>().unwrap());
        assert_eq!(of_folded.sum::<u64>(), told, "{variant:?} {folded}");
    });
}

/// Between two searches there is a second in which a process may end.
#[test]
fn a_process_that_ends_between_two_searches_is_said_to_have_ended() {
    let mut target = Target::of(&UNREFERENCED, variants()[0]);
    let pid = target.process.identity.pid.to_string();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        target.kill();
        target
    });
    let output = run(&["goroutines", "--references", "--pid", &pid]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(output.stdout.is_empty());
    let ended = format!("pid {pid} exited while observer was reading its goroutines");
    assert!(said.contains(&ended) && said.contains("hint:"), "{said}");
    drop(killer.join().unwrap());
}

#[test]
fn a_heap_that_is_too_large_is_said_not_to_be_searched() {
    let mut target = Target::of(&UNREFERENCED, variants().pop().unwrap());
    for _ in 0..4 {
        target.ask("grow");
    }
    let references =
        |args: &[&str]| -> Value { observe_json(&target, args)[0]["references"].clone() };
    let found = references(&["--references"]);
    let why = found["not_searched"].as_str().unwrap();
    assert!(why.contains("64 MiB"), "{found}");
    assert!(found["unreferenced"].is_null(), "{found}");
    let text = observe(&target, &["--references"]);
    assert!(text.contains("references not searched"), "{text}");
}
