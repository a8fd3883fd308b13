//! Real executables of many Go versions against what the programs say of themselves.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, and print their measurements"
)]

#[path = "go_image/build.rs"]
mod build;
#[path = "go_image/handed.rs"]
mod handed;
#[path = "go_image/literals.rs"]
mod literals;
#[path = "go_image/profiled.rs"]
mod profiled;
#[path = "go_image/refusals.rs"]
mod refusals;
#[path = "go_image/values.rs"]
mod values;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use build::{EXTERNAL_PIE, FLAVOURS, Flavour, ODD, build, build_without_module};
use observer::go::image::Image;
use observer::go::site::{SiteKind, Wanted, find_site};
use observer::go::{Frame, GoVersion};
use observer_tests::go::versions;
use observer_tests::live::observer_binary;

const SOURCE: &str = include_str!("go_image/self_describing.go.txt");

/// What a program printed.
#[derive(Default)]
struct Said {
    /// Run-time address and name of a function.
    anchor: (u64, String),
    stacks: Vec<(Vec<u64>, Vec<Frame>)>,
    itabs: Vec<Itab>,
}

struct Itab {
    address: u64,
    pointer: bool,
    package: String,
    name: String,
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("a hexadecimal number")
}

fn listen(program: &Path) -> Said {
    let output = Command::new(program).output().expect("the program runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.ends_with("end\n") || text.contains("\nend\n"),
        "the program did not finish"
    );
    let mut said = Said::default();
    for line in text.lines() {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "anchor" => {
                let (address, name) = rest.split_once(' ').expect("an anchor");
                said.anchor = (hex(address), name.to_owned());
            }
            "stack" => said
                .stacks
                .push((rest.split(' ').map(hex).collect(), Vec::new())),
            "frame" => {
                let (line, rest) = rest.split_once(' ').expect("a frame");
                let (function, file) = rest.split_once('\t').expect("a frame");
                said.stacks.last_mut().expect("a stack").1.push(Frame {
                    function: function.into(),
                    file: file.into(),
                    line: line.parse().expect("a line"),
                });
            }
            "itab" => {
                let fields: Vec<&str> = rest.splitn(5, ' ').collect();
                said.itabs.push(Itab {
                    address: hex(fields[0]),
                    pointer: fields[1] == "true",
                    package: fields[2].to_owned(),
                    name: fields[4].to_owned(),
                });
            }
            _ => {}
        }
    }
    said
}

/// Go prints type arguments of functions as `[...]`.
fn as_printed(frame: &Frame) -> Frame {
    let function = match (frame.function.find('['), frame.function.rfind(']')) {
        (Some(open), Some(close)) => format!(
            "{}[...]{}",
            &frame.function[..open],
            &frame.function[close + 1..]
        ),
        _ => frame.function.to_string(),
    };
    Frame {
        function: function.into(),
        ..frame.clone()
    }
}

fn check_stacks(image: &Image, said: &Said, bias: u64, label: &str) -> usize {
    let mut compared = 0;
    for (pcs, logical) in &said.stacks {
        assert_eq!(pcs.len(), logical.len(), "{label}");
        // The runtime hands out one counter for each inlined call too; those that our
        // expansion of the real return address already covered are passed over.
        let mut at = 0;
        while at < pcs.len() {
            let ours: Vec<Frame> = image
                .frames(pcs[at] - bias)
                .iter()
                // The runtime leaves these out, too.
                .filter(|frame| !frame.is_generated())
                .map(as_printed)
                .collect();
            let end = (at + ours.len()).min(logical.len());
            assert_eq!(ours, logical[at..end], "{label}: {:x}", pcs[at]);
            assert!(!ours.is_empty(), "{label}: no frame at {:x}", pcs[at]);
            at = end;
            compared += ours.len();
        }
    }
    compared
}

/// What a call names is as the machine code of its function has it, the first time and when it is remembered.
fn check_callees(image: &Image, said: &Said, bias: u64, label: &str) {
    let return_addresses = said.stacks.iter().flat_map(|(pcs, _)| pcs);
    let mut direct = 0;
    for pc in return_addresses.map(|pc| pc - bias) {
        let calls = image.calls_around(pc - 1);
        let call = calls.iter().find(|(back, _)| *back == pc);
        let callee = call.and_then(|(_, callee)| *callee);
        assert_eq!(image.callee_before(pc), callee, "{label}: {pc:x}");
        assert_eq!(image.callee_before(pc), callee, "{label}: {pc:x}");
        if call.is_some() {
            assert_eq!(image.callee_before(pc - 1), None, "{label}: within a call");
        }
        let is_entry = |callee| {
            let called = image.function_at(callee);
            called.is_some_and(|called| called.entry == callee)
        };
        assert!(callee.is_none_or(is_entry), "{label}: {callee:x?}");
        direct += usize::from(callee.is_some());
    }
    assert!(direct >= 3, "{label}: {direct} direct calls");
}

