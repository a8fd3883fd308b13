//! Which line of a program put a value into a context.

use std::fs::File;
use std::process::Command;

use observer::go::image::{Image, Key};
use observer_tests::go::versions;

use super::build::{FLAVOURS, Flavour, ODD, build};
use super::hex;

const SOURCE: &str = include_str!("puts.go.txt");

/// For each value that the program has put into a context: what the program says of it, and what its executable tells.
fn told(source: &str, version: &str, flavour: Flavour) -> Vec<(String, Option<u32>)> {
    let program = build(source, version, flavour);
    let image = Image::open(&File::open(&program).expect("the program")).expect("an image");
    let output = Command::new(&program).output().expect("the program runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let (anchor, said) = said.split_once('\n').expect("an anchor");
    let main = image.functions("main.main")[0].entry;
    let bias = hex(anchor.trim_start_matches("main.main ")) - main;
    let values = said.lines().map(|value| {
        let words: Vec<&str> = value.split(' ').collect();
        let key = Key {
            type_vaddr: hex(words[2]) - bias,
            data: hex(words[3]).wrapping_sub(bias),
        };
        let made = image.value_made(hex(words[1]) - bias, key);
        (
            format!("{} {}", words[0], words[4]),
            made.first().map(|frame| frame.line),
        )
    });
    values.collect()
}

#[test]
fn a_value_was_made_by_the_only_line_that_can_have_made_it() {
    for version in versions() {
        for flavour in FLAVOURS {
            let values = told(SOURCE, version, flavour);
            assert_eq!(values.len(), 11);
            for (said, line) in values {
                let expected = said.strip_prefix("one ").map(str::to_owned);
                let label = format!("{version} {}: {said}", flavour.name);
                assert_eq!(line.map(|line| line.to_string()), expected, "{label}");
            }
        }
    }
}

#[test]
fn no_line_is_told_that_is_not_proved() {
    // Whoever has its address may call it with any key.
    let anyone = SOURCE.replace(
        "func main() {",
        "var maker = context.WithValue\n\nfunc main() {",
    );
    let anyone = anyone.replace(
        "root := context",
        "root := maker(context.TODO(), 0, 0)\n\troot = context",
    );
    let [plain, _, pie] = FLAVOURS;
    for version in versions() {
        for flavour in [plain, pie] {
            let values = told(&anyone, version, flavour);
            assert!(values.iter().all(|(_, line)| line.is_none()), "{values:?}");
        }
        // Where code is not optimised, keys come from the stack.
        for flavour in ODD {
            for (said, line) in told(SOURCE, version, flavour) {
                let proved = line.is_none_or(|line| said == format!("one {line}"));
                assert!(proved, "{version} {}: {said}: {line:?}", flavour.name);
            }
        }
    }
}
