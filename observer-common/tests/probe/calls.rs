//! Outgoing calls.

use observer_common::event::{
    ATTEMPT_AGAIN, ATTEMPT_BEGINS, ATTEMPT_OVER, BodyFailed, CallAttempt, CallCancelled,
    CallRedirected, CallStarted, CallStreamEnded, ConnCancelled, Kind,
};
use observer_common::layout::Layout;
use observer_common::probe::Skip;
use observer_common::probe::call::{
    attempted, body_failed, cancelled, conn_cancelled, head, redirected, retried, started,
    stream_ended,
};
use observer_common::regs::RegisterSet;

use super::memory::{GOID, HEAP, Memory, PARENT_GOID, inside, layout, link, record, stack};

const REQUEST: u64 = HEAP;
const URL: u64 = HEAP + 0x200;
const CTX: u64 = HEAP + 0x300;
const TEXTS: u64 = HEAP + 0x400;

fn call(method: &[u8], host: &[u8], path: &[u8]) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    regs.args[0] = HEAP + 0x2000;
    regs.args[1] = REQUEST;
    let at = |n: u64| TEXTS + 0x200 * n;
    let mut request = [0u64; 33];
    request[0] = memory.bytes(at(0), method);
    request[1] = method.len() as u64;
    request[2] = URL;
    request[31] = 0x54_0000;
    request[32] = CTX;
    memory.words(REQUEST, &request);
    let mut url = [0u64; 10];
    url[5] = memory.bytes(at(1), host);
    url[6] = host.len() as u64;
    url[7] = memory.bytes(at(2), path);
    url[8] = path.len() as u64;
    memory.words(URL, &url);
    memory.words(CTX, &[0, 0]);
    (memory, regs)
}

fn start(memory: &Memory, regs: &RegisterSet) -> (CallStarted, bool) {
    let mut event: CallStarted = record();
    let head = head(memory, &layout(), regs).unwrap();
    let partial = started(memory, &layout(), regs, head, &mut event).unwrap();
    (event, partial)
}

/// `Response` one word before `ctx`, as up to Go 1.22; three words before it; and unknown.
fn layouts() -> [Layout; 3] {
    let at = |req_response| Layout {
        req_response,
        response_req: 64,
        ..layout()
    };
    let ctx = layout().req_ctx;
    [at(ctx - 8), at(ctx - 24), at(0)]
}

#[test]
fn a_redirected_request_names_the_one_before() {
    let (response, previous, url) = (HEAP + 0x1000, HEAP + 0x1400, HEAP + 0x1800);
    for (gap, layout) in [1, 3].into_iter().zip(layouts()) {
        let (mut memory, regs) = call(b"GET", b"store", b"/x");
        let plain = head(&memory, &layout, &regs).unwrap();
        assert_eq!((plain.ctx, plain.response), (link(0x54_0000, CTX), 0));
        memory.words(REQUEST + 248 - 8 * gap, &[response]);
        let found = head(&memory, &layout, &regs).unwrap();
        assert_eq!((found.ctx, found.response), (plain.ctx, response));
        let mut event: CallRedirected = record();
        let unread = redirected(&memory, &layout, &regs, found, &mut event);
        assert_eq!(unread, Err(Skip::Object));
        memory.words(response + 64, &[previous]);
        memory.words(previous, &[0, 0, url]);
        redirected(&memory, &layout, &regs, found, &mut event).unwrap();
        assert_eq!(event.header.kind, Kind::CallRedirected as u8);
        assert_eq!((event.header.goid, event.request), (GOID, REQUEST));
        assert_eq!(event.previous_url, url);
    }
    let (mut memory, regs) = call(b"GET", b"store", b"/x");
    memory.words(REQUEST + 240, &[response]);
    let [.., unknown] = layouts();
    let found = head(&memory, &unknown, &regs).unwrap();
    assert_eq!((found.ctx, found.response), (link(0x54_0000, CTX), 0));
}

