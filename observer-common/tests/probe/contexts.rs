//! Creation, end and wished deadline of contexts.

use observer_common::event::{
    CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, DeadlineAsked, Kind,
};
use observer_common::layout::{ENABLED, Layout, TIMER_BY_POINTER};
use observer_common::probe::Skip;
use observer_common::probe::context::{
    Detail, cancel_detail, cancelled, cancelled_short, create_detail, created, created_short,
    deadline_asked,
};
use observer_common::regs::{JBE_FLAGS, RegisterSet, Registers};

use super::memory::{
    G, GOID, HEAP, Memory, PARENT_GOID, function, inside, layout, link, record, stack,
};

const DROP: u64 = 1;
const SHORT: u64 = 2;
const SERVE: u64 = 3;
const CANCEL: u64 = 4;
const READ_LOOP: u64 = 5;
const AFTER_FUNC: u64 = 6;
const USER: u64 = 9;
const STOP: u64 = 11;

const PARENT_ITAB: u64 = 0x51_1000;
const CHILD_ITAB: u64 = 0x51_2000;
const PARENT: u64 = HEAP;
const CHILD: u64 = HEAP + 0x100;
const ERR: u64 = HEAP + 0x200;

fn ranges() -> Layout {
    let mut layout = layout();
    layout.create_drop[3] = function(DROP);
    layout.create_short[0] = function(SHORT);
    layout.cancel_end[2] = function(SERVE);
    layout.cancel_self = function(CANCEL);
    layout.cancel_short[0] = function(READ_LOOP);
    layout.cancel_short[2] = function(STOP);
    layout.after_func = function(AFTER_FUNC);
    layout
}

/// A creation with this stack; parent is a child of a context without fields.
fn creation(pcs: &[u64]) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, pcs);
    memory.words(PARENT, &[0x51_0000, 8]);
    let mut child = [0u64; 13];
    child[11] = 0x8000_0000_1234_5678;
    child[12] = 99;
    memory.words(CHILD, &child);
    regs.args = [CHILD, PARENT_ITAB, PARENT, CHILD_ITAB, CHILD, 0, 0, 0, 0];
    (memory, regs)
}

/// The full record, as the probe fills it: after a look at the caller.
fn full(
    memory: &Memory,
    layout: &Layout,
    regs: &RegisterSet,
    event: &mut ContextCreated,
) -> Result<bool, Skip> {
    let (detail, outer) = create_detail(memory, layout, regs);
    assert_eq!(detail, Detail::Full);
    created(memory, layout, regs, outer, event)
}

#[test]
fn a_creation_is_told_with_chain_stack_and_deadline() {
    let pcs = [inside(7), inside(8), inside(USER)];
    let (memory, regs) = creation(&pcs);
    assert_eq!(create_detail(&memory, &ranges(), &regs).0, Detail::Full);
    let mut event: ContextCreated = record();
    assert_eq!(full(&memory, &ranges(), &regs, &mut event), Ok(false));
    assert_eq!(event.header.kind, Kind::ContextCreated as u8);
    assert_eq!(event.header.goid, GOID);
    assert_eq!(event.header.parent_goid, PARENT_GOID);
    assert_eq!(event.header.g, G);
    assert_eq!(event.child, link(CHILD_ITAB, CHILD));
    assert_eq!(event.indirect, 0);
    assert_eq!(event.deadline, [0x8000_0000_1234_5678, 99]);
    assert_eq!(&event.pcs[..event.frames as usize], pcs);
    assert_eq!(
        &event.chain[..event.links as usize],
        [link(PARENT_ITAB, PARENT), link(0x51_0000, 8)]
    );
}

#[test]
fn of_after_func_the_chain_is_told_and_who_asks() {
    let pcs = [
        inside(AFTER_FUNC),
        inside(7),
        inside(8),
        inside(USER),
        inside(10),
    ];
    let (memory, regs) = creation(&pcs);
    let mut event: ContextCreated = record();
    assert_eq!(full(&memory, &ranges(), &regs, &mut event), Ok(false));
    assert_eq!(&event.pcs[..event.frames as usize], &pcs[..3]);
    assert_eq!(
        &event.chain[..event.links as usize],
        [link(PARENT_ITAB, PARENT), link(0x51_0000, 8)]
    );
}

