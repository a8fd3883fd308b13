//! Everything that reads goroutines and requests, on memory recorded from live programs.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    AllGs, GOffsets, Goroutine, Inspection, Inspector, RequestOffsets, RequestReading, Runtime,
    Started, Status, inspect_request,
};
use crate::go::image::StackStep;
use crate::target::{Memory, MemoryError, RecordedMemory};
use crate::testkit::PartTable;

const IMAGES: [&str; 3] = [
    include_str!("testdata/waits-1.21.13.json"),
    include_str!("testdata/waits-1.24.11.json"),
    include_str!("testdata/waits-1.27.3.json"),
];

#[derive(Deserialize)]
struct Image {
    bias: u64,
    allgs: AllGs,
    g_offsets: GOffsets,
    request_offsets: RequestOffsets,
    steps: BTreeMap<u64, (i32, bool, bool)>,
    wait_reasons: BTreeMap<u8, String>,
    goroutines: Vec<Seen>,
    requests: Vec<Request>,
    memory: Vec<String>,
}

#[derive(Deserialize)]
struct Seen {
    function: String,
    seen: Goroutine,
}

#[derive(Deserialize)]
struct Request {
    at: u64,
    ctx: u64,
    names: Vec<String>,
    seen: RequestReading,
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
        self.wait_reasons.get(&id).map(String::as_str)
    }
}

impl Image {
    fn all() -> Vec<Self> {
        IMAGES
            .map(|text| serde_json::from_str(text).unwrap())
            .into()
    }

    fn memory(&self) -> RecordedMemory {
        RecordedMemory::parse(&self.memory.join("\n")).unwrap()
    }

    /// The recording with one of its ranges left out.
    fn memory_without(&self, left_out: usize) -> RecordedMemory {
        let mut lines = self.memory.clone();
        lines.remove(left_out);
        RecordedMemory::parse(&lines.join("\n")).unwrap()
    }

    fn runtime(&self) -> Runtime<'_> {
        Runtime {
            table: self,
            offsets: &self.g_offsets,
            bias: self.bias,
            allgs: Some(self.allgs),
            semtable: None,
        }
    }
}

#[test]
fn goroutines_are_read_from_hints_and_from_the_list() {
    for image in Image::all() {
        let memory = image.memory();
        let inspector = Inspector::new(&memory, image.runtime());
        for Seen { function, seen } in &image.goroutines {
            let expected = Inspection::Alive(Box::new(seen.clone()));
            for hint in [Some(seen.g_addr), Some(8), None] {
                assert_eq!(inspector.inspect(seen.goid, hint), expected, "{function}");
            }
            let children = inspector.find_children(&[1].into(), 1000);
            let children = &children.unwrap().unwrap()[&1];
            assert!(children.iter().any(|child| child.goid == seen.goid));
        }
        assert_eq!(inspector.inspect(123_456, None), Inspection::Gone);
    }
}

#[test]
fn without_the_list_an_unknown_goroutine_is_not_called_gone() {
    for image in Image::all() {
        let memory = image.memory();
        let runtime = Runtime {
            allgs: None,
            semtable: None,
            ..image.runtime()
        };
        let inspector = Inspector::new(&memory, runtime);
        assert_eq!(inspector.inspect(123_456, None), Inspection::Unknown);
        assert_eq!(inspector.find_children(&[1].into(), 10), Ok(None));
    }
}

#[test]
fn missing_memory_never_makes_up_a_goroutine() {
    for image in Image::all() {
        for left_out in 0..image.memory.len() {
            let memory = image.memory_without(left_out);
            let inspector = Inspector::new(&memory, image.runtime());
            for Seen { function, seen } in &image.goroutines {
                match inspector.inspect(seen.goid, Some(seen.g_addr)) {
                    Inspection::Alive(other) => assert_eq!(*other, *seen, "{function}"),
                    found => assert_eq!(found, Inspection::Unknown, "{function}"),
                }
            }
        }
    }
}

#[test]
fn a_tally_counts_all_or_is_none() {
    for image in Image::all() {
        let memory = image.memory();
        let inspector = Inspector::new(&memory, image.runtime());
        let tally = inspector.tally(|_| false).unwrap().unwrap();
        let alive = |tally: &[Started]| tally.iter().map(|line| line.alive).sum::<u64>();
        let all = alive(&tally);
        let goids = inspector.goids().unwrap().unwrap();
        assert!(goids.is_sorted() && goids.len() as u64 >= all);
        for Seen { function, seen } in &image.goroutines {
            let line = tally.iter().find(|line| line.gopc == seen.gopc).unwrap();
            assert!(line.stack_bytes >= seen.stack_bytes, "{function}");
            assert!(goids.binary_search(&seen.goid).is_ok(), "{function}");
            let without = inspector.tally(|startpc| startpc == seen.startpc);
            assert!(alive(&without.unwrap().unwrap()) < all, "{function}");
        }
        for left_out in 0..image.memory.len() {
            let memory = image.memory_without(left_out);
            let inspector = Inspector::new(&memory, image.runtime());
            if let Ok(Some(tally)) = inspector.tally(|_| false) {
                assert_eq!(alive(&tally), all);
            }
        }
    }
}

