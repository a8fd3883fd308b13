//! Goroutines that are not like others: below stacks of hundreds of mebibytes, in C and called from C, bound to a thread,
//! and half a million at once.

use std::process::{Command, Stdio};

use observer::inspect::StackState;
use observer_tests::live::observer_binary;
use serde_json::Value;

use super::command::{observe, observe_json};
use super::dump::{agrees, parse};
use super::each;
use super::look::{ImageNames, Look, look, one};
use super::state;
use super::target::{PLAIN, Source, Target, Variant, variants};

/// Goroutines in C, called from C, and bound to threads.
const FOREIGN: Source = Source {
    folder: "foreign",
    files: &["main.go"],
    since: None,
    cgo: true,
};

/// Frames of 64 KiB that fit in what is read of a stack.
const READ_FRAMES: std::ops::Range<usize> = 10..20;

#[test]
fn a_stack_of_256_mebibytes_is_cut_and_said_to_be() {
    for go in ["1.21.13", "1.27.3"] {
        let mut target = Target::start(Variant { go, flags: PLAIN });
        target.ask("deep 256");
        let dumped = parse(&target.ask("dump"));
        let deep = dumped
            .iter()
            .find(|one| one.frames.len() > 90 && one.frames[0].0 == "main.descends")
            .unwrap();
        let Look { members, coverage } = look(&target);
        assert_eq!((coverage.torn, coverage.cut), (0, false), "{go}");
        let member = members
            .iter()
            .find(|member| member.goroutine.goid == deep.goid)
            .unwrap();
        assert_eq!(member.goroutine.stack_state, StackState::Cut, "{go}");
        let stack = one(&ImageNames::of(&target), member).unwrap();
        assert!(stack.cut && READ_FRAMES.contains(&stack.frames.len()));
        for (frame, (function, _, line)) in stack.frames.iter().zip(&deep.frames) {
            assert_eq!((&*frame.function, frame.line), (&**function, *line), "{go}");
        }
        let text = observe(&target, &["--verbose"]);
        assert_eq!(text.matches("and more, which were not read").count(), 1);
        let folded = observe(&target, &["--folded"]);
        let cut = |line: &str| line.starts_with("[and more];main.descends;");
        assert_eq!(folded.lines().filter(|line| cut(line)).count(), 1, "{go}");
        let groups = observe_json(&target, &[]).split_off(1);
        let stacks = groups
            .iter()
            .flat_map(|group| group["stacks"].as_array().unwrap());
        let cut: Vec<_> = stacks
            .filter(|stack| stack["stack_cut"] == true)
            .map(|stack| &stack["goroutines"][0]["goid"])
            .collect();
        assert_eq!(cut, [deep.goid], "{go}");
    }
}

#[test]
fn goroutines_in_c_and_on_threads_of_their_own_equal_the_dump() {
    each::variant(|variant| {
        let mut target = Target::of(&FOREIGN, variant);
        let dumped = parse(&target.ask("dump"));
        let names = ImageNames::of(&target);
        let Look { members, coverage } = look(&target);
        assert_eq!((coverage.torn, coverage.cut), (0, false), "{variant:?}");
        let mut compared = 0;
        for dumped in dumped.iter().filter(|dumped| dumped.goid != 1) {
            let member = members
                .iter()
                .find(|member| member.goroutine.goid == dumped.goid)
                .unwrap_or_else(|| panic!("{variant:?}: {dumped:?} is missing"));
            let stack = one(&names, member).unwrap_or_else(|| panic!("{variant:?}: {dumped:?}"));
            let seen = state(stack.status, stack.wait_reason.as_deref());
            assert_eq!(seen, dumped.state, "{variant:?}: {dumped:?}");
            agrees(&target, &stack, dumped).unwrap_or_else(|why| {
                panic!("{variant:?}: {why}\n{:#?}\n{dumped:#?}", stack.frames)
            });
            compared += 1;
        }
        assert_eq!(compared, 7, "{variant:?}: {dumped:#?}");
        let text = observe(&target, &[]);
        let called = "from C, which has called a function of Go";
        assert_eq!(text.matches(called).count(), 1, "{variant:?} {text}");
        let first = "the program's first goroutine";
        assert_eq!(text.matches(first).count(), 1, "{variant:?} {text}");
    });
}

#[test]
fn of_half_a_million_some_are_looked_at_and_it_is_said() {
    if std::env::var_os("OBSERVER_TEST_FULL").is_none() {
        return;
    }
    let variant = *variants().last().unwrap();
    let mut target = Target::start(variant);
    // At once: after each crowd the program dumps itself until nobody runs any more.
    target.ask("crowd 500000");
    let pid = target.process.identity.pid.to_string();
    let mut looking = Command::new(observer_binary().unwrap())
        .args(["goroutines", "--pid", &pid, "--output", "json"])
        .env_remove("OBSERVER_TEST_FULL")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", looking.id());
    let mut most_kib = 0;
    let output = std::thread::spawn({
        let stdout = looking.stdout.take().unwrap();
        move || std::io::read_to_string(stdout).unwrap()
    });
    while looking.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        most_kib = most_kib.max(kib.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let lines = output.join().unwrap();
    let all: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let alive = all["alive"].as_u64().unwrap();
    assert!(alive > 500_000, "{all}");
    assert_eq!(all["sampled"], alive.div_ceil(200_000), "{all}");
    assert!(all["seen"].as_u64().unwrap() <= 200_000, "{all}");
    let text = observe(&target, &[]);
    let every = format!(
        "goroutines, the runtime's own included. 1 in {}",
        all["sampled"]
    );
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains(&every), "{text}");
    assert!((1..400_000).contains(&most_kib), "{most_kib} KiB");
}
