//! Makes the memory images that the library's own tests read: `cargo test -p observer-tests --test live_inspect --
//! --ignored record`. The targets are only read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use observer::go::image::{Image, StackStep};
use observer::inspect::{
    CallSite, CensusOffsets, Inspection, Inspector, RequestOffsets, Runtime, StackTable,
    inspect_request,
};
use observer::target::RecordingMemory;

use super::dump::parse;
use super::target::{Target, Variant, hex};

/// Passes on the executable's answers and keeps them.
struct RecordingTable<'a> {
    image: &'a Image,
    steps: RefCell<BTreeMap<u64, (i32, bool, bool)>>,
    reasons: RefCell<BTreeMap<u8, String>>,
}

impl<'a> RecordingTable<'a> {
    fn of(image: &'a Image) -> Self {
        Self {
            image,
            steps: RefCell::default(),
            reasons: RefCell::default(),
        }
    }
}

impl StackTable for RecordingTable<'_> {
    fn stack_step(&self, pc: u64) -> Option<StackStep> {
        let step = self.image.stack_step(pc)?;
        let kept = (step.sp_delta, step.top, step.writes_sp);
        self.steps.borrow_mut().insert(pc, kept);
        Some(step)
    }

    fn entry(&self, pc: u64) -> Option<u64> {
        StackTable::entry(self.image, pc)
    }

    fn call_before(&self, pc: u64) -> Option<CallSite> {
        StackTable::call_before(self.image, pc)
    }

    fn may_lead(&self, outer: u64, inner: u64) -> bool {
        self.image.may_lead(outer, inner)
    }

    fn is_inner(&self, pc: u64) -> bool {
        self.image.is_inner(pc)
    }

    fn wait_reason(&self, id: u8) -> Option<&str> {
        let text = StackTable::wait_reason(self.image, id)?;
        self.reasons.borrow_mut().insert(id, text.to_owned());
        Some(text)
    }
}