#[test]
fn the_first_waiter_of_a_lock_is_known_while_others_wait_too() {
    let image = Image::all().pop().unwrap();
    let mut memory = image.memory();
    let find = |name| {
        let found = image.goroutines.iter().find(|one| one.function == name);
        &found.unwrap().seen
    };
    let (locks, receives) = (find("main.locks"), find("main.chanReceive"));
    let waiting = |g: &Goroutine| {
        let at = g.g_addr + u64::from(image.g_offsets.waiting);
        memory.read_u64(at).unwrap()
    };
    let (first, next) = (waiting(locks), waiting(receives));
    assert!(first != 0 && next != 0);
    // So the runtime chains those that wait for one semaphore.
    let link = first + u64::from(image.g_offsets.sudog.waitlink);
    memory.insert(link, &next.to_le_bytes());
    let inspector = Inspector::new(&memory, image.runtime());
    let expected = Inspection::Alive(Box::new(locks.clone()));
    assert!(locks.waiting_channels.is_empty());
    assert_eq!(inspector.inspect(locks.goid, Some(locks.g_addr)), expected);
}

/// Memory in which a byte of every g changes at every look.
struct Restless<'a> {
    inner: &'a RecordedMemory,
    offsets: &'a GOffsets,
    /// Where that byte is.
    at: u32,
    /// Every goroutine runs at the first of two looks, and is put off its thread before the second.
    running: bool,
    looks: Cell<u8>,
}

impl Memory for Restless<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.inner.read(addr, buf)?;
        if buf.len() == self.offsets.block_len() {
            self.looks.set(self.looks.get().wrapping_add(1));
            buf[usize::try_from(self.at).unwrap()] = self.looks.get();
            if self.running {
                let status = if self.looks.get() % 2 == 1 { 2 } else { 1 };
                buf[usize::try_from(self.offsets.status).unwrap()] = status;
            }
        }
        Ok(())
    }
}

#[test]
fn what_moves_at_every_look_is_torn_after_three() {
    for image in Image::all() {
        let recorded = image.memory();
        let memory = Restless {
            inner: &recorded,
            offsets: &image.g_offsets,
            at: image.g_offsets.wait_since,
            running: false,
            looks: Cell::new(0),
        };
        let seen = &image.goroutines[0].seen;
        let inspector = Inspector::new(&memory, image.runtime());
        assert_eq!(
            inspector.inspect(seen.goid, Some(seen.g_addr)),
            Inspection::Torn
        );
        assert_eq!(memory.looks.get(), 6);
    }
}

/// It has begun to wait, and its thread has not let go of it: how often it has stopped is not counted yet.
#[test]
fn who_is_just_about_to_wait_is_torn() {
    // In all versions.
    const M: u32 = 48;
    let mut looked = 0;
    for image in Image::all() {
        let offsets = GOffsets {
            m: Some(M),
            ..image.g_offsets
        };
        let waits = |one: &&Seen| one.seen.status == Status::Waiting;
        for Seen { function, seen } in image.goroutines.iter().filter(waits) {
            let mut memory = image.memory();
            memory.insert(seen.g_addr + u64::from(M), &0xc000_0000_u64.to_le_bytes());
            let runtime = Runtime {
                offsets: &offsets,
                ..image.runtime()
            };
            let found = Inspector::new(&memory, runtime).inspect(seen.goid, Some(seen.g_addr));
            assert_eq!(found, Inspection::Torn, "{function}");
            looked += 1;
        }
    }
    assert!(looked > 0, "nobody waits");
}

