//! The pages of the rules show what observer says of programs that anybody can run: what they name has to be there.

use std::fs;

use anyhow::{Context, Result, ensure};
use observer_tests::go::workspace_root;

/// A line of a Go source that a sample names.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    /// The program that makes the sample, below `tests/targets/`.
    program: String,
    file: String,
    line: usize,
}

/// What the samples of a page name, where the commands that make them stand before.
fn named(page: &str) -> Vec<Named> {
    let (mut program, mut named, mut block) = (None, Vec::new(), None);
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            block = block.is_none().then_some(kind);
        } else if block == Some("sh") {
            let run = line.split_once("go run ./").map(|(_, run)| run);
            let run = run.and_then(|run| run.split_whitespace().next());
            program = run.map(str::to_owned).or(program);
        } else if block == Some("text") {
            let words = line.split(|c: char| c.is_whitespace() || "()".contains(c));
            let places = words.filter_map(|word| {
                let (file, line) = word.split_once(".go:")?;
                Some((format!("{file}.go"), line.parse().ok()?))
            });
            let made = program.as_ref();
            named.extend(places.filter_map(|(file, line)| {
                let program = made?.clone();
                Some(Named {
                    program,
                    file,
                    line,
                })
            }));
        }
    }
    named
}

#[test]
fn the_lines_that_samples_name_are_marked_in_the_programs() -> Result<()> {
    let root = workspace_root();
    let (mut pages, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(root.join("docs/rules"))? {
        let path = entry?.path();
        let named = named(&fs::read_to_string(&path)?);
        pages += usize::from(!named.is_empty());
        for one in named {
            // Below the program, or as the module names it.
            let targets = root.join("tests/targets");
            let places = [targets.join(&one.program), targets];
            let mut sources = places.iter().map(|place| place.join(&one.file));
            let source = sources.find(|source| source.exists());
            let source = source.with_context(|| format!("{}: {one:?}", path.display()))?;
            let text = fs::read_to_string(source)?;
            let line = one.line.checked_sub(1).and_then(|at| text.lines().nth(at));
            if !line.is_some_and(|line| line.contains("// want: ")) {
                wrong.push(format!("{}: {one:?}: {line:?}", path.display()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(pages >= 10, "only {pages} pages name lines of programs");
    Ok(())
}

#[test]
fn places_are_found_wherever_they_stand() {
    let page = "```sh\n(cd x && go run ./a/b -listen :1) &\n```\n```text\n  at  main.f   f.go:7\n  \
                context  request → WithTimeout 1 s (main.go:93)\n```\n```go\nf() // g.go:1\n```\n";
    let place = |file: &str, line| Named {
        program: "a/b".to_owned(),
        file: file.to_owned(),
        line,
    };
    assert_eq!(named(page), [place("f.go", 7), place("main.go", 93)]);
    assert_eq!(named(&page.replace("go run", "go test")), []);
}