#[test]
fn up_to_1_20_the_function_takes_parent_and_child_only() {
    let (mut memory, mut regs) = creation(&[inside(7), inside(USER)]);
    regs.args = [PARENT_ITAB, PARENT, CHILD_ITAB, CHILD, 0, 0, 0, 0, 0];
    let mut old = ranges();
    old.flags = ENABLED | TIMER_BY_POINTER;
    old.ctx_deadline = 16;
    let inner = HEAP + 0x180;
    memory.words(CHILD, &[inner, 0, 5, 6]);
    let mut event: ContextCreated = record();
    full(&memory, &old, &regs, &mut event).unwrap();
    assert_eq!(event.child, link(CHILD_ITAB, CHILD));
    assert_eq!(event.chain[0], link(PARENT_ITAB, PARENT));
    assert_eq!(event.indirect, inner);
    assert_eq!(event.deadline, [5, 6]);
    // The method's registers would have named another parent.
    old.flags = ENABLED;
    full(&memory, &old, &regs, &mut event).unwrap();
    assert_eq!(event.indirect, 0);
}

#[test]
fn a_deadline_that_cannot_be_read_is_none() {
    let (mut memory, regs) = creation(&[inside(7), inside(USER)]);
    memory.cut(CHILD + 88);
    let mut event: ContextCreated = record();
    assert_eq!(full(&memory, &ranges(), &regs, &mut event), Ok(false));
    assert_eq!(event.deadline, [0, 0]);
}

#[test]
fn callers_of_our_own_knowledge_are_dropped_or_told_short() {
    // The caller is one frame up: the constructor lies between.
    let (memory, regs) = creation(&[inside(7), inside(DROP), inside(USER)]);
    assert_eq!(create_detail(&memory, &ranges(), &regs).0, Detail::None);
    let (memory, regs) = creation(&[inside(7), inside(SHORT), inside(USER)]);
    let caller = inside(SHORT);
    assert_eq!(
        create_detail(&memory, &ranges(), &regs).0,
        Detail::Short(caller)
    );
    let mut event: ContextCreatedShort = record();
    created_short(&memory, &ranges(), &regs, caller, &mut event).unwrap();
    assert_eq!(event.header.kind, Kind::ContextCreatedShort as u8);
    assert_eq!((event.header.goid, event.header.parent_goid), (GOID, 0));
    assert_eq!(event.child, link(CHILD_ITAB, CHILD));
    assert_eq!(event.parent, link(PARENT_ITAB, PARENT));
    assert_eq!(event.caller, caller);
    // A stack that cannot be read is no reason to drop anything.
    let mut blind = regs;
    blind.bp = 8;
    assert_eq!(create_detail(&memory, &ranges(), &blind).0, Detail::Full);
}

#[test]
fn a_creation_is_its_callers_through_constructors_that_are_not_inlined() {
    const CANCEL_FUNC: u64 = 6;
    const CAUSE_FUNC: u64 = 10;
    let unoptimised = Layout {
        create_via: [function(CANCEL_FUNC), function(CAUSE_FUNC)],
        ..ranges()
    };
    for constructor in [CANCEL_FUNC, CAUSE_FUNC] {
        let detail = |caller| {
            let (memory, regs) = creation(&[inside(7), inside(constructor), caller, inside(USER)]);
            let (detail, outer) = create_detail(&memory, &unoptimised, &regs);
            // The walk is to give every frame.
            assert_eq!(outer.unwrap()[1], inside(constructor));
            detail
        };
        assert_eq!(detail(inside(DROP)), Detail::None);
        assert_eq!(detail(inside(SHORT)), Detail::Short(inside(SHORT)));
        assert_eq!(detail(inside(8)), Detail::Full);
    }
}

#[test]
fn a_call_that_is_the_callers_last_instruction_is_still_the_callers() {
    let range = function(DROP);
    let (memory, regs) = creation(&[inside(7), range.end, inside(USER)]);
    assert_eq!(create_detail(&memory, &ranges(), &regs).0, Detail::None);
    let (memory, regs) = creation(&[inside(7), range.start, inside(USER)]);
    assert_eq!(create_detail(&memory, &ranges(), &regs).0, Detail::Full);
}

