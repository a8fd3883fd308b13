//! The connection ends under a request: the error is followed through its wrappers.

use observer_common::event::{
    ConnHijacked, ConnReadError, IoDeadlineSet, Kind, Link, ServerClosing,
};
use observer_common::probe::{
    Skip,
    conn::{hijacked, io_deadline_set, read_error, server_closing},
};
use observer_common::regs::RegisterSet;

use super::memory::{G, GOID, HEAP, Memory, layout, link, record, stack};

const READER: u64 = HEAP;
const CONN: u64 = HEAP + 0x100;
const RESPONSE: u64 = HEAP + 0x200;
const OP_ERROR: u64 = HEAP + 0x300;
const SYSCALL_ERROR: u64 = HEAP + 0x400;
const ERRNO: u64 = HEAP + 0x500;
const EOF: u64 = HEAP + 0x600;
const TEXT: u64 = HEAP + 0x700;

fn connection(cur_req: u64) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    memory.words(READER, &[0, 0, 0, CONN, 0]);
    let mut conn = [0u64; 20];
    conn[14] = cur_req;
    memory.words(CONN, &conn);
    let regs = RegisterSet {
        args: [READER, 0x53_0000, OP_ERROR, 0, 0, 0, 0, 0, 0],
        g: G,
        ..RegisterSet::default()
    };
    (memory, regs)
}

fn read(memory: &Memory, regs: &RegisterSet) -> Result<ConnReadError, Skip> {
    let mut event: ConnReadError = record();
    read_error(memory, &layout(), regs, &mut event).map(|()| event)
}

#[test]
fn an_errno_is_found_behind_two_wrappers() {
    let (mut memory, regs) = connection(RESPONSE);
    memory.words(OP_ERROR, &[1, 2, 3, 4, 5, 6, 7, 0x53_1000, SYSCALL_ERROR]);
    memory.words(SYSCALL_ERROR, &[1, 2, 0x53_2000, ERRNO]);
    memory.words(ERRNO, &[104]);
    let event = read(&memory, &regs).unwrap();
    assert_eq!(event.header.kind, Kind::ConnReadError as u8);
    assert_eq!((event.header.goid, event.conn), (GOID, CONN));
    assert_eq!(event.response, RESPONSE);
    assert_eq!(event.err, link(0x53_0000, OP_ERROR));
    assert_eq!(event.op_err, link(0x53_1000, SYSCALL_ERROR));
    assert_eq!(event.syscall_err, link(0x53_2000, ERRNO));
    assert_eq!(event.errno, 104);
}

#[test]
fn the_text_of_a_plain_error_is_kept_and_the_chain_ends() {
    let (mut memory, mut regs) = connection(RESPONSE);
    regs.args[2] = EOF;
    memory.words(EOF, &[TEXT, 3]);
    memory.bytes(TEXT, b"EOFxxxxx");
    let event = read(&memory, &regs).unwrap();
    assert_eq!(&event.text[..4], b"EOF\0");
    assert_eq!(event.op_err, Link::default());
    assert_eq!(event.syscall_err, Link::default());
    assert_eq!(event.errno, 0);
}

#[test]
fn the_peer_is_named_as_the_connection_has_it() {
    let read_peer = |len: u64, text: &[u8]| {
        let (mut memory, regs) = connection(RESPONSE);
        memory.words(CONN + 72, &[TEXT, len]);
        memory.bytes(TEXT, text);
        let event = read(&memory, &regs).unwrap();
        (event.peer_len, event.peer)
    };
    let (len, peer) = read_peer(15, b"192.0.2.7:51322");
    assert_eq!((len, &peer[..16]), (15, &b"192.0.2.7:51322\0"[..]));
    // A length that lies, and text that is not there.
    assert_eq!(read_peer(65, &[b'1'; 80]).0, 0);
    assert_eq!(read_peer(15, b"192").0, 0);
}

#[test]
fn a_length_that_lies_does_not_leave_the_record() {
    let (mut memory, mut regs) = connection(RESPONSE);
    regs.args[2] = EOF;
    memory.words(EOF, &[TEXT, u64::MAX]);
    memory.bytes(TEXT, &[b'x'; 64]);
    let event = read(&memory, &regs).unwrap();
    assert_eq!(event.text, [b'x'; 16]);
}

