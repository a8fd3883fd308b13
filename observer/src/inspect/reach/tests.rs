//! The search for references, through a heap made by hand.

use super::{HeapOffsets, Reach, Roots, Unreferenced, Unsearched};
use crate::go::GoVersion;
use crate::go::layout::Layout;
use crate::inspect::{AllGs, GOffsets, Inspector, Runtime};
use crate::target::RecordedMemory;
use crate::testkit::PartTable;

const LEN_AT: u64 = 0x1000;
const PTR_AT: u64 = 0x1008;
const LIST: u64 = 0x2000;
const VARIABLES: u64 = 0x4000;
const ARENAS: u64 = 0x2_0000;
const SPAN_LIST: u64 = 0x3_0000;
const SPANS: u64 = 0x4_0000;
const SPAN: u64 = 0x200;
const STACKS: u64 = 0x8000_0000;
const STACK: u64 = 0x800;
/// A span of goroutines' structs, one of objects with pointers, and one of objects without.
const STRUCTS: u64 = 0xc0_0000_0000;
const OBJECTS: u64 = 0xc0_0001_0000;
const PLAIN: u64 = 0xc0_0002_0000;
const STRUCT: u64 = 0x400;
const OBJECT: u64 = 0x100;
const PAGE: u64 = 8 << 10;
const RUNNING: u32 = 2;
const WAITING: u32 = 4;
/// The class of spans of several objects with pointers: any size class but 0.
const SMALL: u8 = 2;
/// Why the collector's own goroutines wait here; any other reason is a sleep.
const OF_COLLECTOR: u8 = 7;

/// Nobody walks a stack here.
struct Table;

impl PartTable for Table {
    fn reason(&self, id: u8) -> Option<&str> {
        match id {
            OF_COLLECTOR => Some("GC worker (idle)"),
            _ => Some("sleep"),
        }
    }
}

fn layout() -> Layout {
    Layout::for_version(&GoVersion::parse("go1.27.3").unwrap()).unwrap()
}

/// The object with this number.
const fn object(number: u64) -> u64 {
    OBJECTS + number * OBJECT
}

/// Goroutine 1 runs; goroutine 2 waits on object 0, its sudog being object 1.
struct Forged {
    memory: RecordedMemory,
    goroutines: u64,
    spans: u64,
}

impl Forged {
    fn new() -> Self {
        let mut memory = RecordedMemory::new();
        memory.insert(VARIABLES, &[0; 256]);
        memory.insert(STACKS, &[0; 0x8000]);
        let mut forged = Self {
            memory,
            goroutines: 0,
            spans: 0,
        };
        forged.span(STRUCTS, STRUCT, true, 0);
        forged.span(OBJECTS, OBJECT, true, 0);
        forged.span(PLAIN, OBJECT, false, 0);
        forged.goroutine(RUNNING, 0);
        forged.goroutine(WAITING, object(1));
        let sudog = GOffsets::of(&layout()).unwrap().sudog;
        forged.word(object(1) + u64::from(sudog.g), STRUCTS + STRUCT);
        forged.word(object(1) + u64::from(sudog.channel), object(0));
        forged
    }

    fn word(&mut self, at: u64, word: u64) {
        self.memory.insert(at, &word.to_le_bytes());
    }

    fn span(&mut self, start: u64, size: u64, has_pointers: bool, specials: u64) {
        let field = |name| u64::from(layout().field("runtime.mspan", name).unwrap());
        let at = SPANS + self.spans * SPAN;
        self.memory.insert(at, &[0; 0x200]);
        self.memory.insert(start, &[0; 0x2000]);
        self.word(SPAN_LIST + self.spans * 8, at);
        self.word(at + field("startAddr"), start);
        self.word(at + field("npages"), 1);
        self.word(at + field("elemsize"), size);
        self.word(at + field("specials"), specials);
        self.memory
            .insert(at + field("spanclass"), &[SMALL | u8::from(!has_pointers)]);
        self.memory.insert(at + field("state"), &[1]);
        self.spans += 1;
        let heap = |name| u64::from(layout().field("runtime.mheap", name).unwrap());
        let list = ARENAS
            .wrapping_add(heap("allspans"))
            .wrapping_sub(heap("arenas"));
        self.word(list, SPAN_LIST);
        self.word(list + 8, self.spans);
    }

