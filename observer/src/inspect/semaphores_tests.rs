//! The table of semaphores, made by hand.

use std::cell::Cell;

use super::{AllGs, CensusOffsets, GOffsets, Inspector, QueueOffsets, Runtime, SemTable};
use crate::go::GoVersion;
use crate::go::image::StackStep;
use crate::go::layout::Layout;
use crate::target::{Memory, MemoryError, RecordedMemory};
use crate::testkit::PartTable;

const LEN_AT: u64 = 0x1000;
const PTR_AT: u64 = 0x1008;
const LIST: u64 = 0x2000;
const ROOTS: u64 = 251;
const ROOT_LEN: u64 = 64;
const TABLE: u64 = 0x1_0000;
const STRUCTS: u64 = 0x10_0000;
const STRUCT: u64 = 0x400;
const STACKS: u64 = 0x8000_0000;
const STACK: u64 = 0x800;
const SUDOGS: u64 = 0xc0_0000_0000;
const SUDOG: u64 = 0x80;
/// Two that are found under one root, and a third.
const LOCK: u64 = 0xc0_0010_0004;
const SAME_ROOT: u64 = LOCK + ROOTS * 8;
const OTHER: u64 = LOCK + 8;
/// The end of every stack.
const TOP: u64 = 0x40_2000;
/// Reasons of waits, by the numbers that this test gives them.
const REASONS: [&str; 3] = ["sync.Mutex.Lock", "sync.Cond.Wait", "semacquire"];

struct Table;

impl PartTable for Table {
    fn step(&self, pc: u64) -> Option<StackStep> {
        (pc == TOP).then_some(StackStep {
            sp_delta: 0,
            top: true,
            writes_sp: false,
        })
    }

    fn reason(&self, id: u8) -> Option<&str> {
        REASONS.get(usize::from(id)).copied()
    }
}

fn layout(go: &str) -> Layout {
    Layout::for_version(&GoVersion::parse(go).unwrap()).unwrap()
}

fn offsets() -> GOffsets {
    GOffsets::of(&layout("go1.24.11")).unwrap()
}

fn queue() -> QueueOffsets {
    offsets().sudog.queue.unwrap()
}

/// The goroutine with this number.
const fn g(number: u64) -> u64 {
    STRUCTS + number * STRUCT
}

/// The sudog with this number.
const fn sudog(number: u64) -> u64 {
    SUDOGS + number * SUDOG
}

/// So many goroutines that wait for a mutex, goroutine `n` at sudog `n`, which the table does not have yet.
struct Forged(RecordedMemory);

impl Forged {
    fn with(count: u64) -> Self {
        let mut forged = Self(RecordedMemory::new());
        let len = usize::try_from(ROOTS * ROOT_LEN).unwrap();
        forged.0.insert(TABLE, &vec![0; len]);
        forged.word(LEN_AT, count);
        forged.word(PTR_AT, LIST);
        let at = offsets();
        for number in 0..count {
            let hi = STACKS + (number + 1) * STACK;
            forged.word(LIST + number * 8, g(number));
            forged.0.insert(g(number), &vec![0; at.block_len()]);
            forged.0.insert(sudog(number), &[0; 0x80]);
            forged.0.insert(hi - 8, &[0; 8]);
            let fields = [
                (at.stack_lo, hi - STACK),
                (at.stack_hi, hi),
                (at.sched_pc, TOP),
                (at.sched_sp, hi - 8),
                (at.goid, number),
                (at.status, 4),
            ];
            for (field, word) in fields {
                forged.word(g(number) + u64::from(field), word);
            }
        }
        forged
    }

    fn word(&mut self, at: u64, word: u64) {
        self.0.insert(at, &word.to_le_bytes());
    }

    /// This sudog is at the top of the tree of what a semaphore belongs to.
    fn top(&mut self, number: u64, semaphore: u64) {
        let root = TABLE + (semaphore >> 3) % ROOTS * ROOT_LEN;
        self.word(root + u64::from(queue().treap), sudog(number));
        self.queued(number, semaphore);
    }

