//! A request begins.

use observer_common::event::{Kind, REQUEST_HTTP2, REQUEST_IDS_UNREAD, RequestStarted};
use observer_common::layout::{HeaderName, Layout, READ_IDS};
use observer_common::probe::Skip;
use observer_common::probe::request::{started, started_by_http2};
use observer_common::regs::RegisterSet;

use super::maps::{buckets_of, small_swiss};
use super::memory::{G, GOID, HEAP, Memory, layout, link, record};

const REQUEST: u64 = HEAP;
const WRITER: u64 = HEAP + 0x800;
const CTX: u64 = HEAP + 0x900;
const LINE: u64 = HEAP + 0xa00;

/// A request whose method is at `method_at` and whose target is at `target_at`.
fn request(method: (u64, u64), target: (u64, u64), map: u64) -> [u64; 33] {
    let mut request = [0u64; 33];
    [request[0], request[1]] = [method.0, method.1];
    [request[27], request[28]] = [target.0, target.1];
    request[7] = map;
    [request[31], request[32]] = [0x56_0000, CTX];
    request
}

fn regs() -> RegisterSet {
    RegisterSet {
        args: [HEAP + 0x700, 0x57_0000, WRITER, REQUEST, 0, 0, 0, 0, 0],
        g: G,
        ..RegisterSet::default()
    }
}

fn start(memory: &Memory, layout: &Layout) -> RequestStarted {
    let mut event: RequestStarted = record();
    started::<true, _, _>(memory, layout, &regs(), &mut event).unwrap();
    event
}

fn method(event: &RequestStarted) -> &[u8] {
    &event.line[..event.method_len as usize]
}

fn path(event: &RequestStarted) -> &[u8] {
    &event.line[event.path_at as usize..][..event.path_len as usize]
}

/// An HTTP/1 request line in memory.
fn http1(line: &[u8], method_len: u64, target_len: u64) -> Memory {
    let mut memory = Memory::with_goroutine();
    memory.bytes(LINE, line);
    let target = (LINE.wrapping_add(method_len).wrapping_add(1), target_len);
    memory.words(REQUEST, &request((LINE, method_len), target, 0));
    memory
}

#[test]
fn a_request_line_is_one_piece_of_memory() {
    let event = start(&http1(b"GET /report/7 HTTP/1.1", 3, 9), &layout());
    assert_eq!(event.header.kind, Kind::RequestStarted as u8);
    assert_eq!((event.header.goid, event.header.parent_goid), (GOID, 0));
    assert_eq!(event.request, REQUEST);
    assert_eq!(event.writer, link(0x57_0000, WRITER));
    assert_eq!(event.ctx, link(0x56_0000, CTX));
    assert_eq!(
        (method(&event), path(&event)),
        (&b"GET"[..], &b"/report/7"[..])
    );
    assert_eq!(event.flags, REQUEST_IDS_UNREAD);
    assert_eq!((event.id_row, event.id_len, event.trace_len), (0, 0, 0));
}

#[test]
fn in_http2_method_and_path_are_strings_of_their_own() {
    let mut memory = Memory::with_goroutine();
    memory.bytes(LINE, b"DELETE");
    memory.bytes(LINE + 0x100, b"/item/7?force=1");
    memory.words(REQUEST, &request((LINE, 6), (LINE + 0x100, 15), 0));
    let event = start(&memory, &layout());
    assert_eq!(
        (method(&event), path(&event)),
        (&b"DELETE"[..], &b"/item/7?force=1"[..])
    );
}

#[test]
fn a_path_is_cut_at_96_bytes_in_both_shapes() {
    let mut line = b"OPTIONS /".to_vec();
    line.extend([b'p'; 200]);
    let event = start(&http1(&line, 7, 201), &layout());
    assert_eq!(method(&event), b"OPTIONS");
    assert_eq!(path(&event), &line[8..8 + 96]);

    let mut memory = Memory::with_goroutine();
    memory.bytes(LINE, b"GET");
    memory.bytes(LINE + 0x100, &line[8..]);
    memory.words(REQUEST, &request((LINE, 3), (LINE + 0x100, 201), 0));
    assert_eq!(path(&start(&memory, &layout())), &line[8..8 + 96]);
}