    fn goroutine(&mut self, status: u32, sudog: u64) {
        let at = GOffsets::of(&layout()).unwrap();
        let g = STRUCTS + self.goroutines * STRUCT;
        let stack = STACKS + self.goroutines * STACK;
        self.word(LIST + self.goroutines * 8, g);
        self.goroutines += 1;
        let fields = [
            (at.stack_lo, stack),
            (at.stack_hi, stack + STACK),
            (at.goid, self.goroutines),
            (at.waiting, sudog),
            (at.sched_pc, 0x40_1000),
            (at.sched_sp, stack + STACK - 0x100),
        ];
        for (field, word) in fields {
            self.word(g + u64::from(field), word);
        }
        self.memory
            .insert(g + u64::from(at.status), &status.to_le_bytes());
        self.word(LEN_AT, self.goroutines);
        self.word(PTR_AT, LIST);
    }

    fn look(&self) -> Result<Reach, Option<Unsearched>> {
        let (layout, table) = (layout(), Table);
        let g = GOffsets::of(&layout).unwrap();
        let runtime = Runtime {
            table: &table,
            offsets: &g,
            bias: 0,
            allgs: Some(AllGs {
                len_addr: LEN_AT,
                ptr_addr: PTR_AT,
            }),
            semtable: None,
        };
        let roots = Roots {
            arenas: ARENAS,
            variables: [
                VARIABLES..VARIABLES + 0x80,
                VARIABLES + 0x80..VARIABLES + 0x100,
            ],
        };
        let offsets = HeapOffsets::of(&layout).unwrap();
        let inspector = Inspector::new(&self.memory, runtime);
        let found = inspector.unreferenced(&offsets, &roots, |_| true);
        found.map_err(|_| None)?.map_err(Some)
    }

    fn waits(&self) -> Vec<Unreferenced> {
        self.look().unwrap().lost
    }

    /// The references that lead to what goroutine 2 waits on; `None` where somebody can wake it.
    fn lost(&self) -> Option<Vec<u64>> {
        let Reach { lost, reached, .. } = self.look().unwrap();
        match lost.as_slice() {
            [] => {
                assert!(reached.contains(&2), "{reached:?}");
                None
            }
            [only] => {
                assert_eq!((only.goid, reached), (2, vec![]));
                Some(only.references.clone())
            }
            more => panic!("{more:?}"),
        }
    }
}

#[test]
fn what_the_runtime_itself_refers_to_wakes_nobody() {
    let mut forged = Forged::new();
    assert_eq!(forged.lost(), Some(vec![]));
    // The list of all goroutines and the sudog's other owners are in the heap, too.
    forged.word(VARIABLES, STRUCTS + STRUCT);
    forged.word(VARIABLES + 8, object(1));
    assert_eq!(forged.lost(), Some(vec![]));
}

#[test]
fn a_way_from_a_variable_or_a_live_stack_is_a_way() {
    let starts = [VARIABLES + 0x10, VARIABLES + 0x90, STACKS + 0x10];
    for start in starts {
        for steps in 0..3 {
            let mut forged = Forged::new();
            let mut at = start;
            for step in 0..steps {
                // Into the middle of objects, as Go's pointers may be.
                forged.word(at, object(10 + step) + 0x20);
                at = object(10 + step) + 0x40;
            }
            forged.word(at, object(0) + 0x8);
            assert_eq!(forged.lost(), None, "{start:#x} in {steps} steps");
        }
    }
}