/// A method that was inlined into the wrapper of its value is declared where the source says. Before Go 1.20 nothing is
/// inlined there: it is a function like any other.
fn check_declaration(image: &Image, said: &Said, bias: u64, label: &str) {
    const METHOD: &str = "func (s *service) inlined() {";
    let is_inlined = image.go_version().minor >= 20;
    let return_addresses = said.stacks.iter().flat_map(|(pcs, _)| pcs);
    let method: Vec<u64> = return_addresses
        .map(|pc| pc - bias)
        .filter(|pc| {
            let frames = image.frames(*pc);
            let is_method = |frame: &Frame| &*frame.function == "main.(*service).inlined";
            let in_wrapper = frames.last().is_some_and(Frame::is_generated);
            frames.first().is_some_and(is_method) && in_wrapper == is_inlined
        })
        .collect();
    assert_eq!(method.len(), 1, "{label}");
    let line = SOURCE.lines().position(|line| line == METHOD);
    let line = u32::try_from(line.expect("the method") + 1).expect("a line");
    let declared = image.declaration(method[0]);
    let at = declared.map(|frame| (frame.function.to_string(), frame.line));
    let expected = ("main.(*service).inlined".to_owned(), line);
    assert_eq!(at, Some(expected), "{label}");
}

fn check_itabs(image: &Image, said: &Said, bias: u64, label: &str) {
    assert!(said.itabs.len() >= 17, "{label}");
    for itab in &said.itabs {
        let vaddr = image
            .itab_type_vaddr(itab.address - bias)
            .unwrap_or_else(|| panic!("{label}: itab of {}", itab.name));
        let name = image
            .type_of(vaddr)
            .unwrap_or_else(|| panic!("{label}: type of {}", itab.name));
        assert_eq!(
            (&*name.package, &*name.name, name.pointer),
            (&*itab.package, &*itab.name, itab.pointer),
            "{label}"
        );
    }
}

fn check_allgs(image: &Image, label: &str) {
    let vars = image
        .allgs()
        .unwrap_or_else(|error| panic!("{label}: {error}"));
    let range = image.address_range();
    for vaddr in [vars.len_vaddr, vars.ptr_vaddr] {
        assert!((range.low..range.high).contains(&vaddr), "{label}");
        assert_eq!(vaddr % 8, 0, "{label}");
        // Both live in zeroed memory, which the file does not hold.
        assert_eq!(image.bytes(vaddr, 8), None, "{label}");
    }
}

/// In a build with symbols, where those have it; else anywhere in the zeroed variables.
fn check_semtable(image: &Image, program: &Path, label: &str) {
    let table = image.semtable().unwrap_or_else(|| panic!("{label}"));
    let [_, empty] = image.variables().unwrap_or_else(|| panic!("{label}"));
    let end = table.vaddr + table.roots * table.root_len;
    assert!(
        empty.contains(&table.vaddr) && end <= empty.end,
        "{label}: {table:x?} {empty:x?}"
    );
    if image.is_stripped() {
        return;
    }
    let named = Command::new("go")
        .args(["tool", "nm", "-size"])
        .arg(program)
        .output()
        .expect("a Go command");
    let named = String::from_utf8(named.stdout).expect("text");
    let symbol = named
        .lines()
        .find(|line| line.ends_with(" runtime.semtable"))
        .unwrap_or_else(|| panic!("{label}: no symbol"));
    let words: Vec<&str> = symbol.split_whitespace().collect();
    let size: u64 = words[1].parse().expect("a size");
    assert_eq!(
        (table.vaddr, end - table.vaddr),
        (hex(words[0]), size),
        "{label}"
    );
}

