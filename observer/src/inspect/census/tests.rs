//! The census on memory that no sane program has.

use std::cell::Cell;

use super::{CensusOffsets, Coverage, Member};
use crate::go::GoVersion;
use crate::go::image::StackStep;
use crate::go::layout::Layout;
use crate::inspect::{AllGs, GOffsets, Inspection, Inspector, Runtime, StackState, Status};
use crate::target::{Memory, MemoryError, RecordedMemory};
use crate::testkit::PartTable;

const LEN_AT: u64 = 0x1000;
const PTR_AT: u64 = 0x1008;
/// At the end of a page, so that three entries are all that is there.
const LIST: u64 = 0x2fe8;
const STRUCTS: u64 = 0x10_0000;
const STRUCT: u64 = 0x400;
const STACKS: u64 = 0x8000_0000;
const STACK: u64 = 0x800;
/// A function without a frame that calls itself.
const BODY: u64 = 0x40_1000;
/// The end of every stack.
const TOP: u64 = 0x40_2000;
/// A function with a frame of a mebibyte that calls itself.
const WIDE: u64 = 0x40_3000;
const WIDE_FRAME: u64 = 1 << 20;

/// Frames of the functions above.
struct Table;

impl PartTable for Table {
    fn step(&self, pc: u64) -> Option<StackStep> {
        let sp_delta = match pc {
            BODY | TOP => 0,
            WIDE => i32::try_from(WIDE_FRAME).ok()?,
            _ => return None,
        };
        Some(StackStep {
            sp_delta,
            top: pc == TOP,
            writes_sp: false,
        })
    }

    fn reason(&self, _: u8) -> Option<&str> {
        Some("chan receive")
    }
}

fn layout() -> Layout {
    Layout::for_version(&GoVersion::parse("go1.27.3").unwrap()).unwrap()
}

fn g_offsets() -> GOffsets {
    GOffsets::of(&layout()).unwrap()
}

/// A process with so many goroutines, all waiting one call below their function.
struct Forged {
    memory: RecordedMemory,
    offsets: GOffsets,
}

impl Forged {
    fn with(count: u64) -> Self {
        let mut forged = Self {
            memory: RecordedMemory::new(),
            offsets: g_offsets(),
        };
        forged.list((0..count).map(Self::at).collect(), count);
        for index in 0..count {
            let hi = STACKS + (index + 1) * STACK;
            forged.stack(index, (hi - STACK, hi), (BODY, hi - 16));
            forged.memory.insert(hi - 16, &TOP.to_le_bytes());
            forged.memory.insert(hi - 8, &[0; 8]);
            forged.put(index, forged.offsets.goid, &(index + 1).to_le_bytes());
            forged.status(index, 4);
        }
        forged
    }

    fn at(index: u64) -> u64 {
        STRUCTS + index * STRUCT
    }

    fn list(&mut self, addrs: Vec<u64>, len: u64) {
        self.memory.insert(LEN_AT, &len.to_le_bytes());
        self.memory.insert(PTR_AT, &LIST.to_le_bytes());
        let bytes: Vec<u8> = addrs.into_iter().flat_map(u64::to_le_bytes).collect();
        self.memory.insert(LIST, &bytes);
    }

    fn put(&mut self, index: u64, field: u32, bytes: &[u8]) {
        self.memory
            .insert(Self::at(index) + u64::from(field), bytes);
    }

    fn status(&mut self, index: u64, status: u32) {
        self.put(index, self.offsets.status, &status.to_le_bytes());
    }

    fn stack(&mut self, index: u64, (lo, hi): (u64, u64), (pc, sp): (u64, u64)) {
        let at = self.offsets;
        if self.memory.read_u64(Self::at(index)).is_err() {
            self.put(index, 0, &vec![0; at.block_len()]);
        }
        for (field, value) in [
            (at.stack_lo, lo),
            (at.stack_hi, hi),
            (at.sched_pc, pc),
            (at.sched_sp, sp),
        ] {
            self.put(index, field, &value.to_le_bytes());
        }
    }

    fn look(&self) -> Result<(Vec<Member>, Coverage), MemoryError> {
        look(&self.memory, usize::MAX)
    }
}