#[test]
fn attempts_say_what_they_are() {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    let mut event: CallAttempt = record();
    for (function, what) in [(HEAP + 8, ATTEMPT_BEGINS), (0, ATTEMPT_OVER)] {
        regs.args = [HEAP, REQUEST, function, 0, 0, 0, 0, 0, 0];
        attempted(&memory, &layout(), &regs, &mut event).unwrap();
        assert_eq!(event.header.kind, Kind::CallAttempt as u8);
        let told = (event.header.goid, event.request, event.what);
        assert_eq!(told, (GOID, REQUEST, what));
    }
    regs.args = [REQUEST, 0, 0, 0, 0, 0, 0, 0, 0];
    retried(&memory, &layout(), &regs, &mut event).unwrap();
    assert_eq!((event.request, event.what), (REQUEST, ATTEMPT_AGAIN));
    regs.g = 8;
    for failed in [
        attempted(&memory, &layout(), &regs, &mut event),
        retried(&memory, &layout(), &regs, &mut event),
    ] {
        assert_eq!(failed, Err(Skip::Goroutine));
    }
}

#[test]
fn a_stream_tells_who_started_it_and_why_it_ended() {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    let mut event: CallStreamEnded = record();
    stream_ended(&memory, &layout(), &regs, &mut event).unwrap();
    assert_eq!(event.header.kind, Kind::CallStreamEnded as u8);
    let who = (event.header.goid, event.header.parent_goid);
    assert_eq!(who, (GOID, PARENT_GOID));
    assert_eq!((event.err, event.text), (link(0, 0), [0; 24]));
    let text = b"http2: response body closed";
    let at = memory.bytes(TEXTS, text);
    memory.words(HEAP, &[at, text.len() as u64]);
    regs.args = [REQUEST, 0x55_0000, HEAP, 0, 0, 0, 0, 0, 0];
    stream_ended(&memory, &layout(), &regs, &mut event).unwrap();
    assert_eq!(event.err, link(0x55_0000, HEAP));
    assert_eq!(event.text[..], text[..24]);
    // An error of another type has no text there.
    memory.words(HEAP, &[8, u64::MAX]);
    stream_ended(&memory, &layout(), &regs, &mut event).unwrap();
    assert_eq!(event.text, [0; 24]);
    let orphan = Layout {
        g_parent_words: 0,
        ..layout()
    };
    stream_ended(&memory, &orphan, &regs, &mut event).unwrap();
    assert_eq!(event.header.parent_goid, 0);
    regs.g = 8;
    let lost = stream_ended(&memory, &layout(), &regs, &mut event);
    assert_eq!(lost, Err(Skip::Goroutine));
}

#[test]
fn a_call_is_told_with_its_target_and_its_context_first() {
    let (memory, regs) = call(b"POST", b"store:8080", b"/item/7");
    let (event, partial) = start(&memory, &regs);
    assert!(!partial);
    assert_eq!(event.header.kind, Kind::CallStarted as u8);
    assert_eq!(
        (event.header.goid, event.header.parent_goid),
        (GOID, PARENT_GOID)
    );
    assert_eq!(event.request, REQUEST);
    assert_eq!(&event.chain[..event.links as usize], [link(0x54_0000, CTX)]);
    assert_eq!(event.pcs[..event.frames as usize], [inside(1), inside(2)]);
    assert_eq!(&event.method[..event.method_len as usize], b"POST");
    assert_eq!(&event.host[..event.host_len as usize], b"store:8080");
    assert_eq!((event.path_len, &event.path[..7]), (7, &b"/item/7"[..]));
}