/// The end of a stack is the address of what comes next.
#[test]
fn where_a_stack_ends_refers_to_nothing() {
    const MANUAL: u8 = 2;
    let field = |name| u64::from(layout().field("runtime.mspan", name).unwrap());
    // Just below the objects, of which the first is what goroutine 2 waits on.
    let stack = OBJECTS - PAGE;
    let bounds = |forged: &mut Forged, at: u64, lower: u64| {
        forged.word(at, lower);
        forged.word(at + 8, object(0));
    };
    for manual in [false, true] {
        let mut forged = Forged::new();
        forged.span(stack, PAGE, true, 0);
        if manual {
            let last = SPANS + (forged.spans - 1) * SPAN;
            forged.memory.insert(last + field("state"), &[MANUAL]);
        }
        // A thread's own goroutine, which is on no list.
        forged.word(VARIABLES, object(10));
        bounds(&mut forged, object(10), stack);
        assert_eq!(forged.lost().is_some(), manual);
        // Other words beside it are an address as any other.
        forged.word(VARIABLES + 0x10, object(11));
        bounds(&mut forged, object(11), stack - 1);
        assert_eq!(forged.lost(), None);
        // So is what a stack has beside an address of its own.
        forged.word(object(11) + 8, 0);
        assert_eq!(forged.lost().is_some(), manual);
        forged.goroutine(RUNNING, 0);
        let at = GOffsets::of(&layout()).unwrap();
        let g = STRUCTS + (forged.goroutines - 1) * STRUCT;
        forged.word(g + u64::from(at.stack_lo), stack);
        forged.word(g + u64::from(at.stack_hi), stack + PAGE);
        forged.word(g + u64::from(at.sched_sp), stack + 0x100);
        assert_eq!(forged.lost().is_some(), manual);
        bounds(&mut forged, stack + 0x800, stack + 0x900);
        assert_eq!(forged.lost(), None);
    }
}

/// What a processor keeps of its write barrier is as the last collection has left it.
#[test]
fn buffers_of_write_barriers_refer_to_nothing() {
    for (words, is_buffer) in [(256, true), (512, true), (255, false), (513, false)] {
        let mut forged = Forged::new();
        let span = 0xc0_0003_0000;
        forged.span(span, PAGE, true, 0);
        forged.word(VARIABLES, span);
        let buffer = span + 0x100;
        let end = buffer + words * 8;
        forged.word(buffer - 16, buffer);
        forged.word(buffer - 8, end);
        forged.word(buffer + 8, object(0));
        forged.word(end - 8, object(0));
        let found = forged.lost();
        assert_eq!(found.is_some(), is_buffer, "{words}");
        forged.word(end, object(0));
        assert_eq!(forged.lost(), None);
    }
}

/// What lies on the stack of a collector's worker, others may have left there.
#[test]
fn the_runtimes_own_goroutines_wake_nobody_while_they_wait() {
    let at = GOffsets::of(&layout()).unwrap();
    let g = STRUCTS + 2 * STRUCT;
    for (reason, status, wakes) in [
        (OF_COLLECTOR, WAITING, false),
        (OF_COLLECTOR, RUNNING, true),
        (0, WAITING, true),
    ] {
        let mut forged = Forged::new();
        forged.goroutine(status, 0);
        forged
            .memory
            .insert(g + u64::from(at.wait_reason), &[reason]);
        forged.word(STACKS + 3 * STACK - 0x20, object(0));
        assert_eq!(forged.lost().is_none(), wakes, "{reason} {status}");
    }
}

/// A heap with a type of four words, of which the second and the third are pointers.
struct Typed {
    forged: Forged,
    named: u64,
    mask: u64,
}

impl Typed {
    const SIZE: u64 = 4 * 8;

    fn new() -> Self {
        let (named, mask) = (0x6_0000, 0x6_1000);
        let mut forged = Forged::new();
        forged.memory.insert(named, &[0; 0x40]);
        forged.memory.insert(mask, &[0b1110, 0, 0, 0, 0, 0, 0, 0]);
        let mut typed = Self {
            forged,
            named,
            mask,
        };
        typed.field("Size_", &Self::SIZE.to_le_bytes());
        typed.field("PtrBytes", &(3u64 * 8).to_le_bytes());
        typed.field("GCData", &mask.to_le_bytes());
        typed
    }

    fn field(&mut self, name: &str, bytes: &[u8]) {
        let at = layout().field("internal/abi.Type", name).unwrap();
        self.forged.memory.insert(self.named + u64::from(at), bytes);
    }

    /// Whether a word of the second value in an object that a variable holds, with its type in front, is a reference.
    fn refers(&mut self, span: u64, word: u64) -> bool {
        let at = span + 8 + Self::SIZE + word * 8;
        self.forged.word(at, object(0));
        let refers = self.forged.lost().is_none();
        self.forged.word(at, 0);
        refers
    }
}