fn runtime(offsets: &GOffsets) -> Runtime<'_> {
    Runtime {
        table: &Table,
        offsets,
        bias: 0,
        allgs: Some(AllGs {
            len_addr: LEN_AT,
            ptr_addr: PTR_AT,
        }),
        semtable: None,
    }
}

fn look(memory: &impl Memory, limit: usize) -> Result<(Vec<Member>, Coverage), MemoryError> {
    let offsets = g_offsets();
    let wanted = CensusOffsets::of(&layout(), 27).unwrap();
    let mut members = Vec::new();
    let coverage = Inspector::new(memory, runtime(&offsets))
        .census(&wanted, limit, |member| members.push(member))?;
    Ok((members, coverage.unwrap()))
}

fn goids(members: &[Member]) -> Vec<u64> {
    members.iter().map(|one| one.goroutine.goid).collect()
}

/// Counts what is read, and may lose the process or move things on the way.
struct Watched<'a, F> {
    inner: &'a RecordedMemory,
    reads: Cell<usize>,
    bytes: Cell<usize>,
    then: F,
}

impl<'a, F: Fn(usize, u64, &mut [u8]) -> Result<(), MemoryError>> Watched<'a, F> {
    fn new(inner: &'a RecordedMemory, then: F) -> Self {
        Self {
            inner,
            reads: Cell::new(0),
            bytes: Cell::new(0),
            then,
        }
    }
}

impl<F: Fn(usize, u64, &mut [u8]) -> Result<(), MemoryError>> Memory for Watched<'_, F> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.set(self.bytes.get() + buf.len());
        let found = self.inner.read(addr, buf);
        (self.then)(self.reads.get(), addr, buf).and(found)
    }
}

#[test]
fn a_forged_process_is_seen_whole() {
    let (members, coverage) = Forged::with(3).look().unwrap();
    assert_eq!(goids(&members), [1, 2, 3]);
    let expected = Coverage {
        alive: 3,
        every: 1,
        ..Coverage::default()
    };
    assert_eq!(coverage, expected);
    assert_eq!(members[0].goroutine.stack, [BODY]);
    assert_eq!(members[0].goroutine.stack_state, StackState::Whole);
}

#[test]
fn a_length_beyond_the_list_is_not_believed() {
    for len in [4, 100_000, u64::MAX] {
        let mut forged = Forged::with(3);
        forged.memory.insert(LEN_AT, &len.to_le_bytes());
        let watched = Watched::new(&forged.memory, |_, _, _| Ok(()));
        let (members, coverage) = look(&watched, usize::MAX).unwrap();
        assert_eq!((goids(&members), coverage.cut), (vec![1, 2, 3], true));
        assert!(watched.bytes.get() < 64 << 20, "{}", watched.bytes.get());
        // What a list that is cut does not name may be there all the same.
        let inspector = Inspector::new(&forged.memory, runtime(&forged.offsets));
        assert_eq!(inspector.inspect(77, None), Inspection::Unknown);
    }
}

#[test]
fn an_empty_list_is_no_list() {
    let mut forged = Forged::with(3);
    forged.memory.insert(LEN_AT, &[0; 8]);
    let (members, coverage) = forged.look().unwrap();
    assert_eq!((members.len(), coverage.cut), (0, true));
    let inspector = Inspector::new(&forged.memory, runtime(&forged.offsets));
    assert_eq!(inspector.inspect(77, None), Inspection::Unknown);
    forged.memory.insert(LEN_AT, &3u64.to_le_bytes());
    forged.memory.insert(PTR_AT, &[0; 8]);
    assert_eq!(forged.look(), Err(MemoryError::Unmapped { addr: 0 }));
}

#[test]
fn what_lies_behind_the_list_is_no_goroutine() {
    const JUNK: u64 = 0x70_0000;
    const JUNK_LEN: usize = 1 << 10;
    for junk in [[0xff; JUNK_LEN], [b'x'; JUNK_LEN]] {
        let mut forged = Forged::with(2);
        forged.memory.insert(JUNK, &junk);
        let addrs = vec![Forged::at(0), JUNK, Forged::at(1), 0, 8];
        forged.list(addrs, 5);
        let (members, coverage) = forged.look().unwrap();
        assert_eq!((goids(&members), coverage.cut), (vec![1, 2], true));
        assert_eq!(coverage.alive, 2);
    }
    // A state that Go has, and no stack.
    let mut forged = Forged::with(2);
    forged.stack(1, (STACKS, STACKS), (BODY, STACKS));
    let (members, coverage) = forged.look().unwrap();
    assert_eq!((goids(&members), coverage.cut), (vec![1], true));
}