    fn queued(&mut self, number: u64, semaphore: u64) {
        let at = sudog(number) + u64::from(offsets().sudog.g);
        self.word(at, g(number));
        self.field(number, queue().semaphore, semaphore);
    }

    fn field(&mut self, number: u64, field: u32, word: u64) {
        self.word(sudog(number) + u64::from(field), word);
    }

    fn waits_for(&mut self, number: u64, reason: u8) {
        let at = g(number) + u64::from(offsets().wait_reason);
        self.0.insert(at, &[reason]);
    }

    fn locks(&self) -> Vec<Option<u64>> {
        locks(&self.0).unwrap()
    }
}

/// What each goroutine waits for, in their order.
fn locks(memory: &impl Memory) -> Result<Vec<Option<u64>>, MemoryError> {
    let offsets = offsets();
    let runtime = Runtime {
        table: &Table,
        offsets: &offsets,
        bias: 0,
        allgs: Some(AllGs {
            len_addr: LEN_AT,
            ptr_addr: PTR_AT,
        }),
        semtable: Some(SemTable {
            addr: TABLE,
            roots: ROOTS,
            root_len: ROOT_LEN,
        }),
    };
    let wanted = CensusOffsets::of(&layout("go1.24.11"), 24).unwrap();
    let mut found = Vec::new();
    Inspector::new(memory, runtime)
        .census(&wanted, usize::MAX, |member| found.push(member.semaphore))?;
    Ok(found)
}

/// Counts what is read of sudogs, and may change what any read finds.
struct Watched<'a, F> {
    inner: &'a RecordedMemory,
    sudogs: Cell<usize>,
    then: F,
}

impl<'a, F: Fn(u64, &mut [u8])> Watched<'a, F> {
    fn new(inner: &'a RecordedMemory, then: F) -> Self {
        Self {
            inner,
            sudogs: Cell::new(0),
            then,
        }
    }
}

impl<F: Fn(u64, &mut [u8])> Memory for Watched<'_, F> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        if addr >= SUDOGS {
            self.sudogs.set(self.sudogs.get() + 1);
        }
        self.inner.read(addr, buf)?;
        (self.then)(addr, buf);
        Ok(())
    }
}

#[test]
fn the_table_is_asked_where_goroutines_do_not_name_a_semaphore() {
    for minor in 18..=27 {
        let at = GOffsets::of(&layout(&format!("go1.{minor}.1")))
            .unwrap()
            .sudog;
        assert_eq!(at.queue.is_some(), minor <= 25, "1.{minor}");
        assert_eq!(at.semaphore.is_none(), minor <= 25, "1.{minor}");
    }
}

#[test]
fn who_waits_for_what_is_read_off_trees_and_lists() {
    let mut forged = Forged::with(6);
    assert_eq!(forged.locks(), [None; 6]);
    forged.top(0, LOCK);
    // Behind it one that waits for the same, and one behind that; a higher address, and a lower one.
    forged.field(0, offsets().sudog.waitlink, sudog(1));
    forged.queued(1, LOCK);
    forged.field(1, offsets().sudog.waitlink, sudog(2));
    forged.queued(2, LOCK);
    forged.field(0, queue().next, sudog(3));
    forged.queued(3, SAME_ROOT);
    forged.field(3, queue().prev, sudog(4));
    forged.queued(4, SAME_ROOT - 2 * ROOTS * 8);
    forged.top(5, OTHER);
    let expected = [LOCK, LOCK, LOCK, SAME_ROOT, LOCK - ROOTS * 8, OTHER];
    assert_eq!(forged.locks(), expected.map(Some));
}

