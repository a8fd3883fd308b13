//! Streams of a gRPC server.

use observer_common::event::{GrpcCalled, GrpcEnded, GrpcStarted, Kind};
use observer_common::layout::{GRPC_BY_POINTER, Layout, Range};
use observer_common::probe::Skip;
use observer_common::probe::grpc::{answered, called, ended, started};
use observer_common::regs::RegisterSet;

use super::memory::{GOID, HEAP, Memory, inside, layout, link, record, stack};

const STREAM: u64 = HEAP;
const METADATA: u64 = HEAP + 0x200;
const CANCEL: u64 = HEAP + 0x300;
const TEXT: u64 = HEAP + 0x400;

/// As 1.56 has them; from 1.69 on they are 0 and 16.
fn of_grpc() -> Layout {
    Layout {
        grpc_ctx: 32,
        grpc_method: 80,
        ..layout()
    }
}

fn stream(method: &[u8]) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1)]);
    regs.args[..4].copy_from_slice(&[HEAP + 0x2000, 0x55_0000, HEAP + 0x3000, STREAM]);
    let mut words = [0u64; 12];
    words[4] = 0x54_0000;
    words[5] = METADATA;
    words[10] = memory.bytes(TEXT, method);
    words[11] = method.len() as u64;
    memory.words(STREAM, &words);
    memory.words(METADATA, &[0x54_1000, CANCEL, 0, 0, 0, 0]);
    memory.words(CANCEL, &[0, 0]);
    (memory, regs)
}

#[test]
fn a_stream_is_told_with_its_method_and_what_its_context_descends_from() {
    let (memory, regs) = stream(b"/shop.Depot/Echo");
    let mut event: GrpcStarted = record();
    started(&memory, &of_grpc(), &regs, &mut event).unwrap();
    assert_eq!(event.header.kind, Kind::GrpcStarted as u8);
    assert_eq!((event.header.goid, event.header.parent_goid), (GOID, 0));
    assert_eq!(event.stream, STREAM);
    assert_eq!(
        &event.chain[..event.links as usize],
        [link(0x54_0000, METADATA), link(0x54_1000, CANCEL)]
    );
    assert_eq!(
        &event.method[..event.method_len as usize],
        b"/shop.Depot/Echo"
    );
}

#[test]
fn a_stream_that_holds_the_common_part_by_pointer_is_followed() {
    let (mut memory, mut regs) = stream(b"/shop.Depot/Echo");
    regs.args[3] = HEAP + 0x800;
    memory.words(HEAP + 0x800, &[STREAM, 0, 0]);
    let layout = Layout {
        flags: layout().flags | GRPC_BY_POINTER,
        ..of_grpc()
    };
    let mut event: GrpcStarted = record();
    started(&memory, &layout, &regs, &mut event).unwrap();
    assert_eq!((event.stream, event.links), (HEAP + 0x800, 2));
    assert_eq!(
        &event.method[..event.method_len as usize],
        b"/shop.Depot/Echo"
    );
    memory.cut(HEAP);
    let lost = started(&memory, &layout, &regs, &mut event);
    assert_eq!(lost, Err(Skip::Object));
}

#[test]
fn a_long_method_is_cut() {
    let (memory, regs) = stream(&[b'm'; 200]);
    let mut event: GrpcStarted = record();
    started(&memory, &of_grpc(), &regs, &mut event).unwrap();
    assert_eq!((event.method_len, event.method), (96, [b'm'; 96]));
}

#[test]
fn what_cannot_be_read_is_lost() {
    let (mut memory, regs) = stream(b"/shop.Depot/Echo");
    let mut event: GrpcStarted = record();
    memory.cut(STREAM);
    let lost = started(&memory, &of_grpc(), &regs, &mut event);
    assert_eq!(lost, Err(Skip::Object));
    let nowhere = RegisterSet { g: 8, ..regs };
    let lost = started(&memory, &of_grpc(), &nowhere, &mut event);
    assert_eq!(lost, Err(Skip::Goroutine));
}