#[test]
fn a_stack_on_the_move_is_not_walked() {
    const COPIED: u32 = 8;
    let mut forged = Forged::with(2);
    forged.status(0, COPIED);
    let (members, coverage) = forged.look().unwrap();
    assert_eq!((goids(&members), coverage.torn), (vec![1, 2], 0));
    let copied = &members[0].goroutine;
    assert_eq!(copied.status, Status::CopyStack);
    assert_eq!(
        (&copied.stack, copied.stack_state),
        (&vec![], StackState::None)
    );
}

#[test]
fn a_stack_that_moves_between_two_reads_is_read_again() {
    let forged = Forged::with(1);
    let block = forged.offsets.block_len();
    // Every second read of the struct finds other bounds, as often as that.
    for (moves, seen, torn) in [(1, vec![1], 0), (usize::MAX, vec![], 1)] {
        let of_struct = Cell::new(0);
        let watched = Watched::new(&forged.memory, |_, _, buf| {
            if buf.len() == block {
                of_struct.set(of_struct.get() + 1);
                let looked = of_struct.get() / 2;
                if of_struct.get() % 2 == 1 && (1..=moves).contains(&looked) {
                    buf[1] ^= 0x10;
                }
            }
            Ok(())
        });
        let (members, coverage) = look(&watched, usize::MAX).unwrap();
        assert_eq!((goids(&members), coverage.torn), (seen, torn));
    }
}

#[test]
fn a_process_that_ends_meanwhile_is_said_to_have_ended() {
    let forged = Forged::with(3);
    let all = Watched::new(&forged.memory, |_, _, _| Ok(()));
    look(&all, usize::MAX).unwrap();
    for last in 1..=all.reads.get() {
        let ending = Watched::new(&forged.memory, |reads, _, _| {
            if reads >= last {
                return Err(MemoryError::Gone);
            }
            Ok(())
        });
        assert_eq!(look(&ending, usize::MAX), Err(MemoryError::Gone), "{last}");
    }
}

#[test]
fn of_too_many_evenly_chosen_ones_are_looked_at() {
    let forged = Forged::with(1001);
    let (members, coverage) = look(&forged.memory, 100).unwrap();
    assert_eq!((coverage.alive, coverage.every), (1001, 11));
    let expected: Vec<u64> = (0..=90).map(|nth| nth * 11 + 1).collect();
    assert_eq!(goids(&members), expected);
}

/// A stack of 256 MiB, every word of which leads to another frame.
struct Endless<'a> {
    inner: &'a RecordedMemory,
    pc: u64,
    bytes: Cell<u64>,
}

const ENDLESS: u64 = 1 << 40;
const ENDLESS_LEN: u64 = 256 << 20;

impl Memory for Endless<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let len = u64::try_from(buf.len()).unwrap();
        if addr < ENDLESS {
            return self.inner.read(addr, buf);
        }
        assert!(addr + len <= ENDLESS + ENDLESS_LEN);
        self.bytes.set(self.bytes.get() + len);
        for word in buf.chunks_mut(8) {
            word.copy_from_slice(&self.pc.to_le_bytes()[..word.len()]);
        }
        Ok(())
    }
}

#[test]
fn a_stack_without_end_is_cut_after_a_bounded_read() {
    for (pc, frames) in [(BODY, 512), (WIDE, 1)] {
        let mut forged = Forged::with(1);
        let bounds = (ENDLESS, ENDLESS + ENDLESS_LEN);
        forged.stack(0, bounds, (pc, ENDLESS));
        let endless = Endless {
            inner: &forged.memory,
            pc,
            bytes: Cell::new(0),
        };
        let (members, _) = look(&endless, usize::MAX).unwrap();
        let seen = &members[0].goroutine;
        assert_eq!(
            (seen.stack.len(), seen.stack_state),
            (frames, StackState::Cut)
        );
        assert!(endless.bytes.get() <= 2 << 20, "{}", endless.bytes.get());
    }
}
