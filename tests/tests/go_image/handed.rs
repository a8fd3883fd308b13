//! Where code takes a context for a call, however much of it the compiler inlines.

use std::fs::File;
use std::process::Command;

use observer::go::image::Image;
use observer_tests::go::versions;

use super::build::{FLAVOURS, ODD, build};
use super::hex;

const SOURCE: &str = include_str!("hands.go.txt");

#[test]
fn a_context_is_handed_on_where_its_maker_is_called_inlined_or_not() {
    let [_, unoptimised] = ODD;
    let [plain, ..] = FLAVOURS;
    for version in versions() {
        for flavour in [plain, unoptimised] {
            let program = build(SOURCE, version, flavour);
            let image = Image::open(&File::open(&program).expect("the program")).expect("an image");
            let output = Command::new(&program).output().expect("the program runs");
            let said = String::from_utf8(output.stdout).expect("text");
            assert_eq!(said.lines().count(), 5, "{said}");
            for call in said.lines() {
                let words: Vec<&str> = call.split(' ').collect();
                let handed = image.handed(hex(words[1]), hex(words[2]));
                let lines: Vec<String> = handed
                    .iter()
                    .filter_map(|frames| frames.last())
                    .map(|frame| format!("{} {}", frame.function, frame.line))
                    .collect();
                let expected = (!words[0].ends_with("unknownKept"))
                    .then(|| format!("{} {}", words[0], words[3]));
                let label = format!("{version} {}: {call}", flavour.name);
                assert_eq!(lines, Vec::from_iter(expected), "{label}");
            }
        }
    }
}

const CUTS: &str = include_str!("cuts.go.txt");

#[test]
fn what_a_call_is_handed_was_made_at_the_only_place_that_can_have() {
    let [_, unoptimised] = ODD;
    let [plain, _, _] = FLAVOURS;
    // Before Go 1.21 there is no context.WithoutCancel.
    let versions = versions().iter().filter(|version| **version >= "1.21");
    for version in versions {
        for flavour in [plain, unoptimised] {
            let program = build(CUTS, version, flavour);
            let image = Image::open(&File::open(&program).expect("the program")).expect("an image");
            let output = Command::new(&program).output().expect("the program runs");
            let said = String::from_utf8(output.stdout).expect("text");
            assert_eq!(said.lines().count(), 6, "{said}");
            for call in said.lines() {
                let words: Vec<&str> = call.split(' ').collect();
                let made = image.made_for(hex(words[1]), hex(words[2]));
                let mut users = made.iter().filter(|frame| frame.package() == "main");
                let line = users.next().map(|frame| frame.line.to_string());
                let expected = (!words[0].contains("unknown")).then(|| words[3].to_owned());
                // What is not optimised goes through the stack, but for what is handed on at once.
                let seen = flavour.name == plain.name || words[0].ends_with("direct");
                let label = format!("{version} {}: {call}", flavour.name);
                assert_eq!(line, expected.filter(|_| seen), "{label}");
            }
        }
    }
}
