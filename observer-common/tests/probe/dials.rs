//! Plain dials.

use observer_common::event::{DialDone, DialStarted, Kind, Link, TIMEOUT_UNREAD};
use observer_common::layout::Layout;
use observer_common::probe::Skip;
use observer_common::probe::dial::{done, started};
use observer_common::regs::RegisterSet;

use super::memory::{G, GOID, HEAP, Memory, PARENT_GOID, inside, layout, record, stack};

const DIALER: u64 = HEAP;
const CTX: Link = Link {
    itab: 0x54_0000,
    data: HEAP + 0x300,
};
const PARENT: Link = Link {
    itab: 0x54_0100,
    data: HEAP + 0x400,
};
const NETWORK: u64 = HEAP + 0x500;
const ADDRESS: u64 = HEAP + 0x600;

/// A goroutine that dials this address with a timeout of 3 s.
fn dialling(address: &[u8]) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    memory.words(DIALER, &[3_000_000_000, 7, 8, 0]);
    memory.words(CTX.data, &[PARENT.itab, PARENT.data]);
    memory.words(PARENT.data, &[0, 0]);
    memory.bytes(NETWORK, b"tcp4");
    memory.bytes(ADDRESS, address);
    let len = address.len() as u64;
    regs.args[..7].copy_from_slice(&[DIALER, CTX.itab, CTX.data, NETWORK, 4, ADDRESS, len]);
    (memory, regs)
}

fn text(bytes: &[u8], len: u32) -> &[u8] {
    &bytes[..len as usize]
}

#[test]
fn a_dial_has_context_target_and_what_bounds_it() {
    let (memory, regs) = dialling(b"store:5432");
    let mut event: DialStarted = record();
    assert_eq!(started(&memory, &layout(), &regs, &mut event), Ok(false));
    assert_eq!(event.header.kind, Kind::DialStarted as u8);
    assert_eq!(
        (event.header.goid, event.header.parent_goid),
        (GOID, PARENT_GOID)
    );
    assert_eq!((event.timeout_ns, event.deadline), (3_000_000_000, [7, 8]));
    assert_eq!(event.pcs[..event.frames as usize], [inside(1), inside(2)]);
    assert_eq!(event.chain[..event.links as usize], [CTX, PARENT]);
    assert_eq!(text(&event.network, event.network_len), b"tcp4");
    assert_eq!(text(&event.address, event.address_len), b"store:5432");
}

#[test]
fn a_long_address_is_cut_and_an_unreadable_one_left_out() {
    let (memory, mut regs) = dialling(&[b'x'; 300]);
    let mut event: DialStarted = record();
    assert_eq!(started(&memory, &layout(), &regs, &mut event), Ok(false));
    assert_eq!(text(&event.address, event.address_len), [b'x'; 112]);

    regs.args[5] = 8;
    let mut event: DialStarted = record();
    assert_eq!(started(&memory, &layout(), &regs, &mut event), Ok(true));
    assert_eq!((event.network_len, event.address_len), (4, 0));
    assert_eq!(event.chain[..event.links as usize], [CTX, PARENT]);
}

#[test]
fn a_connection_is_that_of_its_goroutine_or_of_who_started_it() {
    let (memory, regs) = dialling(b"");
    let mut event: DialDone = record();
    assert_eq!(done(&memory, &layout(), &regs, &mut event), Ok(()));
    assert_eq!(event.header.kind, Kind::DialDone as u8);
    let who = (event.header.goid, event.header.parent_goid);
    assert_eq!(who, (GOID, PARENT_GOID));

    // Up to Go 1.20 a goroutine does not know who started it.
    let alone = Layout {
        g_parent_words: 0,
        ..layout()
    };
    let mut event: DialDone = record();
    assert_eq!(done(&memory, &alone, &regs, &mut event), Ok(()));
    assert_eq!((event.header.goid, event.header.parent_goid), (GOID, 0));
}

#[test]
fn a_dialer_that_cannot_be_read_may_have_a_timeout() {
    let (memory, mut regs) = dialling(b"store:5432");
    regs.args[0] = 8;
    let mut event: DialStarted = record();
    assert_eq!(started(&memory, &layout(), &regs, &mut event), Ok(false));
    let limits = (event.timeout_ns, event.deadline);
    assert_eq!(limits, (TIMEOUT_UNREAD, [0; 2]));
    assert_eq!(text(&event.address, event.address_len), b"store:5432");
}

#[test]
fn without_its_goroutine_nothing_is_told() {
    let (mut memory, regs) = dialling(b"store:5432");
    let mut event: DialStarted = record();
    memory.cut(G);
    let no_goroutine = started(&memory, &layout(), &regs, &mut event);
    assert_eq!(no_goroutine, Err(Skip::Goroutine));
    let mut event: DialDone = record();
    let no_goroutine = done(&memory, &layout(), &regs, &mut event);
    assert_eq!(no_goroutine, Err(Skip::Goroutine));
}