#[test]
fn an_empty_range_holds_nothing() {
    let (memory, regs) = creation(&[inside(7), 0, inside(USER)]);
    assert_eq!(create_detail(&memory, &layout(), &regs).0, Detail::Full);
    assert!(!observer_common::layout::Range::default().holds_return(0));
}

/// A cancel of `CHILD` with this stack; `done` is its error's first word.
fn cancel(pcs: &[u64], done: u64) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, pcs);
    let mut ctx = [0u64; 14];
    (ctx[0], ctx[1], ctx[10]) = (PARENT_ITAB, PARENT, done);
    memory.words(CHILD, &ctx);
    regs.args = [CHILD, 1, 0x52_0000, ERR, 0, 0, 0, 0, 0];
    (memory, regs)
}

#[test]
fn the_end_of_a_request_needs_no_goroutine() {
    let (memory, mut regs) = cancel(&[inside(7), inside(SERVE)], 0);
    regs.g = 8;
    let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
    assert_eq!((sight.flags, sight.detail), (CANCEL_END, Detail::Short(0)));
    let mut event: ContextCancelledShort = record();
    cancelled_short(&memory, &ranges(), &regs, sight, &mut event).unwrap();
    assert_eq!(event.header.kind, Kind::ContextCancelledShort as u8);
    assert_eq!(
        (event.header.goid, event.header.parent_goid, event.header.g),
        (0, 0, 0)
    );
    assert_eq!((event.ctx, event.flags), (CHILD, CANCEL_END));
    assert_eq!(event.pcs, [PARENT_ITAB, inside(SERVE)]);
    assert_eq!(event.err, link(0x52_0000, ERR));
}

#[test]
fn a_cascade_is_known_by_the_cancel_above_it() {
    // A plain child is cancelled directly, a timer through its own method.
    for pcs in [[inside(CANCEL), inside(7)], [inside(7), inside(CANCEL)]] {
        let (memory, regs) = cancel(&pcs, 0);
        let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
        assert_eq!(
            (sight.flags, sight.detail),
            (CANCEL_CASCADE, Detail::Short(0))
        );
        let mut event: ContextCancelledShort = record();
        cancelled_short(&memory, &ranges(), &regs, sight, &mut event).unwrap();
        assert_eq!((event.header.goid, event.pcs), (GOID, pcs));
        // Done already: nothing to learn.
        let (memory, regs) = cancel(&pcs, 0x52_0000);
        let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
        assert_eq!(sight.detail, Detail::None);
    }
}

#[test]
fn a_first_cancel_is_told_whole_and_a_second_short() {
    let pcs = [inside(7), inside(USER), inside(10)];
    let (memory, regs) = cancel(&pcs, 0);
    let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
    assert_eq!((sight.flags, sight.detail), (0, Detail::Full));
    let mut event: ContextCancelled = record();
    assert_eq!(
        cancelled(&memory, &ranges(), &regs, sight, &mut event),
        Ok(false)
    );
    assert_eq!(event.header.kind, Kind::ContextCancelled as u8);
    assert_eq!(
        (event.header.goid, event.ctx, event.flags),
        (GOID, CHILD, 0)
    );
    assert_eq!(event.err, link(0x52_0000, ERR));
    assert_eq!(event.frames, 3);
    assert_eq!(event.pcs[..3], pcs);

    let (memory, regs) = cancel(&pcs, 0x52_0000);
    let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
    assert_eq!(
        (sight.flags, sight.detail),
        (CANCEL_AGAIN, Detail::Short(0))
    );
    assert_eq!(sight.pcs, [inside(7), inside(USER)]);
}