#[test]
fn nil_is_not_followed_even_where_memory_begins() {
    let (mut memory, mut regs) = connection(RESPONSE);
    regs.args[2] = 0;
    memory.words(0, &[1; 16]);
    let event = read(&memory, &regs).unwrap();
    assert_eq!(event.op_err, Link::default());
}

#[test]
fn no_request_in_flight_is_no_event() {
    let (memory, regs) = connection(0);
    assert_eq!(read(&memory, &regs).unwrap_err(), Skip::Quiet);
    let (mut memory, regs) = connection(RESPONSE);
    memory.words(READER, &[0, 0, 0, 0]);
    assert_eq!(read(&memory, &regs).unwrap_err(), Skip::Quiet);
}

#[test]
fn what_cannot_be_read_is_a_loss() {
    let (mut memory, regs) = connection(RESPONSE);
    memory.cut(CONN + 112);
    assert_eq!(read(&memory, &regs).unwrap_err(), Skip::Object);
    let (memory, mut regs) = connection(RESPONSE);
    regs.g = 8;
    assert_eq!(read(&memory, &regs).unwrap_err(), Skip::Goroutine);
    regs.args[0] = 8;
    assert_eq!(read(&memory, &regs).unwrap_err(), Skip::Object);
}

#[test]
fn a_deadline_that_a_handler_sets_is_told_with_its_response_and_its_line() {
    let mut memory = Memory::with_goroutine();
    let [wall, ext, loc] = [0x8000_0000_1234_5678, 99, 0x7000];
    let mut regs = stack(&mut memory, &[0x40_1000, 0x40_2000]);
    regs.args = [RESPONSE, wall, ext, loc, 0, 0, 0, 0, 0];
    let mut event: IoDeadlineSet = record();
    let set = io_deadline_set(&memory, &layout(), &regs, true, &mut event);
    assert_eq!(set, Ok(false));
    assert_eq!(event.header.kind, Kind::IoDeadlineSet as u8);
    assert_eq!((event.header.goid, event.response), (GOID, RESPONSE));
    assert_eq!((event.write, event.deadline), (1, [wall, ext]));
    assert_eq!(event.frames, 2);
    assert_eq!(event.pcs[..2], [0x40_1000, 0x40_2000]);
    memory.cut(G);
    let set = io_deadline_set(&memory, &layout(), &regs, false, &mut event);
    assert_eq!(set, Err(Skip::Goroutine));
}

#[test]
fn a_connection_that_a_handler_takes_over_is_told_with_its_response() {
    let (mut memory, mut regs) = connection(0);
    regs.args[0] = RESPONSE;
    memory.words(RESPONSE, &[CONN]);
    memory.words(CONN + 72, &[TEXT, 15]);
    memory.bytes(TEXT, b"192.0.2.7:51322");
    let mut event: ConnHijacked = record();
    assert_eq!(hijacked(&memory, &layout(), &regs, &mut event), Ok(()));
    assert_eq!(event.header.kind, Kind::ConnHijacked as u8);
    assert_eq!((event.header.goid, event.response), (GOID, RESPONSE));
    assert_eq!(event.peer_len, 15);
    assert!(event.peer.starts_with(b"192.0.2.7:51322\0"));
    memory.cut(CONN + 72);
    assert_eq!(hijacked(&memory, &layout(), &regs, &mut event), Ok(()));
    assert_eq!((event.peer_len, event.peer[0]), (0, 0));
    memory.cut(G);
    let taken = hijacked(&memory, &layout(), &regs, &mut event);
    assert_eq!(taken, Err(Skip::Goroutine));
}

#[test]
fn a_server_that_closes_is_told_with_who_closes_it() {
    let (mut memory, regs) = connection(0);
    let mut event: ServerClosing = record();
    assert_eq!(
        server_closing(&memory, &layout(), &regs, &mut event),
        Ok(())
    );
    assert_eq!(event.header.kind, Kind::ServerClosing as u8);
    assert_eq!(event.header.goid, GOID);
    memory.cut(G);
    let closing = server_closing(&memory, &layout(), &regs, &mut event);
    assert_eq!(closing, Err(Skip::Goroutine));
}
