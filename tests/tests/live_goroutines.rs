//! `observer goroutines` on live programs, compared with what the programs say of themselves.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

#[path = "live_goroutines/ancestry.rs"]
mod ancestry;
#[path = "live_goroutines/command.rs"]
mod command;
#[path = "live_goroutines/debian.rs"]
mod debian;
#[path = "live_goroutines/dump.rs"]
mod dump;
#[path = "live_goroutines/variants.rs"]
mod each;
#[path = "live_goroutines/extremes.rs"]
mod extremes;
#[path = "live_goroutines/look.rs"]
mod look;
#[path = "live_goroutines/references.rs"]
mod references;
#[expect(dead_code, reason = "the other suite uses all of it")]
#[path = "live_inspect/target.rs"]
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use observer::inspect::{StackState, Status};
use observer::picture::{Awaited, What};

use command::{observe, observe_json};
use dump::{Dumped, agrees, parse};
use look::{ImageNames, Look, is_sound, look, one};
use target::{Target, Variant, hex, variants};

/// Goroutines started besides those that wait in every way.
const CROWDS: [usize; 3] = [1, 100, 10_000];

/// What a dump says, in the words of the JSON lines.
fn state(status: Status, reason: Option<&str>) -> String {
    match (status, reason) {
        (Status::Waiting, Some(reason)) => reason.to_owned(),
        (Status::Syscall, _) => "syscall".to_owned(),
        (Status::Runnable, _) => "runnable".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Who waits for a lock or a wait group names its semaphore, which lies within; so do two more behind each.
fn check_locks(target: &Target, variant: Variant, awaits: impl Fn(&str) -> Vec<Awaited>) {
    let mut semaphores = BTreeSet::new();
    for fact in target.facts_of("LOCK") {
        let (function, at) = (&fact[0], hex(&fact[1]));
        let within = at..at + fact[2].parse::<u64>().unwrap();
        let awaits = awaits(function);
        let [one] = awaits.as_slice() else {
            panic!("{variant:?} {function} {awaits:?}");
        };
        let What::Lock(semaphore) = one.what else {
            panic!("{variant:?} {function} {one:?}");
        };
        assert!(within.contains(&semaphore), "{variant:?} {function}");
        // Ten of the crowd wait for the wait group, too.
        let waiters = if function == "main.waitsForGroup" {
            13
        } else {
            3
        };
        assert_eq!(one.waiters, Some(waiters), "{variant:?} {function}");
        semaphores.insert(semaphore);
    }
    assert_eq!(semaphores.len(), 4, "{variant:?}");
}

#[test]
fn every_goroutine_equals_the_programs_own_dump() {
    each::variant(|variant| {
        let mut target = Target::start(variant);
        let mut there = 0;
        for crowd in CROWDS {
            target.ask(&format!("crowd {}", crowd - there));
            there = crowd;
            let dumped = parse(&target.ask("dump"));
            let names = ImageNames::of(&target);
            let Look { members, coverage } = look(&target);
            let context = format!("{variant:?}, a crowd of {crowd}");
            assert_eq!((coverage.torn, coverage.cut), (0, false), "{context}");
            let by_goid: BTreeMap<u64, _> = members
                .iter()
                .map(|member| (member.goroutine.goid, member))
                .collect();
            let mut compared = 0;
            // Goroutine 1 dumps, and so is elsewhere when it is read.
            for dumped in dumped.iter().filter(|dumped| dumped.goid != 1) {
                let member = by_goid
                    .get(&dumped.goid)
                    .unwrap_or_else(|| panic!("{context}: {dumped:?} is missing"));
                let stack = one(&names, member).unwrap_or_else(|| panic!("{context}: {dumped:?}"));
                assert_eq!(member.goroutine.stack_state, StackState::Whole, "{context}");
                let seen = state(stack.status, stack.wait_reason.as_deref());
                assert_eq!(seen, dumped.state, "{context}: {dumped:?}");
                agrees(&target, &stack, dumped).unwrap_or_else(|why| {
                    panic!("{context}: {why}\n{:#?}\n{dumped:#?}", stack.frames)
                });
                if let Some(parent) = dumped.parent {
                    assert_eq!(stack.members[0].parent, Some(parent), "{context}");
                }
                compared += 1;
            }
            assert!(compared > crowd + 30, "{context}: {compared}");
            // What the dump leaves out belongs to the runtime.
            let programs = members
                .iter()
                .filter(|member| one(&names, member).is_some());
            assert_eq!(programs.count(), dumped.len(), "{context}");
        }
    });
}

/// Where goroutines are, without their numbers.
type Places = BTreeMap<(String, String), u64>;

fn dumped_places(dumped: &[Dumped]) -> Places {
    let mut places = Places::new();
    for dumped in dumped.iter().filter(|dumped| dumped.goid != 1) {
        *places
            .entry((dumped.state.clone(), dumped.created_line()))
            .or_default() += 1;
    }
    places
}

#[test]
fn the_command_counts_what_the_dump_shows() {
    each::variant(|variant| {
        let mut target = Target::start(variant);
        target.ask("crowd 1000");
        let dumped = parse(&target.ask("dump"));
        for by in ["stack", "site", "wait", "request"] {
            let lines = observe_json(&target, &["--group-by", by]);
            let (all, groups) = lines.split_first().unwrap();
            assert_eq!(all["type"], "goroutines");
            assert_eq!(all["seen"], dumped.len(), "{variant:?} {by}");
            assert_eq!(all["grouped"], dumped.len(), "{variant:?} {by}");
            assert_eq!(all["groups"], groups.len(), "{variant:?} {by}");
            let mut places = Places::new();
            let mut counted = 0;
            for group in groups {
                let stacks = group["stacks"].as_array().unwrap();
                counted += group["count"].as_u64().unwrap();
                for stack in stacks {
                    if stack["go"].is_null() {
                        assert_eq!(stack["start"]["function"], "runtime.main", "{variant:?}");
                        continue;
                    }
                    let state = stack["wait_reason"].as_str().or(stack["state"].as_str());
                    let at = format!(
                        "{}:{}",
                        stack["go"]["file"].as_str().unwrap(),
                        stack["go"]["line"]
                    );
                    *places.entry((state.unwrap().to_owned(), at)).or_default() +=
                        stack["count"].as_u64().unwrap();
                }
            }
            assert_eq!(
                counted,
                u64::try_from(dumped.len()).unwrap(),
                "{variant:?} {by}"
            );
            if by == "stack" {
                let mut expected = dumped_places(&dumped);
                expected.retain(|(_, at), _| !at.is_empty());
                assert_eq!(places, expected, "{variant:?}");
            }
        }
        let sites = observe(&target, &["--group-by", "site", "--verbose"]);
        assert!(
            sites.contains("\n1  the program's first goroutine\n"),
            "{sites}"
        );
        let folded = observe(&target, &["--folded"]);
        let counts = folded.lines().map(|line| {
            let (stack, count) = line.rsplit_once(' ').unwrap();
            assert!(stack.ends_with(']'), "{line}");
            count.parse::<usize>().unwrap()
        });
        assert_eq!(counts.sum::<usize>(), dumped.len(), "{variant:?}");
    });
}

#[test]
fn what_they_wait_on_is_told() {
    each::variant(|variant| {
        let mut target = Target::start(variant);
        target.ask("crowd 70");
        let dumped = parse(&target.ask("dump"));
        let looked = look(&target);
        let picture = looked.paint(&target);
        let find = |function: &str| {
            let stacks = picture.groups.iter().flat_map(|group| &group.stacks);
            let mut fit = stacks.filter(|stack| {
                let start = stack.start.as_ref();
                start.is_some_and(|start| &*start.function == function)
            });
            let found = fit
                .next()
                .unwrap_or_else(|| panic!("{variant:?} {function}"));
            assert_eq!(fit.next(), None, "{variant:?} {function}");
            found
        };
        for fact in target.facts_of("WAITS") {
            let (function, addrs) = fact.split_first().unwrap();
            let stack = find(function);
            let mut expected: Vec<u64> = addrs.iter().map(|text| hex(text)).collect();
            let mut seen = Vec::new();
            for awaited in &stack.awaits {
                let What::Channel(channel) = awaited.what else {
                    panic!("{variant:?} {awaited:?}");
                };
                assert!(!channel.closed);
                let buffer = if function == "main.sendsFull" { 4 } else { 0 };
                assert_eq!((channel.len, channel.cap), (buffer, buffer), "{variant:?}");
                assert!(awaited.waiters.unwrap() >= 1);
                seen.push(channel.addr);
            }
            expected.sort_unstable();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{variant:?} {function}");
        }
        // Ten of the crowd receive from a channel of their own, ten more have it in a select.
        let crowd = |line: &str| {
            let fits =
                |dumped: &&Dumped| dumped.frames[0].0 == "main.crowded" && dumped.state == line;
            dumped.iter().filter(fits).count()
        };
        let receivers = crowd("chan receive");
        assert_eq!((receivers, crowd("select")), (10, 10), "{variant:?}");
        let of_crowd = picture
            .groups
            .iter()
            .flat_map(|group| &group.stacks)
            .find(|stack| {
                stack.frames[0].function.as_ref() == "main.crowded"
                    && stack.wait_reason.as_deref() == Some("chan receive")
            })
            .unwrap();
        assert_eq!(of_crowd.awaits[0].waiters, Some(20), "{variant:?}");
        // Nobody can wake those.
        for function in ["main.nilReceive", "main.nilSend", "main.noCases"] {
            assert_eq!(find(function).awaits, [], "{variant:?} {function}");
        }
        check_locks(&target, variant, |function| find(function).awaits.clone());
        for function in ["main.labelled", "main.inheritsLabels"] {
            let labels = find(function).members[0].labels.clone().unwrap();
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, value)| (&**key, &**value))
                .collect();
            assert_eq!(
                labels,
                [("region", "eu"), ("tier", "gold")],
                "{variant:?} {function}"
            );
        }
        assert_eq!(
            find("main.chanReceive").members[0].labels,
            None,
            "{variant:?}"
        );
        // A system call keeps its thread.
        let thread = find("main.readsInSyscall").members[0].thread.unwrap();
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", target.process.identity.pid)).unwrap();
        let mut tasks = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        assert!(tasks.any(|task| task == thread.to_string()), "{variant:?}");
    });
}