#[test]
fn large_objects_refer_to_what_their_types_say() {
    const ON_DEMAND: u8 = 1 << 4;
    const PROGRAM: u8 = 1 << 6;
    let span = 0xc0_0003_0000;
    let mut typed = Typed::new();
    typed.forged.span(span, 0x400, true, 0);
    typed.forged.word(VARIABLES, span + 0x20);
    typed.forged.word(span, typed.named);
    // The mask has a bit for the last word, too, where that type has no pointers any more.
    let told = [0, 1, 2, 3].map(|word| typed.refers(span, word));
    assert_eq!(told, [false, true, true, false]);
    // Without a type, or with one that says nothing, all of it may be.
    let all = |typed: &mut Typed| [0, 1, 2, 3].map(|word| typed.refers(span, word)) == [true; 4];
    typed.forged.word(span, 0);
    assert!(all(&mut typed));
    typed.forged.word(span, 0x7777_0000);
    assert!(all(&mut typed));
    typed.forged.word(span, typed.named);
    typed.field("Size_", &0x1000u64.to_le_bytes());
    assert!(all(&mut typed), "larger than the object");
    typed.field("Size_", &Typed::SIZE.to_le_bytes());
    typed.field("Kind_", &[PROGRAM]);
    assert!(all(&mut typed));
    typed.field("Kind_", &[0]);
    // A mask that is made when it is asked for.
    typed.field("TFlag", &[ON_DEMAND]);
    let made = 0x6_2000;
    typed.forged.word(made, 0);
    typed.field("GCData", &made.to_le_bytes());
    assert!(all(&mut typed), "not made yet");
    typed.forged.word(made, typed.mask);
    assert!(!typed.refers(span, 0) && typed.refers(span, 1));
}

#[test]
fn the_only_object_of_a_span_has_its_type_there() {
    let span = 0xc0_0003_0000;
    let mut typed = Typed::new();
    typed.forged.span(span, PAGE, true, 0);
    let at = SPANS + (typed.forged.spans - 1) * SPAN;
    let field = |name| u64::from(layout().field("runtime.mspan", name).unwrap());
    typed.forged.memory.insert(at + field("spanclass"), &[0]);
    typed.forged.word(VARIABLES, span + 0x20);
    let told = [0, 1, 2].map(|word| typed.refers(span - 8, word));
    assert_eq!(told, [true; 3], "not known yet");
    typed.forged.word(at + field("largeType"), typed.named);
    let told = [0, 1, 2, 3].map(|word| typed.refers(span - 8, word));
    assert_eq!(told, [false, true, true, false]);
}

#[test]
fn what_cannot_be_got_at_itself_is_no_way_and_is_told() {
    let mut forged = Forged::new();
    forged.word(object(10) + 0x18, object(0));
    forged.word(object(11) + 0x28, object(10));
    assert_eq!(
        forged.lost(),
        Some(vec![object(10) + 0x18, object(11) + 0x28])
    );
    // Its own stack, what is behind a stack's end, and what holds no pointers.
    forged.word(STACKS + STACK + STACK - 0x10, object(0));
    forged.word(STACKS + 2 * STACK + 0x10, object(0));
    forged.word(VARIABLES, PLAIN);
    forged.word(PLAIN + 8, object(0));
    assert!(forged.lost().is_some());
}

#[test]
fn who_can_be_woken_can_wake_others() {
    // Goroutine 3 waits on object 2, which a variable holds; its stack has what goroutine 2 waits for.
    let mut forged = Forged::new();
    forged.goroutine(WAITING, object(3));
    let sudog = GOffsets::of(&layout()).unwrap().sudog;
    forged.word(object(3) + u64::from(sudog.g), STRUCTS + 2 * STRUCT);
    forged.word(object(3) + u64::from(sudog.channel), object(2));
    forged.word(STACKS + 3 * STACK - 0x20, object(0));
    assert_eq!(forged.waits().len(), 2);
    forged.word(VARIABLES, object(2));
    assert_eq!(forged.lost(), None);
}