/// Some goroutines and requests, one by one.
#[test]
#[ignore = "writes the images into the library's sources"]
fn record_images() {
    const PLACES: [&str; 5] = [
        "main.chanReceive",
        "main.selects",
        "main.locks",
        "main.readsInSyscall",
        "main.inPanic",
    ];
    for go in ["1.21.13", "1.24.11", "1.27.3"] {
        let flags = &["-ldflags=-s -w"];
        let target = Target::start(Variant { go, flags });
        let memory = RecordingMemory::new(target.process.memory);
        let table = RecordingTable::of(&target.image);
        let runtime = Runtime {
            table: &table,
            ..target.runtime()
        };
        let (all, _) = target.snapshot(1000).unwrap();
        let inspector = Inspector::new(&memory, runtime);
        let mut goroutines = Vec::new();
        for goroutine in &all {
            let start = target.image.function_at(goroutine.startpc).unwrap();
            if PLACES.contains(&start.name) {
                let hint = Some(goroutine.g_addr);
                let Inspection::Alive(seen) = inspector.inspect(goroutine.goid, hint) else {
                    panic!("{} is not still", start.name);
                };
                goroutines.push(serde_json::json!({ "function": start.name, "seen": seen }));
            }
        }
        assert_eq!(goroutines.len(), PLACES.len());
        assert_eq!(inspector.inspect(999_999, None), Inspection::Gone);
        let offsets = RequestOffsets::of(&target.layout, target.map_kind()).unwrap();
        let mut requests = Vec::new();
        for fact in target.facts_of("REQUEST") {
            if fact[0].parse::<usize>().unwrap() <= 30 {
                let (at, ctx) = (hex(&fact[1]), hex(&fact[2]));
                let names = ["X-Number-0", "X-Number-6", "X-Number-29", "X-Missing"];
                let seen = inspect_request(&memory, &offsets, at, ctx, &names);
                requests.push(
                    serde_json::json!({ "at": at, "ctx": ctx, "names": names, "seen": seen }),
                );
            }
        }
        let allgs = target.runtime().allgs.unwrap();
        let document = serde_json::json!({
            "made_by": "cargo test -p observer-tests --test live_inspect -- --ignored record_images",
            "go": go,
            "bias": target.process.mapping.bias,
            "allgs": allgs,
            "g_offsets": target.offsets,
            "request_offsets": offsets,
            "steps": table.steps.into_inner(),
            "wait_reasons": table.reasons.into_inner(),
            "goroutines": goroutines,
            "requests": requests,
            "memory": memory.recorded().to_text().lines().collect::<Vec<_>>(),
        });
        let path = format!(
            "{}/../observer/src/inspect/testdata/waits-{go}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = serde_json::to_string_pretty(&document).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }
}

/// Frames of a dump that are kept.
const DUMPED_FRAMES: usize = 40;
/// Bytes that an image may take.
const IMAGE_LEN: usize = 200 << 10;

/// All goroutines at once, with what the program's own dump says of them.
#[test]
#[ignore = "writes the images into the library's sources"]
fn record_censuses() {
    for go in ["1.18.10", "1.21.13", "1.24.11", "1.26.8", "1.27.3"] {
        let flags = &["-ldflags=-s -w"];
        let mut target = Target::start(Variant { go, flags });
        target.ask("crowd 35");
        let mut dumped = parse(&target.ask("dump"));
        // Goroutine 1 dumps, and so is elsewhere when it is read.
        dumped.retain(|dumped| dumped.goid != 1);
        let memory = RecordingMemory::new(target.process.memory);
        let table = RecordingTable::of(&target.image);
        let runtime = Runtime {
            table: &table,
            ..target.runtime()
        };
        let minor = target.image.go_version().minor;
        let offsets = CensusOffsets::of(&target.layout, minor).unwrap();
        let mut pcs = BTreeSet::new();
        let coverage = Inspector::new(&memory, runtime)
            .census(&offsets, usize::MAX, |member| {
                let seen = member.goroutine;
                pcs.extend(seen.stack);
                pcs.extend([seen.gopc, seen.startpc]);
            })
            .unwrap()
            .unwrap();
        assert_eq!((coverage.torn, coverage.cut), (0, false), "{go}");
        // Files by their names only: where Go lies is nobody's business.
        let names = |frames: Vec<observer::go::Frame>| {
            let short = frames.into_iter().map(|frame| {
                let file = frame.file.rsplit('/').next().unwrap().to_owned();
                (frame.function.to_string(), file, frame.line)
            });
            short.collect::<Vec<_>>()
        };
        let image = &target.image;
        let named: BTreeMap<u64, _> = pcs
            .iter()
            .map(|&pc| {
                let frames = (names(image.frames(pc)), names(image.frames_at(pc)));
                (pc, (frames.0, frames.1, image.is_wrapper(pc)))
            })
            .collect();
        let dump: Vec<_> = dumped
            .into_iter()
            .map(|mut one| {
                one.functions.truncate(DUMPED_FRAMES);
                serde_json::json!({ "goid": one.goid, "state": one.state, "functions": one.functions })
            })
            .collect();
        let json = |value: serde_json::Value| value.to_string();
        let parts = [
            ("go", json(go.into())),
            ("bias", json(target.process.mapping.bias.into())),
            ("allgs", json(serde_json::json!(target.runtime().allgs))),
            ("steps", json(serde_json::json!(table.steps.into_inner()))),
            ("names", json(serde_json::json!(named))),
            ("dump", json(dump.into())),
            ("memory", json(memory.recorded().to_text().into())),
        ];
        let lines = parts.map(|(key, value)| format!("\"{key}\": {value}"));
        let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
        assert!(text.len() < IMAGE_LEN, "{go}: {} bytes", text.len());
        let folder = "../observer/src/picture/testdata";
        let path = format!("{}/{folder}/waits-{go}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, text).unwrap();
    }
}