#[test]
fn requests_are_those_that_are_served() {
    each::variant(|variant| {
        let target = Target::start(variant);
        let lines = observe_json(&target, &["--group-by", "request"]);
        let requests = lines.iter().filter(|line| !line["serving_goid"].is_null());
        let mut served: Vec<(String, String)> = requests
            .map(|line| {
                let text = |key: &str| line["request"][key].as_str().unwrap_or_default().to_owned();
                (text("method"), text("path"))
            })
            .collect();
        served.sort();
        let expected = [
            ("GET", "/gone"),
            ("GET", "/hijack"),
            ("GET", "/pipelined"),
            ("GET", "/watched"),
            ("POST", "/unread"),
        ];
        let expected = expected.map(|(method, path)| (method.to_owned(), path.to_owned()));
        assert_eq!(served, expected, "{variant:?}");
    });
}

#[test]
fn waits_are_within_their_bounds() {
    each::variant(|variant| {
        let mut target = Target::start(variant);
        let pause = || std::thread::sleep(Duration::from_millis(300));
        // The first two collections: before them, the runtime has no time to note.
        target.ask("gc");
        target.ask("gc");
        pause();
        let old = std::time::Instant::now();
        target.ask("crowd 7");
        let young = std::time::Instant::now();
        target.ask("gc");
        pause();
        target.ask("gc");
        pause();
        // A later wait bears a later collection, and so bounds those before it.
        target.ask("crowd 1");
        target.ask("gc");
        let picture = look(&target).paint(&target);
        let crowd: Vec<_> = picture
            .groups
            .iter()
            .flat_map(|group| &group.stacks)
            .filter(|stack| {
                stack.start.as_ref().is_some_and(|at| {
                    at.function.contains("startCrowd") || &*at.function == "main.crowded"
                })
            })
            .collect();
        assert!(!crowd.is_empty(), "{variant:?}");
        let longest = u64::try_from(old.elapsed().as_nanos()).unwrap();
        let shortest = u64::try_from(young.elapsed().as_nanos()).unwrap();
        let mut bounded = 0;
        for stack in crowd {
            if let Some(least) = stack.waited.at_least_ns {
                assert!(least <= longest, "{variant:?} {stack:?}");
                bounded += 1;
            }
            if let Some(most) = stack.waited.at_most_ns {
                assert!(
                    most >= shortest.saturating_sub(1_500_000_000),
                    "{variant:?} {stack:?}"
                );
            }
        }
        assert!(bounded > 0, "{variant:?}: nothing is known of any wait");
    });
}

