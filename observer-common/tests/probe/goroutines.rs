//! Goroutines that begin and end: both sites run on the thread's own stack.

use observer_common::event::{GoroutineCreated, GoroutineEnded, Kind};
use observer_common::layout::Layout;
use observer_common::probe::Skip;
use observer_common::probe::goroutine::{Birth, created, creator, ended, ending, made, statement};
use observer_common::regs::RegisterSet;

use super::memory::{
    GOID, HEAP, Memory, PARENT_GOID, PARENT_WORDS, STACK, function, inside, layout, record,
};

/// The new goroutine's descriptor.
const NEW: u64 = HEAP;
/// The thread's own goroutine, and the thread.
const G0: u64 = HEAP + 0x1000;
const M: u64 = HEAP + 0x2000;
/// Stack of the thread, above that of the goroutine as it is for threads of the runtime.
const THREAD: u64 = STACK + 0x10_000;
const NEW_GOID: u64 = 99;

/// Offsets of Go 1.27.
fn of_goroutines() -> Layout {
    let mut spawn_drop = layout().spawn_drop;
    spawn_drop[0] = function(9);
    Layout {
        g_gopc: 288,
        g_startpc: 304,
        g_m: 48,
        m_curg: 184,
        spawn_drop,
        ..layout()
    }
}

/// Up to Go 1.20.
fn without_parents() -> Layout {
    Layout {
        g_parent_words: 0,
        ..of_goroutines()
    }
}

/// A `go` statement at `gopc` in a function that `inside(5)` called: `newproc.func1` is about to queue what it made.
fn queueing(gopc: u64) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let mut words = [0u64; 50];
    words[19] = NEW_GOID;
    words[19 + PARENT_WORDS as usize] = PARENT_GOID;
    words[36] = gopc;
    words[38] = function(3).start;
    memory.words(NEW, &words);
    let mut g0 = [0u64; 10];
    g0[6] = M;
    memory.words(G0, &g0);
    let mut thread = [0u64; 30];
    thread[23] = super::memory::G;
    memory.words(M, &thread);
    // newproc.func1 and systemstack on the thread's stack, then newproc and its callers on the goroutine's.
    memory.words(THREAD, &[THREAD + 64, inside(1)]);
    memory.words(THREAD + 64, &[STACK, inside(2)]);
    memory.words(STACK, &[STACK + 64, gopc]);
    memory.words(STACK + 64, &[0, inside(5)]);
    let mut regs = RegisterSet {
        g: G0,
        sp: THREAD - 32,
        bp: THREAD,
        ..RegisterSet::default()
    };
    regs.args[..2].copy_from_slice(&[HEAP + 0x3000, NEW]);
    (memory, regs)
}

#[test]
fn a_goroutine_is_told_with_its_statement_and_who_made_it() {
    let gopc = inside(4);
    let (memory, regs) = queueing(gopc);
    let layout = of_goroutines();
    assert_eq!(creator(&memory, &layout, &regs), Ok(PARENT_GOID));
    assert_eq!(statement(&memory, &layout, &regs), Ok(Some(gopc)));
    assert_eq!(made(&memory, &layout, &regs), Ok(NEW_GOID));
    let birth = Birth {
        goid: NEW_GOID,
        creator: PARENT_GOID,
        gopc,
    };
    let mut event: GoroutineCreated = record();
    let partial = created(&memory, &layout, &regs, birth, &mut event);
    assert_eq!(partial, Ok(false));
    assert_eq!(event.header.kind, Kind::GoroutineCreated as u8);
    let header = &event.header;
    assert_eq!(
        (header.goid, header.parent_goid, header.g),
        (NEW_GOID, PARENT_GOID, NEW)
    );
    assert_eq!((event.gopc, event.startpc), (gopc, function(3).start));
    assert_eq!(
        (event.frames, &event.pcs[..4]),
        (4, &[inside(1), inside(2), gopc, inside(5)][..]),
        "the walk goes on from the thread's stack to the goroutine's"
    );
}

#[test]
fn before_go_1_21_the_thread_says_who_made_it() {
    let (mut memory, regs) = queueing(inside(4));
    let layout = without_parents();
    assert_eq!(creator(&memory, &layout, &regs), Ok(GOID));
    memory.words(M, &[0; 30]);
    assert_eq!(creator(&memory, &layout, &regs), Ok(0), "a timer's");
    memory.cut(M);
    assert_eq!(creator(&memory, &layout, &regs), Err(Skip::Goroutine));
}

#[test]
fn what_serves_everybody_is_not_followed() {
    let (memory, regs) = queueing(inside(9));
    assert_eq!(statement(&memory, &of_goroutines(), &regs), Ok(None));
}

#[test]
fn an_end_names_the_goroutine_and_not_the_threads_own() {
    let (memory, mut regs) = queueing(inside(4));
    regs.args[0] = NEW;
    assert_eq!(ending(&memory, &of_goroutines(), &regs), Ok(NEW_GOID));
    let mut event: GoroutineEnded = record();
    ended(&regs, NEW_GOID, &mut event);
    assert_eq!(event.header.kind, Kind::GoroutineEnded as u8);
    assert_eq!((event.header.goid, event.header.g), (NEW_GOID, NEW));
}

#[test]
fn what_cannot_be_read_is_lost() {
    let (mut memory, regs) = queueing(inside(4));
    memory.cut(NEW);
    let layout = of_goroutines();
    assert_eq!(creator(&memory, &layout, &regs), Err(Skip::Goroutine));
    assert_eq!(statement(&memory, &layout, &regs), Err(Skip::Goroutine));
    assert_eq!(made(&memory, &layout, &regs), Err(Skip::Goroutine));
    let birth = Birth {
        goid: NEW_GOID,
        creator: PARENT_GOID,
        gopc: inside(4),
    };
    let mut event: GoroutineCreated = record();
    let lost = created(&memory, &layout, &regs, birth, &mut event);
    assert_eq!(lost, Err(Skip::Goroutine));
}

#[test]
fn a_stack_that_is_cut_off_says_so_and_one_that_turns_back_ends() {
    let (mut memory, regs) = queueing(inside(4));
    let birth = Birth {
        goid: NEW_GOID,
        creator: PARENT_GOID,
        gopc: inside(4),
    };
    memory.words(STACK + 64, &[STACK + 32, inside(5)]);
    memory.words(STACK + 32, &[STACK, inside(6)]);
    let mut event: GoroutineCreated = record();
    let partial = created(&memory, &of_goroutines(), &regs, birth, &mut event);
    assert_eq!((partial, event.frames), (Ok(false), 4));
    memory.cut(STACK);
    let partial = created(&memory, &of_goroutines(), &regs, birth, &mut event);
    assert_eq!((partial, event.frames), (Ok(true), 2));
}
