//! A function literal of a function that was inlined is named after where it was put: whose it is, its file says.

use std::fs::File;

use observer::go::image::Image;
use observer_tests::go::versions;

use super::build::{FLAVOURS, build};

const SOURCE: &str = r#"package main

import "net/http"

func main() {
	mux := http.NewServeMux()
	mux.Handle("/theirs/", http.StripPrefix("/theirs", http.NotFoundHandler()))
	mux.Handle("/own", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.URL.Path, http.StatusTeapot)
	}))
	panic(http.ListenAndServe("127.0.0.1:0", mux))
}
"#;

#[test]
fn a_literal_belongs_to_the_package_that_it_was_written_in() {
    let mut moved = 0;
    for version in versions() {
        for flavour in FLAVOURS {
            let program = build(SOURCE, version, flavour);
            let image = Image::open(&File::open(program).expect("the program")).expect("an image");
            let mut own = 0;
            for (name, function) in image.functions_under("main.main") {
                let frame = image.frames_at(function.entry).pop().expect("a frame");
                if frame.file.ends_with("net/http/server.go") {
                    let (home, literal) = frame.function.rsplit_once(".func").expect("a literal");
                    assert!(home.starts_with("net/http"), "go{version}: {name}");
                    assert!(literal.parse::<u32>().is_ok(), "go{version}: {name}");
                    moved += 1;
                } else {
                    assert_eq!(&*frame.function, name, "go{version}");
                    own += 1;
                }
            }
            assert_eq!(own, 2, "go{version}: main and its literal");
        }
    }
    assert!(moved > 0, "no compiler has inlined StripPrefix");
}