#[test]
fn what_age_leaves_out_is_counted_as_far_as_it_is_unknown() {
    each::variant(|variant| {
        let mut target = Target::start(variant);
        target.ask("crowd 50");
        let first = |target: &Target| observe_json(target, &["--min-age", "300ms"]).remove(0);
        let count = |all: &serde_json::Value, key: &str| all[key].as_u64().unwrap();
        // No collection has noted anything: who waits may have waited for however long.
        let all = first(&target);
        let moving = count(&all, "running") + count(&all, "runnable");
        assert_eq!(count(&all, "grouped"), 0, "{variant:?} {all}");
        let unknown = count(&all, "seen") - moving;
        assert_eq!(count(&all, "age_unknown"), unknown, "{variant:?} {all}");
        let text = observe(&target, &["--min-age", "300ms"]);
        let text: Vec<&str> = text.split_whitespace().collect();
        let said = format!("{} left out by --min-age", count(&all, "seen"));
        assert!(text.join(" ").contains(&said), "{variant:?} {text:?}");
        // A collection that notes the one before, and later ones that bound it.
        target.ask("gc");
        target.ask("gc");
        target.ask("crowd 1");
        target.ask("gc");
        std::thread::sleep(Duration::from_millis(300));
        target.ask("crowd 1");
        target.ask("gc");
        let all = first(&target);
        assert!(count(&all, "grouped") > 50, "{variant:?} {all}");
        let known = count(&all, "grouped") + count(&all, "age_unknown");
        let moving = count(&all, "running") + count(&all, "runnable");
        assert!(known + moving <= count(&all, "seen"), "{variant:?} {all}");
    });
}