#[test]
fn a_method_of_15_bytes_fits_and_a_longer_one_is_none() {
    let event = start(&http1(b"ABCDEFGHIJKLMNO /x", 15, 2), &layout());
    assert_eq!(
        (method(&event), path(&event)),
        (&b"ABCDEFGHIJKLMNO"[..], &b"/x"[..])
    );
    let event = start(&http1(b"ABCDEFGHIJKLMNOP /x", 16, 2), &layout());
    assert_eq!((event.method_len, event.path_at, event.path_len), (0, 0, 0));
    let event = start(&http1(b"x", u64::MAX, 2), &layout());
    assert_eq!((event.method_len, event.path_len), (0, 0));
}

#[test]
fn a_line_that_cannot_be_read_is_left_out() {
    let mut memory = http1(b"GET /report/7", 3, 9);
    memory.cut(LINE + 5);
    let event = start(&memory, &layout());
    assert_eq!((event.method_len, event.path_len), (0, 0));
}

#[test]
fn ids_are_read_when_wanted_in_both_kinds_of_map() {
    let mut wanted = layout();
    wanted.flags |= READ_IDS;
    wanted.headers[0] = HeaderName::new("X-Request-Id").unwrap();
    wanted.header_lens = 1 << 12;
    let slots = [Some(("Host", "x")), Some(("X-Request-Id", "abc"))];

    let mut memory = http1(b"GET /", 3, 1);
    let map = small_swiss(&mut memory, &slots);
    memory.words(REQUEST, &request((LINE, 3), (LINE + 4, 1), map));
    let event = start(&memory, &wanted);
    assert_eq!((event.flags, event.id_row), (0, 1));
    assert_eq!(&event.id[..event.id_len as usize], b"abc");
    assert_eq!(path(&event), b"/");

    let mut memory = http1(b"GET /", 3, 1);
    let map = buckets_of(&mut memory, &[&slots]);
    memory.words(REQUEST, &request((LINE, 3), (LINE + 4, 1), map));
    let mut event: RequestStarted = record();
    started::<false, _, _>(&memory, &wanted, &regs(), &mut event).unwrap();
    assert_eq!(&event.id[..event.id_len as usize], b"abc");
}

#[test]
fn what_cannot_be_read_is_a_loss() {
    let mut memory = http1(b"GET /", 3, 1);
    memory.cut(REQUEST + 256);
    let mut event: RequestStarted = record();
    let result = started::<true, _, _>(&memory, &layout(), &regs(), &mut event);
    assert_eq!(result, Err(Skip::Object));
    let blind = RegisterSet { g: 8, ..regs() };
    let result = started::<true, _, _>(&memory, &layout(), &blind, &mut event);
    assert_eq!(result, Err(Skip::Goroutine));
}

/// `http2.ServerRequest` of Go 1.27.
#[test]
fn a_stream_of_http2_is_read_where_its_server_keeps_it() {
    let mut memory = Memory::with_goroutine();
    memory.bytes(LINE, b"POST");
    memory.bytes(LINE + 0x100, b"/shop.Depot/Echo");
    let mut words = [0u64; 22];
    [words[0], words[1]] = [0x56_0000, CTX];
    [words[6], words[7]] = [LINE, 4];
    [words[18], words[19]] = [LINE + 0x100, 16];
    memory.words(REQUEST, &words);
    let regs = RegisterSet {
        args: [HEAP + 0x700, WRITER, REQUEST, 0, 0, 0, 0, 0, 0],
        g: G,
        ..RegisterSet::default()
    };
    let layout = Layout {
        h2_ctx: 0,
        h2_method: 48,
        h2_header: 72,
        h2_uri: 144,
        ..layout()
    };
    let mut event: RequestStarted = record();
    started_by_http2::<true, _, _>(&memory, &layout, &regs, &mut event).unwrap();
    assert_eq!(event.request, REQUEST);
    assert_eq!(event.writer, link(0, WRITER));
    assert_eq!(event.ctx, link(0x56_0000, CTX));
    assert_eq!(
        (method(&event), path(&event)),
        (&b"POST"[..], &b"/shop.Depot/Echo"[..])
    );
    assert_eq!(event.flags, REQUEST_IDS_UNREAD | REQUEST_HTTP2);
}