#[test]
fn an_end_names_its_stream() {
    let (memory, mut regs) = stream(b"/shop.Depot/Echo");
    regs.args[..2].copy_from_slice(&[HEAP + 0x3000, STREAM]);
    let mut event: GrpcEnded = record();
    ended(&memory, &of_grpc(), &regs, &mut event).unwrap();
    assert_eq!(event.header.kind, Kind::GrpcEnded as u8);
    assert_eq!((event.header.goid, event.stream), (GOID, STREAM));
}

/// A call on a context, over a connection of this authority.
fn call(authority: &[u8], method: &[u8]) -> (Memory, RegisterSet, Layout) {
    const CONN: u64 = HEAP + 0x600;
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    let at = memory.bytes(TEXT, method);
    let host = memory.bytes(TEXT + 0x100, authority);
    memory.words(CONN + 184, &[host, authority.len() as u64]);
    memory.words(METADATA, &[0x54_1000, CANCEL, 0, 0, 0, 0]);
    memory.words(CANCEL, &[0, 0]);
    let args = [
        0x54_0000,
        METADATA,
        HEAP + 0x700,
        CONN,
        at,
        method.len() as u64,
    ];
    regs.args[..6].copy_from_slice(&args);
    let layout = Layout {
        grpc_authority: 184,
        ..of_grpc()
    };
    (memory, regs, layout)
}

#[test]
fn a_call_is_told_with_its_target_its_stack_and_its_context() {
    let (memory, regs, layout) = call(b"store:8080", b"/shop.Depot/Item");
    let mut event: GrpcCalled = record();
    assert!(!called(&memory, &layout, &regs, &mut event).unwrap());
    assert_eq!(event.header.kind, Kind::GrpcCalled as u8);
    assert_eq!(event.header.goid, GOID);
    assert_eq!(&event.host[..event.host_len as usize], b"store:8080");
    assert_eq!(
        &event.method[..event.method_len as usize],
        b"/shop.Depot/Item"
    );
    assert_eq!(
        &event.chain[..event.links as usize],
        [link(0x54_0000, METADATA), link(0x54_1000, CANCEL)]
    );
    assert_eq!(event.frames, 2);
}

#[test]
fn a_call_whose_target_cannot_be_read_is_told_all_the_same() {
    let (memory, mut regs, layout) = call(b"store:8080", b"/shop.Depot/Item");
    regs.args[3] = 0x10;
    regs.args[4] = 0x10;
    let mut event: GrpcCalled = record();
    assert!(called(&memory, &layout, &regs, &mut event).unwrap());
    assert_eq!((event.host_len, event.method_len), (0, 0));
    assert_eq!(event.links, 2);
}

#[test]
fn long_names_are_cut() {
    let (memory, regs, layout) = call(&[b'a'; 200], &[b'/'; 200]);
    let mut event: GrpcCalled = record();
    assert!(!called(&memory, &layout, &regs, &mut event).unwrap());
    assert_eq!(event.host_len as usize, event.host.len());
    assert_eq!(event.method_len as usize, event.method.len());
}

#[test]
fn only_the_answer_of_a_handler_that_has_returned_ends_its_stream() {
    let layout = Layout {
        grpc_answer: Range {
            start: inside(3) - 1,
            end: inside(3) + 1,
        },
        ..of_grpc()
    };
    for (frames, ends) in [
        (&[3, 1][..], true),
        (&[1, 2, 4, 3], true),
        (&[1, 2, 4], false),
        // Too far up to be its own.
        (&[1, 2, 4, 5, 3], false),
    ] {
        let frames: Vec<u64> = frames.iter().map(|place| inside(*place)).collect();
        let mut memory = Memory::with_goroutine();
        let mut regs = stack(&mut memory, &frames);
        regs.args[1] = STREAM;
        let mut event: GrpcEnded = record();
        let told = answered(&memory, &layout, &regs, &mut event);
        let wanted = if ends { Ok(()) } else { Err(Skip::Quiet) };
        assert_eq!(told, wanted, "{frames:x?}");
        if ends {
            assert_eq!((event.stream, event.header.goid), (STREAM, GOID));
        }
    }
}