#[test]
fn under_load_every_stack_is_sound_and_the_program_goes_on() {
    let is_full = std::env::var_os("OBSERVER_TEST_FULL").is_some_and(|value| value == "1");
    let variants = variants();
    for (index, variant) in variants.iter().copied().enumerate() {
        let looks = match is_full {
            // Of the newest: six minutes. All of them would take three hours.
            true if index + 1 == variants.len() => 10_000,
            true => 200,
            // Two builds of each version: what is walked is the same in both.
            false => 100,
        };
        let mut target = Target::start(variant);
        target.ask("crowd 200");
        target.ask("busy");
        let worked = |target: &mut Target| target.ask("worked")[0].parse::<u64>().unwrap();
        let before = worked(&mut target);
        let (mut whole, mut torn) = (0, 0);
        let mut known = BTreeSet::new();
        for _ in 0..looks {
            let Look { members, coverage } = look(&target);
            torn += coverage.torn;
            for member in &members {
                if member.goroutine.stack_state == StackState::Whole {
                    is_sound(&target, &member.goroutine, &mut known)
                        .unwrap_or_else(|why| panic!("{variant:?}: {why}\n{:?}", member.goroutine));
                    whole += 1;
                }
            }
        }
        assert!(
            whole > looks * 200,
            "{variant:?}: {whole} whole, {torn} torn"
        );
        assert!(torn * 50 < whole, "{variant:?}: {whole} whole, {torn} torn");
        // A wrong answer would have ended it.
        assert!(worked(&mut target) > before, "{variant:?}");
    }
}

#[test]
fn failures_are_said_for_what_they_are() {
    let refused = |pid: &str, words: &str| {
        let output = command::run(&["goroutines", "--pid", pid]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(words) && said.contains("hint:"), "{said}");
        assert!(output.stdout.is_empty());
    };
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    refused(&sleeper.id().to_string(), "is not a Go program");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    refused(&sleeper.id().to_string(), "no process has pid");
    // In the middle of a look: all that can be said is that it has ended, or that it was never there.
    let variant = variants()[0];
    for delay_ms in [5, 20, 40, 60, 80, 120] {
        let mut target = Target::start(variant);
        target.ask("crowd 3000");
        let pid = target.process.identity.pid.to_string();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(delay_ms));
            target.kill();
            target
        });
        let output = command::run(&["goroutines", "--pid", &pid]);
        let said = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => assert!(!output.stdout.is_empty()),
            Some(4) => assert!(
                output.stdout.is_empty()
                    && (said.contains("exited while") || said.contains("no process has")),
                "{said}"
            ),
            other => panic!("{other:?} {said}"),
        }
        drop(killer.join().unwrap());
    }
}
