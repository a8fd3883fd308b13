//! Stacks and chains, also those that lie.

use observer_common::event::Header;
use observer_common::limits::{MAX_FRAMES, MAX_LINKS};
use observer_common::probe::{Skip, walk};

use super::memory::{
    G, GOID, HEAP, Memory, PARENT_GOID, STACK, inside, layout, link, record, stack,
};

fn walked(memory: &Memory, regs: &observer_common::regs::RegisterSet) -> (Vec<u64>, bool) {
    let mut pcs: [u64; MAX_FRAMES] = record();
    let (count, partial) = walk::stack(memory, regs, &mut pcs);
    (pcs[..count as usize].to_vec(), partial)
}

#[test]
fn a_stack_is_walked_to_its_first_function() {
    let mut memory = Memory::default();
    let pcs = [inside(1), inside(2), inside(3), inside(4)];
    let regs = stack(&mut memory, &pcs);
    assert_eq!(walked(&memory, &regs), (pcs.to_vec(), false));
}

#[test]
fn a_deep_stack_is_cut() {
    let mut memory = Memory::default();
    let pcs: Vec<u64> = (0..40).map(inside).collect();
    let regs = stack(&mut memory, &pcs);
    assert_eq!(walked(&memory, &regs), (pcs[..MAX_FRAMES].to_vec(), false));
}

#[test]
fn a_frame_pointer_that_does_not_rise_ends_the_walk() {
    let mut memory = Memory::default();
    let regs = stack(&mut memory, &[inside(1), inside(2), inside(3)]);
    // The second frame points to itself, then below itself.
    for next in [STACK + 64, STACK] {
        memory.words(STACK + 64, &[next, inside(2)]);
        assert_eq!(
            walked(&memory, &regs),
            (vec![inside(1), inside(2)], false),
            "{next:#x}"
        );
    }
}

#[test]
fn a_stack_without_frame_pointer_has_one_frame() {
    let mut memory = Memory::default();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    regs.bp = 0;
    assert_eq!(walked(&memory, &regs), (vec![inside(1)], false));
}

#[test]
fn a_nil_return_address_ends_the_walk() {
    let mut memory = Memory::default();
    let regs = stack(&mut memory, &[inside(1), inside(2), 0, inside(4)]);
    assert_eq!(walked(&memory, &regs), (vec![inside(1), inside(2)], false));
}

#[test]
fn an_unreadable_frame_is_told() {
    let mut memory = Memory::default();
    let mut regs = stack(&mut memory, &[inside(1), inside(2), inside(3)]);
    memory.cut(STACK + 128);
    assert_eq!(walked(&memory, &regs), (vec![inside(1), inside(2)], true));
    regs.sp = 8;
    assert_eq!(walked(&memory, &regs), (vec![], true));
}

#[test]
fn a_chain_ends_at_nil_at_unreadable_memory_or_when_full() {
    let mut memory = Memory::default();
    let at = |n: u64| HEAP + 32 * n;
    for n in 0..40 {
        memory.words(at(n), &[0x1000 + n + 1, at(n + 1)]);
    }
    let chain = |memory: &Memory, first| {
        let mut links = record();
        let count = walk::chain(memory, &layout(), first, &mut links);
        links[..count as usize].to_vec()
    };
    let full = chain(&memory, link(0x1000, at(0)));
    assert_eq!(full.len(), MAX_LINKS);
    for (n, found) in (0..).zip(&full) {
        assert_eq!(*found, link(0x1000 + n, at(n)));
    }
    assert!(chain(&memory, link(0, at(0))).is_empty());
    memory.words(at(2), &[0, 0]);
    assert_eq!(chain(&memory, link(0x1000, at(0))).len(), 3);
    // A context without fields has an address that holds no interface.
    memory.words(at(1), &[0x1002, 8]);
    let ends = chain(&memory, link(0x1000, at(0)));
    assert_eq!(ends.last(), Some(&link(0x1002, 8)));
    assert_eq!(ends.len(), 3);
}

#[test]
fn a_chain_that_loops_is_bounded() {
    let mut memory = Memory::default();
    memory.words(HEAP, &[0x1000, HEAP]);
    let mut links = record();
    let count = walk::chain(&memory, &layout(), link(0x1000, HEAP), &mut links);
    assert_eq!(count as usize, MAX_LINKS);
}

#[test]
fn a_goroutine_is_read_with_its_creator_where_go_keeps_it() {
    let memory = Memory::with_goroutine();
    let mut header: Header = record();
    let mut scratch = record();
    walk::goroutine(&memory, &layout(), G, &mut header, &mut scratch).unwrap();
    assert_eq!(
        (header.goid, header.parent_goid, header.g),
        (GOID, PARENT_GOID, G)
    );
    let mut old = layout();
    old.g_parent_words = 0;
    walk::goroutine(&memory, &old, G, &mut header, &mut scratch).unwrap();
    assert_eq!((header.goid, header.parent_goid), (GOID, 0));
    assert_eq!(
        walk::goroutine(&memory, &old, 8, &mut header, &mut scratch),
        Err(Skip::Goroutine)
    );
    assert_eq!(
        walk::goid(&memory, &old, 8, &mut header),
        Err(Skip::Goroutine)
    );
}

#[test]
fn a_chain_ends_where_nothing_more_is_asked() {
    let mut memory = Memory::default();
    let at = |n: u64| HEAP + 32 * n;
    for n in 0..8 {
        memory.words(at(n), &[0x1000 + n + 1, at(n + 1)]);
    }
    let mut layout = layout();
    layout.nodes[2] = 0x1003;
    let mut links = record();
    let count = walk::chain(&memory, &layout, link(0x1000, HEAP), &mut links);
    assert_eq!(count, 4);
    assert_eq!(links[3], link(0x1003, at(3)));
    layout.nodes[0] = 0x1000;
    assert_eq!(
        walk::chain(&memory, &layout, link(0x1000, HEAP), &mut links),
        1
    );
}