/// Whose references were not looked for is not told, since no reference confirms any later look.
#[test]
fn no_more_are_told_than_are_looked_at_closely() {
    let mut forged = Forged::new();
    let sudog = GOffsets::of(&layout()).unwrap().sudog;
    // All of them wait on object 0, to which an object leads that nobody can get at.
    forged.word(object(10) + 0x18, object(0));
    for number in 2..7 {
        forged.goroutine(WAITING, object(1 + number));
        let own = object(1 + number);
        forged.word(own + u64::from(sudog.g), STRUCTS + number * STRUCT);
        forged.word(own + u64::from(sudog.channel), object(0));
    }
    let Reach {
        lost,
        beyond,
        reached,
    } = forged.look().unwrap();
    assert_eq!((lost.len(), beyond), (super::MAX_TOLD, 2));
    assert!(reached.is_empty(), "{reached:?}");
    assert!(lost.iter().all(|one| one.references == [object(10) + 0x18]));
}

/// A finalizer may wake somebody.
#[test]
fn what_has_a_finalizer_is_a_way() {
    const SPECIAL: u64 = 0x5_0000;
    const SPAN_WITH: u64 = 0xc0_0003_0000;
    let special = |name| u64::from(layout().field("runtime.special", name).unwrap());
    let mut forged = Forged::new();
    forged.memory.insert(SPECIAL, &[0; 0x80]);
    forged.word(SPECIAL + special("offset"), 2 * OBJECT);
    forged.span(SPAN_WITH, OBJECT, true, SPECIAL);
    forged.word(SPAN_WITH + OBJECT + 8, object(0));
    assert!(forged.lost().is_some(), "that object has none");
    forged.word(SPAN_WITH + 2 * OBJECT + 8, object(0));
    assert_eq!(forged.lost(), None);
    // One whose notes go round and round is not looked through for ever.
    forged.word(SPECIAL + special("next"), SPECIAL);
    assert_eq!(forged.look(), Err(Some(Unsearched::TooMuch)));
}

#[test]
fn a_heap_that_cannot_be_is_not_believed() {
    let field = |name| u64::from(layout().field("runtime.mspan", name).unwrap());
    // Spans that overlap.
    let mut forged = Forged::new();
    forged.span(OBJECTS + OBJECT, OBJECT, true, 0);
    assert_eq!(forged.look(), Err(Some(Unsearched::Unclear)));
    // More objects than are looked through.
    let mut forged = Forged::new();
    forged.word(SPANS + 2 * SPAN + field("npages"), (65 << 20) / PAGE);
    assert!(forged.look().is_ok(), "those have no pointers");
    forged.word(SPANS + SPAN + field("startAddr"), 0xd0_0000_0000);
    forged.word(SPANS + SPAN + field("npages"), (65 << 20) / PAGE);
    assert_eq!(forged.look(), Err(Some(Unsearched::TooMuch)));
    // A list of spans of no length, and one that is too long.
    for (count, why) in [(0, Unsearched::Unclear), (u64::MAX, Unsearched::TooMuch)] {
        let mut forged = Forged::new();
        let heap = |name| u64::from(layout().field("runtime.mheap", name).unwrap());
        let list = ARENAS
            .wrapping_add(heap("allspans"))
            .wrapping_sub(heap("arenas"));
        forged.word(list + 8, count);
        assert_eq!(forged.look(), Err(Some(why)));
    }
    // A span that is there and is not.
    let mut forged = Forged::new();
    forged.word(SPANS + SPAN + field("startAddr"), 0xe0_0000_0000);
    forged.word(VARIABLES, 0xe0_0000_0000);
    assert_eq!(forged.look(), Err(None));
}

#[test]
fn another_wait_or_a_new_reference_confirms_nothing() {
    let then = Unreferenced::of(7, 0x100, &[1, 2, 3]);
    let now = |sudog, references: &[u64]| Unreferenced::of(7, sudog, references);
    assert!(now(0x100, &[1, 2, 3]).is_confirmed_by(&then));
    assert!(now(0x100, &[2]).is_confirmed_by(&then), "garbage goes");
    assert!(!now(0x100, &[1, 4]).is_confirmed_by(&then));
    assert!(!now(0x108, &[1]).is_confirmed_by(&then));
    assert!(!Unreferenced::of(8, 0x100, &[1]).is_confirmed_by(&then));
    let stopped = Unreferenced {
        stops: 1,
        ..now(0x100, &[1])
    };
    assert!(!stopped.is_confirmed_by(&then));
}
