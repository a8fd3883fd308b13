//! Whole processes as they lay in memory once: what is painted of them is what their own dumps said.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::finding::samples::process;
use crate::go::image::StackStep;
use crate::go::layout::Layout;
use crate::go::{Frame, GoVersion, wait_reason};
use crate::inspect::{AllGs, CensusOffsets, Coverage, GOffsets, Inspector, Member, Runtime};
use crate::picture::{GroupBy, Names, Painter, Stack, Status};
use crate::target::{MemoryError, RecordedMemory};
use crate::testkit::PartTable;

/// Made by `cargo test -p observer-tests --test live_inspect -- --ignored record_censuses`.
const IMAGES: [&str; 5] = [
    include_str!("../testdata/waits-1.18.10.json"),
    include_str!("../testdata/waits-1.21.13.json"),
    include_str!("../testdata/waits-1.24.11.json"),
    include_str!("../testdata/waits-1.26.8.json"),
    include_str!("../testdata/waits-1.27.3.json"),
];
/// Frames that are kept of a dump.
const DUMPED_FRAMES: usize = 40;

/// One in so many ranges of memory is left out in turn.
const LEFT_OUT_EVERY: usize = 9;

/// Function, file and line.
type Place = (String, String, u32);

#[derive(Deserialize)]
struct Image {
    go: String,
    bias: u64,
    allgs: AllGs,
    steps: BTreeMap<u64, (i32, bool, bool)>,
    /// Frames of a caller, frames exactly there, and whether the compiler made the function.
    names: BTreeMap<u64, (Vec<Place>, Vec<Place>, bool)>,
    dump: Vec<Dumped>,
    memory: String,
}

#[derive(Deserialize)]
struct Dumped {
    goid: u64,
    state: String,
    functions: Vec<String>,
}

impl PartTable for Image {
    fn step(&self, pc: u64) -> Option<StackStep> {
        let &(sp_delta, top, writes_sp) = self.steps.get(&pc)?;
        Some(StackStep {
            sp_delta,
            top,
            writes_sp,
        })
    }

    fn reason(&self, id: u8) -> Option<&str> {
        wait_reason(&self.version(), id)
    }
}

fn frames(places: Option<&Vec<Place>>) -> Vec<Frame> {
    let frame = |(function, file, line): &Place| Frame {
        function: function.as_str().into(),
        file: file.as_str().into(),
        line: *line,
    };
    places.into_iter().flatten().map(frame).collect()
}

impl Names for Image {
    fn frames(&self, pc: u64) -> Vec<Frame> {
        frames(self.names.get(&pc).map(|(callers, _, _)| callers))
    }

    fn frames_at(&self, pc: u64) -> Vec<Frame> {
        frames(self.names.get(&pc).map(|(_, exact, _)| exact))
    }

    fn is_wrapper(&self, pc: u64) -> bool {
        self.names.get(&pc).is_some_and(|(_, _, wrapper)| *wrapper)
    }
}

impl Image {
    fn all() -> Vec<Self> {
        IMAGES
            .map(|text| serde_json::from_str(text).unwrap())
            .into()
    }

    fn version(&self) -> GoVersion {
        GoVersion::parse(&format!("go{}", self.go)).unwrap()
    }

    fn look(&self, memory: &RecordedMemory) -> Result<(Vec<Member>, Coverage), MemoryError> {
        let version = self.version();
        let layout = Layout::for_version(&version).unwrap();
        let offsets = GOffsets::of(&layout).unwrap();
        let runtime = Runtime {
            table: self,
            offsets: &offsets,
            bias: self.bias,
            allgs: Some(self.allgs),
            semtable: None,
        };
        let wanted = CensusOffsets::of(&layout, version.minor).unwrap();
        let mut members = Vec::new();
        let coverage = Inspector::new(memory, runtime)
            .census(&wanted, usize::MAX, |member| members.push(member))?;
        Ok((members, coverage.unwrap()))
    }

    fn paint(&self, member: Member) -> Option<Stack> {
        let mut painter = Painter::new(self, 0);
        painter.add(member, |_, _| None);
        let picture = painter.finish(process(), (GroupBy::Stack, None), Coverage::default(), 0);
        picture.groups.into_iter().next()?.stacks.into_iter().next()
    }
}

/// The words of a dump.
fn state(stack: &Stack) -> String {
    match (stack.status, stack.wait_reason.as_deref()) {
        (Status::Waiting, Some(reason)) => reason.to_owned(),
        (Status::Syscall, _) => "syscall".to_owned(),
        (other, reason) => format!("{other:?} {reason:?}"),
    }
}

/// A name as a dump has it, without type arguments.
fn plain(function: &str) -> String {
    match function.split_once('[').zip(function.rsplit_once(']')) {
        _ if function == "runtime.gopanic" => "panic".to_owned(),
        Some(((before, _), (_, after))) => format!("{before}[...]{after}"),
        None => function.to_owned(),
    }
}

#[test]
fn recorded_processes_are_painted_as_they_dumped_themselves() {
    for image in Image::all() {
        let memory = RecordedMemory::parse(&image.memory).unwrap();
        let (members, coverage) = image.look(&memory).unwrap();
        assert_eq!((coverage.torn, coverage.cut), (0, false), "{}", image.go);
        let mut painted: BTreeMap<u64, Stack> = members
            .into_iter()
            .filter_map(|member| Some((member.goroutine.goid, image.paint(member)?)))
            .collect();
        assert!(image.dump.len() > 60, "{}", image.go);
        for dumped in &image.dump {
            let stack = painted.remove(&dumped.goid).unwrap();
            let context = format!("{} goroutine {}", image.go, dumped.goid);
            assert_eq!(state(&stack), dumped.state, "{context}");
            let shown = stack.frames.iter().take(DUMPED_FRAMES);
            let functions: Vec<String> = shown.map(|frame| plain(&frame.function)).collect();
            assert_eq!(functions, dumped.functions, "{context}");
        }
        // Goroutine 1 was elsewhere; whatever else there is belongs to the runtime.
        assert_eq!(painted.into_keys().collect::<Vec<_>>(), [1], "{}", image.go);
    }
}

/// Whatever is missing, of what is left nothing else is told.
#[test]
fn a_process_with_missing_memory_is_told_of_in_part_and_never_wrongly() {
    for image in Image::all() {
        let whole = RecordedMemory::parse(&image.memory).unwrap();
        let (members, _) = image.look(&whole).unwrap();
        let lines: Vec<&str> = image.memory.lines().collect();
        for left_out in (0..lines.len()).step_by(LEFT_OUT_EVERY) {
            let mut left = lines.clone();
            left.remove(left_out);
            let memory = RecordedMemory::parse(&left.join("\n")).unwrap();
            let Ok((seen, coverage)) = image.look(&memory) else {
                continue;
            };
            for member in &seen {
                let same = |one: &&Member| one.goroutine.goid == member.goroutine.goid;
                let known = members.iter().find(same).unwrap();
                assert_eq!(member.goroutine, known.goroutine, "{}", image.go);
            }
            let untold = members.len() - seen.len();
            assert!(
                coverage.cut || coverage.torn >= untold,
                "{} without {}",
                image.go,
                lines[left_out].split_at(20).0
            );
        }
    }
}