#[test]
fn one_that_runs_is_seen_although_it_was_put_off_its_thread_meanwhile() {
    for image in Image::all() {
        let mut recorded = image.memory();
        let seen = &image.goroutines[0].seen;
        // More of its stack is read than is recorded of one that waits.
        let bound = |at: u32| recorded.read_u64(seen.g_addr + u64::from(at)).unwrap();
        let (lo, hi) = (
            bound(image.g_offsets.stack_lo),
            bound(image.g_offsets.stack_hi),
        );
        let size = usize::try_from((hi - lo).min(16 << 10)).unwrap();
        recorded.insert(hi - size as u64, &vec![0; size]);
        let memory = Restless {
            inner: &recorded,
            offsets: &image.g_offsets,
            at: image.g_offsets.sched_sp,
            running: true,
            looks: Cell::new(0),
        };
        let inspector = Inspector::new(&memory, image.runtime());
        let Inspection::Alive(goroutine) = inspector.inspect(seen.goid, Some(seen.g_addr)) else {
            panic!("not seen");
        };
        assert_eq!(
            (goroutine.goid, goroutine.status),
            (seen.goid, Status::Running)
        );
        assert_eq!(memory.looks.get(), 2);
    }
}

#[test]
fn requests_are_read_while_their_context_is_theirs() {
    for image in Image::all() {
        let memory = image.memory();
        for request in &image.requests {
            let names: Vec<_> = request.names.iter().map(String::as_str).collect();
            let read =
                |ctx| inspect_request(&memory, &image.request_offsets, request.at, ctx, &names);
            assert_eq!(read(request.ctx), request.seen);
            assert_eq!(read(request.ctx + 16), RequestReading::Reused);
        }
        let found: Vec<_> = image
            .requests
            .iter()
            .map(|request| match &request.seen {
                RequestReading::Is(details) => details.headers.iter().flatten().count(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, [0, 1, 2, 2, 2, 3]);
    }
}

#[test]
fn a_request_with_missing_memory_is_whole_or_unreadable() {
    for image in Image::all() {
        for left_out in 0..image.memory.len() {
            let memory = image.memory_without(left_out);
            for request in &image.requests {
                let names: Vec<_> = request.names.iter().map(String::as_str).collect();
                let at = &image.request_offsets;
                let read = inspect_request(&memory, at, request.at, request.ctx, &names);
                assert!(read == request.seen || read == RequestReading::Unreadable);
            }
        }
    }
}

/// A stack of which one word was read a moment too late.
struct TwoMoments<'a> {
    inner: &'a RecordedMemory,
    right: u64,
    wrong: u64,
    is_read: Cell<bool>,
}

impl Memory for TwoMoments<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.inner.read(addr, buf)?;
        let mut words = buf.chunks_exact_mut(8);
        let right = self.right.to_le_bytes();
        if !self.is_read.get()
            && let Some(word) = words.find(|word| **word == right)
        {
            word.copy_from_slice(&self.wrong.to_le_bytes());
            self.is_read.set(true);
        }
        Ok(())
    }
}

/// An executable in which nothing returns to one place.
struct Doubting<'a> {
    image: &'a Image,
    wrong: u64,
}

impl PartTable for Doubting<'_> {
    fn step(&self, pc: u64) -> Option<StackStep> {
        self.image.step(pc)
    }

    fn leads(&self, outer: u64, _: u64) -> bool {
        outer != self.wrong
    }

    fn reason(&self, id: u8) -> Option<&str> {
        self.image.reason(id)
    }
}

/// One that stops 256 times while it is looked at has not stopped, by the runtime's count.
#[test]
fn a_stack_that_can_hardly_be_is_believed_when_it_is_found_again() {
    for image in Image::all() {
        let recorded = image.memory();
        // A return address, and another place with a frame as large.
        let exchanged = image.goroutines.iter().find_map(|Seen { seen, .. }| {
            seen.stack.iter().skip(1).find_map(|right| {
                let like = image.steps.get(right)?;
                let mut others = image.steps.iter();
                let other = others.find(|(pc, step)| *pc != right && *step == like);
                Some((seen, *right, other?.0))
            })
        });
        let (seen, right, wrong) = exchanged.unwrap();
        let inspect = |wrong_once: bool, doubts: u64| {
            let memory = TwoMoments {
                inner: &recorded,
                right: right + image.bias,
                wrong: wrong + image.bias,
                is_read: Cell::new(!wrong_once),
            };
            let table = Doubting {
                image: &image,
                wrong: doubts,
            };
            let runtime = Runtime {
                table: &table,
                ..image.runtime()
            };
            let found = Inspector::new(&memory, runtime).inspect(seen.goid, Some(seen.g_addr));
            assert!(memory.is_read.get());
            found
        };
        let right_one = Inspection::Alive(Box::new(seen.clone()));
        assert_eq!(inspect(true, *wrong), right_one);
        // The doubt is at fault: it is so every time.
        assert_eq!(inspect(false, right), right_one);
        // So it would be without any.
        assert_ne!(inspect(true, 0), right_one);
    }
}