/// Where the heap is described, and the variables that hold pointers.
fn check_heap(image: &Image, label: &str) {
    let range = image.address_range();
    let arenas = image.arenas().unwrap_or_else(|| panic!("{label}"));
    assert!((range.low..range.high).contains(&arenas), "{label}");
    assert_eq!(image.bytes(arenas, 8), None, "{label}");
    let [data, empty] = image.variables().unwrap_or_else(|| panic!("{label}"));
    assert!(data.end <= empty.start, "{label}: {data:x?} {empty:x?}");
    // The list of all goroutines is among them.
    let Ok(list) = image.allgs().map(|vars| vars.ptr_vaddr) else {
        panic!("{label}: no list of goroutines");
    };
    assert!(
        data.contains(&list) || empty.contains(&list),
        "{label}: {list:x}, {data:x?} {empty:x?}"
    );
}

fn check_sites(image: &Image, label: &str) {
    let old = image.go_version().minor < 21;
    for (name, kind) in [
        (
            if old {
                "context.propagateCancel"
            } else {
                "context.(*cancelCtx).propagateCancel"
            },
            None,
        ),
        ("context.(*cancelCtx).cancel", None),
        ("net/http.serverHandler.ServeHTTP", None),
        ("net/http.(*Transport).roundTrip", None),
        ("net/http.(*conn).serve", None),
    ] {
        let functions = image.functions(name);
        assert_eq!(functions.len(), 1, "{label}: {name}");
        let site = find_site(image, &functions[0], Wanted::AfterStackCheck)
            .unwrap_or_else(|error| panic!("{label}: {name}: {error}"));
        let expected = kind.unwrap_or(if old {
            SiteKind::StackCheckJump
        } else {
            SiteKind::Push
        });
        assert_eq!(site.kind, expected, "{label}: {name}");
        assert_eq!(
            image.bytes(site.vaddr, site.bytes.len()),
            Some(&*site.bytes)
        );
        assert_eq!(
            image.constant(site.vaddr, site.bytes.len()),
            Some(&*site.bytes)
        );
        assert_eq!(image.function_at(site.vaddr).map(|f| f.name), Some(name));
    }
    let callee = image.functions("runtime.runqput");
    let caller = image.functions("runtime.newproc.func1");
    let site = find_site(
        image,
        &caller[0],
        Wanted::DirectCall {
            callee: callee[0].entry,
        },
    )
    .unwrap_or_else(|error| panic!("{label}: runqput: {error}"));
    assert_eq!(
        (site.kind, site.bytes[0]),
        (SiteKind::Call, 0xe8),
        "{label}"
    );
}

fn check(version: &str, flavour: Flavour) {
    let label = format!("{version} {}", flavour.name);
    let program = build(SOURCE, version, flavour);
    let said = listen(&program);
    let started = Instant::now();
    let image = Image::open(&File::open(&program).expect("the program"))
        .unwrap_or_else(|error| panic!("{label}: {error}"));
    let opened = started.elapsed();
    let count = image.function_count();
    eprintln!(
        "{label}: opened in {opened:?}, {count} functions indexed in {:?}",
        started.elapsed() - opened
    );

    assert_eq!(
        *image.go_version(),
        GoVersion::parse(&format!("go{version}")).expect("version")
    );
    assert_eq!(image.is_pie(), flavour.name.contains("pie"), "{label}");
    assert_eq!(image.is_stripped(), flavour.name != "plain", "{label}");
    assert_eq!(image.main_package(), "command-line-arguments", "{label}");
    assert_eq!(image.build_setting("GOARCH"), Some("amd64"), "{label}");
    assert!(!image.build_id().is_empty(), "{label}");

    let anchor = image.functions(&said.anchor.1);
    assert_eq!(anchor.len(), 1, "{label}");
    let bias = said.anchor.0 - anchor[0].entry;
    assert_eq!(bias != 0, image.is_pie(), "{label}");
    let compared = check_stacks(&image, &said, bias, &label);
    assert!(compared >= 100, "{label}: only {compared} frames");
    eprintln!(
        "{label}: {compared} frames in {} stacks equal",
        said.stacks.len()
    );
    check_callees(&image, &said, bias, &label);
    check_declaration(&image, &said, bias, &label);
    check_itabs(&image, &said, bias, &label);
    check_allgs(&image, &label);
    check_semtable(&image, &program, &label);
    check_heap(&image, &label);
    check_heap(&image, &label);
    check_sites(&image, &label);

    let goexit = image.functions("runtime.goexit");
    let step = image.stack_step(goexit[0].entry + 1).expect("a step");
    assert!(step.top && step.sp_delta == 0, "{label}: {step:?}");
    let nested: Vec<&str> = image
        .functions_under("main.(*service).ServeHTTP")
        .map(|(name, _)| name)
        .collect();
    assert!(
        nested.contains(&"main.(*service).ServeHTTP"),
        "{label}: {nested:?}"
    );
    assert!(nested.len() >= 2, "{label}: {nested:?}");
}

