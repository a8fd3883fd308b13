//! Builds that follow a profile inline what is hot, however long it is: a probe at the function itself misses its copies.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use observer::go::image::Image;
use observer_tests::go::versions;

use super::build::{FLAVOURS, build};

const SOURCE: &str = include_str!("profiled.go.txt");
/// The first minor version whose builds follow profiles unless told otherwise.
const SINCE: u32 = 21;
const CANCEL: &str = "context.(*cancelCtx).cancel";

/// Whether copies of a function are part of others.
fn is_inlined(program: &Path, function: &str) -> bool {
    let image = Image::open(&File::open(program).expect("the program")).expect("an image");
    let [function] = image.functions(function) else {
        panic!("{function} is not once in {}", program.display());
    };
    image.is_inlined(function)
}

#[test]
fn what_a_profile_has_inlined_is_known() {
    for version in versions() {
        let minor = version
            .split('.')
            .nth(1)
            .and_then(|minor| minor.parse().ok());
        if minor < Some(SINCE) {
            continue;
        }
        let plain = build(SOURCE, version, FLAVOURS[0]);
        assert!(!is_inlined(&plain, CANCEL), "go{version}");
        let folder = plain.parent().expect("a folder");
        let profile = folder.join("hot.pgo");
        let ran = Command::new(&plain).arg(&profile).status();
        assert!(ran.expect("the program runs").success());
        let hot = folder.join("hot");
        let output = Command::new("go")
            .args(["build", "-ldflags=-s -w", "-o"])
            .arg(&hot)
            .arg(format!("-pgo={}", profile.display()))
            .arg("main.go")
            .current_dir(folder)
            .env("GOTOOLCHAIN", format!("go{version}"))
            .env("GOFLAGS", "-mod=mod")
            .env("CGO_ENABLED", "0")
            .output()
            .expect("a Go command");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "go{version}: {said}");
        assert!(is_inlined(&hot, CANCEL), "go{version}");
        // What is hot nowhere is where it was.
        assert!(
            !is_inlined(&hot, "context.(*cancelCtx).String"),
            "go{version}"
        );
    }
}