#[test]
fn a_cancel_is_its_callers_that_hands_it_through() {
    const VIA: u64 = 6;
    let through = Layout {
        cancel_via: function(VIA),
        ..ranges()
    };
    let pcs = [inside(7), inside(VIA), inside(READ_LOOP), inside(10)];
    let (memory, regs) = cancel(&pcs, 0);
    let sight = cancel_detail(&memory, &through, &regs).unwrap();
    assert_eq!(sight.detail, Detail::Short(0));
    assert_eq!(sight.pcs, [inside(7), inside(READ_LOOP)]);
    // Whoever else cancels so is told whole, with all frames.
    let pcs = [inside(7), inside(VIA), inside(USER)];
    let (memory, regs) = cancel(&pcs, 0);
    let sight = cancel_detail(&memory, &through, &regs).unwrap();
    assert_eq!(sight.detail, Detail::Full);
    let mut event: ContextCancelled = record();
    cancelled(&memory, &through, &regs, sight, &mut event).unwrap();
    assert_eq!(event.pcs[..3], pcs);
}

#[test]
fn who_writes_what_cannot_be_written_is_far_above() {
    const WRITE: u64 = 6;
    let writes = Layout {
        cancel_write: function(WRITE),
        ..ranges()
    };
    let frames_of = |around: u64| {
        let mut pcs = [inside(10); 20];
        (pcs[0], pcs[1]) = (inside(7), inside(around));
        let (memory, regs) = cancel(&pcs, 0);
        let sight = cancel_detail(&memory, &writes, &regs).unwrap();
        let mut event: ContextCancelled = record();
        cancelled(&memory, &writes, &regs, sight, &mut event).unwrap();
        event.frames
    };
    assert_eq!((frames_of(WRITE), frames_of(USER)), (16, 8));
}

#[test]
fn a_deadline_asked_for_is_told_with_its_parent() {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(USER)]);
    let [wall, ext, loc] = [0x8000_0000_1234_5678, 99, 0x7000];
    regs.args = [PARENT_ITAB, PARENT, wall, ext, loc, 0, 0, 0, 0];
    let mut event: DeadlineAsked = record();
    assert_eq!(
        deadline_asked(&memory, &ranges(), &regs, &mut event),
        Ok(())
    );
    assert_eq!(event.header.kind, Kind::DeadlineAsked as u8);
    assert_eq!(event.header.goid, GOID);
    assert_eq!(event.parent, link(PARENT_ITAB, PARENT));
    assert_eq!(event.deadline, [wall, ext]);
    memory.cut(G);
    assert_eq!(
        deadline_asked(&memory, &ranges(), &regs, &mut event),
        Err(Skip::Goroutine)
    );
}

#[test]
fn the_end_of_a_call_is_told_short() {
    let pcs = [inside(7), inside(READ_LOOP)];
    let (memory, regs) = cancel(&pcs, 0);
    let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
    assert_eq!((sight.flags, sight.detail), (0, Detail::Short(0)));
    assert_eq!(sight.pcs, pcs);
}

#[test]
fn whoever_does_not_wait_for_an_end_any_more_is_told_short() {
    let pcs = [inside(7), inside(STOP), inside(USER), inside(8)];
    let (memory, regs) = cancel(&pcs, 0);
    let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
    assert_eq!((sight.flags, sight.detail), (0, Detail::Short(0)));
    assert_eq!(sight.pcs, pcs[..2]);
}

#[test]
fn a_context_that_goes_on_where_nothing_was_ever_written_is_not_done() {
    let (mut memory, mut regs) = cancel(&[inside(7), inside(USER)], 0);
    let at_the_end = HEAP + 0x10_0000 - 16;
    memory.words(at_the_end, &[PARENT_ITAB, PARENT]);
    regs.args[0] = at_the_end;
    let sight = cancel_detail(&memory, &ranges(), &regs).unwrap();
    assert_eq!((sight.flags, sight.detail), (0, Detail::Full));
}

#[test]
fn a_context_that_cannot_be_read_is_a_loss() {
    let (mut memory, regs) = cancel(&[inside(7), inside(USER)], 0);
    memory.cut(CHILD);
    assert_eq!(cancel_detail(&memory, &ranges(), &regs), Err(Skip::Object));
}

#[test]
fn the_jump_of_a_stack_check_is_taken_on_carry_or_zero() {
    for (flags, taken) in [(0, false), (1, true), (0x40, true), (JBE_FLAGS, true)] {
        let regs = RegisterSet {
            flags: flags | 0x202,
            ..RegisterSet::default()
        };
        assert_eq!(regs.jump_taken(), taken, "{flags:#x}");
    }
}