#[test]
fn long_parts_are_cut_and_an_empty_method_is_one() {
    let (memory, regs) = call(b"", &[b'h'; 100], &[b'p'; 300]);
    let (event, partial) = start(&memory, &regs);
    assert!(!partial);
    assert_eq!(event.method_len, 0);
    assert_eq!(event.host, [b'h'; 64]);
    assert_eq!((event.host_len, event.path_len), (64, 96));
    assert_eq!(event.path, [b'p'; 96]);
    let (memory, regs) = call(b"PROPPATCHED", b"h", b"/");
    let (event, _) = start(&memory, &regs);
    assert_eq!(&event.method[..event.method_len as usize], b"PROPPATC");
}

#[test]
fn a_part_that_cannot_be_read_leaves_the_others() {
    let (mut memory, regs) = call(b"GET", b"store", b"/x");
    memory.words(URL + 40, &[8, 5]);
    let (event, partial) = start(&memory, &regs);
    assert!(partial);
    assert_eq!(
        (event.method_len, event.host_len, event.path_len),
        (3, 0, 2)
    );
    let (mut memory, regs) = call(b"GET", b"store", b"/x");
    memory.words(REQUEST + 16, &[0]);
    let (event, partial) = start(&memory, &regs);
    assert!(partial);
    assert_eq!(
        (event.method_len, event.host_len, event.path_len),
        (0, 0, 0)
    );
}

#[test]
fn without_its_context_a_call_is_a_loss() {
    let (mut memory, regs) = call(b"GET", b"store", b"/x");
    memory.cut(REQUEST + 248);
    assert_eq!(head(&memory, &layout(), &regs), Err(Skip::Object));
}

#[test]
fn given_up_calls_and_connections_name_their_objects() {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    regs.args = [HEAP, REQUEST + 8, 0x55_0000, HEAP + 64, 0, 0, 0, 0, 0];
    let mut gone: CallCancelled = record();
    cancelled(&memory, &layout(), &regs, &mut gone).unwrap();
    assert_eq!(gone.header.kind, Kind::CallCancelled as u8);
    assert_eq!((gone.header.goid, gone.request), (GOID, REQUEST + 8));
    assert_eq!(gone.err, link(0x55_0000, HEAP + 64));
    let mut closed: ConnCancelled = record();
    conn_cancelled(&memory, &layout(), &regs, &mut closed).unwrap();
    assert_eq!(closed.header.kind, Kind::ConnCancelled as u8);
    assert_eq!((closed.header.goid, closed.conn), (GOID, HEAP));
    regs.g = 8;
    assert_eq!(
        cancelled(&memory, &layout(), &regs, &mut gone),
        Err(Skip::Goroutine)
    );
    assert_eq!(
        conn_cancelled(&memory, &layout(), &regs, &mut closed),
        Err(Skip::Goroutine)
    );
}

#[test]
fn a_failed_read_is_told_where_a_cancel_closed_the_connection() {
    let mut memory = Memory::with_goroutine();
    let mut regs = stack(&mut memory, &[inside(1), inside(2)]);
    regs.args[0] = HEAP;
    let mut read: BodyFailed = record();
    assert_eq!(
        body_failed(&memory, &layout(), &regs, &mut read),
        Err(Skip::Object)
    );
    let canceled = HEAP + u64::from(layout().conn_canceled);
    memory.words(canceled, &[0]);
    assert_eq!(
        body_failed(&memory, &layout(), &regs, &mut read),
        Err(Skip::Quiet)
    );
    memory.words(canceled, &[0x55_0000]);
    let whole = body_failed(&memory, &layout(), &regs, &mut read);
    assert_eq!(whole, Ok(false));
    assert_eq!(read.header.kind, Kind::BodyFailed as u8);
    assert_eq!((read.header.goid, read.conn), (GOID, HEAP));
    assert_eq!(
        (read.frames, &read.pcs[..2]),
        (2, &[inside(1), inside(2)][..])
    );
    regs.g = 8;
    assert_eq!(
        body_failed(&memory, &layout(), &regs, &mut read),
        Err(Skip::Goroutine)
    );
}