#[test]
fn only_who_waits_for_a_semaphore_without_naming_it_is_said_to() {
    let mut forged = Forged::with(3);
    for number in 0..3 {
        forged.top(number, LOCK + number * 8);
        forged.waits_for(number, 2);
    }
    assert_eq!(forged.locks(), [LOCK, LOCK + 8, LOCK + 16].map(Some));
    forged.waits_for(0, 1);
    let status = u64::from(offsets().status);
    forged.0.insert(g(1) + status, &1u32.to_le_bytes());
    assert_eq!(forged.locks(), [None, None, Some(LOCK + 16)]);
    // Where nobody waits so, nothing of the table is read.
    forged.waits_for(2, 1);
    let watched = Watched::new(&forged.0, |_, _| ());
    assert_eq!(locks(&watched), Ok(vec![None; 3]));
    assert_eq!(watched.sudogs.get(), 0);
}

#[test]
fn a_sudog_that_cannot_stand_there_says_nothing_and_leads_nowhere() {
    let channel = offsets().sudog.channel;
    // It was let go; is another root's; waits on a channel.
    for (field, word) in [
        (queue().semaphore, 0),
        (queue().semaphore, OTHER),
        (channel, LOCK),
    ] {
        let mut forged = Forged::with(2);
        forged.top(0, LOCK);
        forged.field(0, queue().next, sudog(1));
        forged.queued(1, SAME_ROOT);
        assert_eq!(forged.locks(), [LOCK, SAME_ROOT].map(Some));
        forged.field(0, field, word);
        assert_eq!(forged.locks(), [None, None], "{field} {word:x}");
    }
    // It is not there; the other root's is.
    let mut forged = Forged::with(2);
    forged.top(0, LOCK);
    forged.field(0, queue().prev, 8);
    forged.field(0, queue().next, u64::MAX);
    forged.top(1, OTHER);
    assert_eq!(forged.locks(), [LOCK, OTHER].map(Some));
    // Two name one goroutine.
    forged.word(sudog(1) + u64::from(offsets().sudog.g), g(0));
    assert_eq!(forged.locks(), [None, None]);
}

#[test]
fn a_tree_that_goes_round_or_on_for_ever_comes_to_an_end() {
    let mut forged = Forged::with(2);
    forged.top(0, LOCK);
    forged.field(0, queue().prev, sudog(1));
    forged.queued(1, SAME_ROOT);
    for link in [queue().prev, queue().next, offsets().sudog.waitlink] {
        forged.field(1, link, sudog(0));
    }
    let watched = Watched::new(&forged.0, |_, _| ());
    assert_eq!(locks(&watched), Ok(vec![Some(LOCK), Some(SAME_ROOT)]));
    assert_eq!(watched.sudogs.get(), 2);
    // Every one leads to two more.
    let mut forged = Forged::with(1);
    forged.top(0, LOCK);
    forged.0.insert(sudog(1), &[0; 0x10_0000]);
    let at = queue();
    let watched = Watched::new(&forged.0, |addr, buf| {
        if addr >= SUDOGS {
            let number = (addr - SUDOGS) / SUDOG;
            let links = [(at.prev, 2 * number + 1), (at.next, 2 * number + 2)];
            let links = links.map(|(field, to)| (field, sudog(to % 4096)));
            for (field, word) in links.into_iter().chain([(at.semaphore, LOCK)]) {
                let field = usize::try_from(field).unwrap();
                buf[field..field + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
    });
    assert_eq!(locks(&watched), Ok(vec![Some(LOCK)]));
    assert_eq!(watched.sudogs.get(), 64);
}

/// It may wait for another lock by now, at a sudog that was not read.
#[test]
fn who_has_stopped_since_waits_for_nothing_known() {
    let mut forged = Forged::with(1);
    forged.top(0, LOCK);
    let stops = usize::try_from(offsets().stops.unwrap()).unwrap();
    for (since, expected) in [(0, Some(LOCK)), (1, None)] {
        let read = Cell::new(false);
        let watched = Watched::new(&forged.0, |addr, buf| {
            if addr == g(0) && read.get() {
                buf[stops] += since;
            }
            read.set(read.get() || addr >= SUDOGS);
        });
        assert_eq!(locks(&watched), Ok(vec![expected]));
    }
}