#[test]
fn executables_are_understood_as_they_describe_themselves() {
    for version in versions() {
        for flavour in FLAVOURS {
            check(version, flavour);
        }
    }
}

/// Without inlining, other functions look a semaphore up.
#[test]
fn the_table_of_semaphores_is_found_in_builds_of_any_kind() {
    for version in versions() {
        for flavour in ODD {
            let program = build(SOURCE, version, flavour);
            let image = Image::open(&File::open(&program).expect("the program")).expect("an image");
            check_semtable(&image, &program, &format!("{version} {}", flavour.name));
        }
    }
}

#[test]
fn external_linking_moves_everything_and_changes_nothing() {
    for version in versions() {
        check(version, EXTERNAL_PIE);
    }
}

#[test]
fn a_build_without_a_module_names_its_package() {
    let package = "example.com/old/cmd/server";
    for version in versions() {
        let program = build_without_module(SOURCE, package, version);
        let image = Image::open(&File::open(&program).expect("the program")).expect("an image");
        assert_eq!((image.module(), image.main_package()), ("", package));
        // Whose code the packages beside it are, nobody says.
        assert!(image.own_modules().is_empty(), "{:?}", image.own_modules());
        let checked = Command::new(observer_binary().expect("observer"))
            .arg("check")
            .arg(&program)
            .output()
            .expect("observer runs");
        let text = String::from_utf8_lossy(&checked.stdout);
        let words: Vec<&str> = text.split_whitespace().collect();
        let said = format!("go{version}, package {package}");
        assert!(words.join(" ").contains(&said), "{text}");
    }
}

/// Functions whose prologues the unit tests of `go::site` keep.
const KEPT: [&str; 9] = [
    "context.propagateCancel",
    "context.(*cancelCtx).propagateCancel",
    "context.(*cancelCtx).cancel",
    "net/http.serverHandler.ServeHTTP",
    "net/http.(*connReader).handleReadError",
    "net/http.(*connReader).handleReadErrorLocked",
    "net/http.(*Transport).roundTrip",
    "net/http.(*persistConn).cancelRequest",
    "net/http.(*persistConn).canceled",
];

/// Writes `observer/src/go/site/testdata/prologues.txt`; the command is in that file.
#[test]
#[ignore = "prints test data, checks nothing"]
fn print_prologues() {
    let odd = ["1.19.13", "1.21.13", "1.27.3"].map(|version| ODD.map(|odd| (version, odd)));
    let plain = versions().iter().map(|&version| (version, FLAVOURS[1]));
    for (version, flavour) in plain.chain(odd.into_iter().flatten()) {
        let program = File::open(build(SOURCE, version, flavour)).expect("the program");
        let image = Image::open(&program).expect("an image");
        for name in KEPT {
            for function in image.functions(name) {
                let length = function.end - function.entry;
                let code = image.bytes(function.entry, 48).expect("code");
                let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{version} {} {name} {length} {hex}", flavour.name);
            }
        }
    }
}

#[test]
fn an_executable_is_opened_once_whatever_its_path() {
    let cache = observer::go::cache::ImageCache::default();
    let path = build(SOURCE, "1.27.3", FLAVOURS[0]);
    let open = |path: &Path| File::open(path).expect("the program");
    let first = cache.get(&open(&path)).expect("an image");
    let again = cache.get(&open(&path)).expect("an image");
    assert!(std::sync::Arc::ptr_eq(&first, &again));
    assert_eq!(cache.len(), 1);
    // A copy, as in another container's layer.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy");
    std::fs::copy(&path, &copy).expect("a copy");
    let copied = cache.get(&open(&copy)).expect("an image");
    assert!(std::sync::Arc::ptr_eq(&first, &copied));
    let other = cache
        .get(&open(&build(SOURCE, "1.27.3", FLAVOURS[1])))
        .expect("an image");
    assert!(!std::sync::Arc::ptr_eq(&first, &other));
    assert_eq!(cache.len(), 3);
}
