//! Requests begin and end.

use std::sync::Arc;

use super::super::{Ending, Fact, ReqId, Trace};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, get};
use crate::finding::CancelledBy;
use crate::inspect::RequestDetails;
use crate::testkit::{
    Created, MS, ModelScene, Record, call, cancel, cascade, conn_end, request, request_end,
    request_end_by, socket,
};
use observer_common::event::{REQUEST_BIG_MAP, REQUEST_HTTP2, REQUEST_IDS_UNREAD};
use observer_common::tcp::{CLOSE_WAIT, ESTABLISHED};

const TRACEPARENT: &[u8; 55] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn id(fact: Fact) -> ReqId {
    match fact {
        Fact::RequestStarted(id) | Fact::RequestCancelled(id) | Fact::RequestEnded(id) => id,
        other => panic!("not of a request: {other:?}"),
    }
}

#[test]
fn a_request_begins_and_ends() {
    let mut scene = ModelScene::new();
    let mut start = get(&scene.code);
    if let Record::Request(record) = &mut start {
        record.id_row = 1;
        record.id_len = 6;
        record.id[..6].copy_from_slice(b"3f1c9a");
        record.trace_len = 55;
        record.trace[..55].copy_from_slice(TRACEPARENT);
    }
    let facts = scene.take(5, &start);
    let [Fact::RequestStarted(number)] = facts[..] else {
        panic!("{facts:?}");
    };
    let request = scene.model.request(number).unwrap();
    assert_eq!(request.method.as_deref(), Some("GET"));
    assert_eq!(request.path.as_deref(), Some("/report/7"));
    assert_eq!(
        (request.id_row, request.id_value.as_deref()),
        (1, Some("3f1c9a"))
    );
    assert!(!request.id_cut);
    let trace = request.trace.context().unwrap();
    assert_eq!(trace.parent_id.to_string(), "00f067aa0ba902b7");
    assert!(!request.ids_open);
    assert!(!request.headers_left);
    assert_eq!((request.goid, request.start_ns), (SERVING, 5 * MS));
    assert_eq!(
        (request.ctx_data, request.writer, request.request),
        (ROOT, ROOT + 1, ROOT + 2)
    );
    assert_eq!(request.ended, None);
    assert_eq!(scene.model.running().count(), 1);

    let end = request_end(&scene.code, ROOT);
    assert_eq!(scene.take(9, &end), [Fact::RequestEnded(number)]);
    let request = scene.model.request(number).unwrap();
    assert_eq!(request.ended, Some((9 * MS, Ending::Normal)));
    assert_eq!(scene.model.running().count(), 0);
    // It ends once.
    assert_eq!(scene.take(10, &end), []);
    assert_eq!(scene.model.totals().requests, 1);
}

#[test]
fn a_query_is_not_kept() {
    let mut scene = ModelScene::new();
    let start = request(&scene.code, SERVING, ROOT, "GET /a?token=secret");
    let facts = scene.take(1, &start);
    let request = scene.model.request(id(facts[0])).unwrap();
    assert_eq!(request.path.as_deref(), Some("/a"));
}

#[test]
fn headers_that_the_probe_did_not_look_through_are_left() {
    for (flag, left) in [(REQUEST_IDS_UNREAD, false), (REQUEST_BIG_MAP, true)] {
        let mut scene = ModelScene::new();
        let mut start = get(&scene.code);
        if let Record::Request(record) = &mut start {
            record.flags = flag;
            record.method_len = 0;
            record.path_len = 0;
        }
        let facts = scene.take(1, &start);
        let request = scene.model.request(id(facts[0])).unwrap();
        assert_eq!(request.headers_left, left);
        assert_eq!((&request.method, &request.path), (&None, &None));
    }
}

#[test]
fn a_broken_traceparent_is_counted_once_and_not_believed() {
    let mut scene = ModelScene::new();
    let mut start = get(&scene.code);
    if let Record::Request(record) = &mut start {
        record.trace_len = 64;
        record.trace[..55].copy_from_slice(TRACEPARENT);
        record.trace[55..].fill(b'0');
        record.id_row = 1;
        record.id_len = 65;
        record.id.fill(b'a');
    }
    let facts = scene.take(1, &start);
    let number = id(facts[0]);
    let request = scene.model.request(number).unwrap();
    assert_eq!(request.trace, Trace::Broken);
    assert!(request.id_cut);
    assert_eq!(scene.model.totals().traces_broken, 1);
    // Memory says the same once more.
    let sound = std::str::from_utf8(TRACEPARENT).unwrap();
    let details = Arc::new(RequestDetails::default());
    for trace in [None, Some("00-x"), Some(sound)] {
        scene.model.set_details(number, Arc::clone(&details), trace);
    }
    assert_eq!(scene.model.totals().traces_broken, 1);
    assert_eq!(scene.model.request(number).unwrap().trace, Trace::Broken);
}

#[test]
fn a_traceparent_can_come_from_memory() {
    let mut scene = ModelScene::new();
    let start = get(&scene.code);
    for (trace, broken) in [("00-x", 1), (std::str::from_utf8(TRACEPARENT).unwrap(), 1)] {
        let facts = scene.take(1, &start);
        let number = facts.iter().find_map(|fact| match fact {
            Fact::RequestStarted(number) => Some(*number),
            _ => None,
        });
        let number = number.unwrap();
        let details = Arc::new(RequestDetails::default());
        scene.model.set_details(number, Arc::clone(&details), None);
        assert_eq!(scene.model.request(number).unwrap().trace, Trace::None);
        scene.model.set_details(number, details, Some(trace));
        assert_eq!(scene.model.request(number).unwrap().trace, Trace::of(trace));
        assert_eq!(scene.model.totals().traces_broken, broken);
    }
}

#[test]
fn lengths_that_lie_do_not_leave_the_record() {
    let mut scene = ModelScene::new();
    let mut start = get(&scene.code);
    if let Record::Request(record) = &mut start {
        record.method_len = u32::MAX;
        record.path_at = u32::MAX;
        record.path_len = u32::MAX;
        record.id_len = u32::MAX;
        record.trace_len = u64::MAX;
    }
    let facts = scene.take(1, &start);
    let request = scene.model.request(id(facts[0])).unwrap();
    assert_eq!(request.path, None);
}

#[test]
fn keep_alive_requests_follow_each_other_on_one_goroutine_and_address() {
    let mut scene = ModelScene::new();
    let first = id(scene.take(1, &get(&scene.code))[0]);
    let end = request_end(&scene.code, ROOT);
    scene.take(2, &end);
    // Go reuses the memory of the ended request's context at once.
    let second = id(scene.take(3, &get(&scene.code))[0]);
    assert_ne!(first, second);
    let made = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        ..Created::default()
    };
    let facts = scene.take(4, &made.record(&scene.code));
    let [Fact::ContextCreated(ctx)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(scene.model.context(ctx).unwrap().owner, Some(second));
    assert_eq!(scene.take(5, &end), [Fact::RequestEnded(second)]);
    assert_eq!(scene.model.request(first).unwrap().ended_ns(), Some(2 * MS));
}

#[test]
fn a_request_whose_end_was_missed_is_superseded_and_never_whole() {
    let mut scene = ModelScene::new();
    let first = id(scene.take(1, &get(&scene.code))[0]);
    let next = request(&scene.code, SERVING, ROOT + 0x100, "GET /");
    let facts = scene.take(3, &next);
    assert_eq!(facts[0], Fact::RequestEnded(first));
    let request = scene.model.request(first).unwrap();
    assert_eq!(request.ended, Some((3 * MS, Ending::Superseded)));
    assert!(!scene.model.is_whole(request.epoch));
    let second = scene.model.request(id(facts[1])).unwrap();
    assert!(scene.model.is_whole(second.epoch));
}

#[test]
fn a_loss_makes_running_requests_unknown_and_later_ones_not() {
    let mut scene = ModelScene::new();
    let first = id(scene.take(1, &get(&scene.code))[0]);
    let other = request(&scene.code, 20, 0x5000, "GET /");
    scene.take(1, &other);
    scene.take(2, &request_end(&scene.code, 0x5000));
    assert_eq!(scene.model.loss(), 1);
    assert!(
        !scene
            .model
            .is_whole(scene.model.request(first).unwrap().epoch)
    );
    // Unknown is counted once.
    assert_eq!(scene.model.loss(), 0);
    assert_eq!(scene.model.totals().unknown, 1);
    let facts = scene.take(3, &other);
    assert!(
        scene
            .model
            .is_whole(scene.model.request(id(facts[0])).unwrap().epoch)
    );
}

#[test]
fn what_ran_before_anybody_looked_is_unknown_when_it_ends() {
    let mut scene = ModelScene::new();
    // Its client leaves; it ends.
    let cancelled = cascade(&scene.code, 12, 0x5000);
    assert_eq!(scene.take(1, &cancelled), []);
    assert_eq!(scene.model.totals().unknown, 0);
    assert_eq!(scene.take(2, &request_end(&scene.code, 0x5000)), []);
    assert_eq!(scene.model.totals().unknown, 1);
    // Its connection, and idle ones.
    for conn in [0x800, 0x900] {
        assert_eq!(scene.take(3, &conn_end(&scene.code, conn)), []);
    }
    assert_eq!(scene.model.totals().unknown, 1);
    // One whose start was seen is none of them, nor is its connection.
    scene.take(4, &get(&scene.code));
    scene.take(5, &request_end(&scene.code, ROOT));
    scene.take(6, &conn_end(&scene.code, 0xa00));
    assert_eq!(scene.model.totals().unknown, 1);
    // Of HTTP/2 and gRPC, nothing else is cancelled there; so after a panic.
    for by in [
        "net/http/internal/http2.(*serverConn).runHandler.func1",
        "google.golang.org/grpc/internal/transport.(*http2Server).finishStream",
        "net/http.(*conn).serve.func1",
    ] {
        let end = request_end_by(&scene.code, 0x6000, by);
        assert_eq!(scene.take(7, &end), []);
    }
    assert_eq!(scene.model.totals().unknown, 4);
    assert_eq!(scene.model.totals().requests, 1);
}

#[test]
fn what_a_goroutine_does_after_its_request_is_not_that_requests() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    scene.take(2, &request_end(&scene.code, ROOT));
    let late = call(
        &scene.code,
        (SERVING, 0),
        0x9000,
        &[("context.backgroundCtx", 8)],
        &[],
    );
    let facts = scene.take(3, &late);
    let [Fact::CallStarted(call)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(scene.model.call(call).unwrap().owner, None);
}

#[test]
fn hits_of_the_serving_goroutine_are_its_heartbeat() {
    let mut scene = ModelScene::new();
    let number = id(scene.take(1, &get(&scene.code))[0]);
    for tick in 1..=9u64 {
        let at = 0x9000 + tick;
        let beat = call(&scene.code, (SERVING, 0), at, &[(CANCEL_CTX, ROOT)], &[]);
        scene.take(100 * tick, &beat);
    }
    let beats = &scene.model.request(number).unwrap().beats_ns;
    let expected: Vec<u64> = (4..=9).map(|tick| 100 * tick * MS).collect();
    assert_eq!(beats[..], expected);
}

#[test]
fn a_process_that_ended_is_forgotten() {
    let mut scene = ModelScene::new();
    let number = id(scene.take(1, &get(&scene.code))[0]);
    let made = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        ..Created::default()
    };
    scene.take(2, &made.record(&scene.code));
    scene.take(
        3,
        &call(&scene.code, (SERVING, 0), 1, &[(CANCEL_CTX, CHILD)], &[]),
    );
    assert_eq!(scene.model.size(), 4);
    scene.model.forget_process(crate::testkit::PID);
    assert_eq!(scene.model.size(), 0);
    assert!(scene.model.request(number).is_none());
    // Events that were on their way meet nothing.
    assert_eq!(scene.take(4, &request_end(&scene.code, ROOT)), []);
}

#[test]
fn time_only_moves_forward() {
    let mut scene = ModelScene::new();
    scene.take(7, &get(&scene.code));
    let facts = scene.take(3, &request_end(&scene.code, ROOT));
    let request = scene.model.request(id(facts[0])).unwrap();
    assert_eq!(request.ended_ns(), Some(7 * MS));
    assert_eq!(scene.model.now_ns(), 7 * MS);
}

/// A server of HTTP/2 tells of a stream.
fn by_http2(scene: &ModelScene, goid: u64, ctx: u64) -> Record {
    let mut start = request(&scene.code, goid, ctx, "POST /shop.Depot/Echo");
    if let Record::Request(record) = &mut start {
        record.flags = REQUEST_HTTP2;
    }
    start
}

#[test]
fn what_http2_and_net_http_tell_of_is_one_request() {
    let mut scene = ModelScene::new();
    let start = by_http2(&scene, SERVING, ROOT);
    let number = id(scene.take(1, &start)[0]);
    let mut again = request(&scene.code, SERVING, ROOT, "POST /shop.Depot/Echo");
    if let Record::Request(record) = &mut again {
        (record.request, record.writer.data) = (0x8000, 0x8100);
    }
    assert_eq!(scene.take(1, &again), []);
    let request = scene.model.request(number).unwrap();
    assert_eq!((request.request, request.writer), (0x8000, 0x8100));
    assert_eq!(scene.model.totals().requests, 1);
    // The next on that goroutine is another, whatever its context's address.
    let end = request_end(&scene.code, ROOT);
    assert_eq!(scene.take(2, &end), [Fact::RequestEnded(number)]);
    assert_ne!(id(scene.take(3, &again)[0]), number);
}

#[test]
fn a_stream_below_a_hijacked_connection_is_a_request_and_dies_with_that() {
    const CONNECTION: u64 = 0x9000;
    const BASE: u64 = 0x9100;
    let mut scene = ModelScene::new();
    let start = request(&scene.code, 40, CONNECTION, "PRI *");
    let connection = id(scene.take(1, &start)[0]);
    for (child, parent, goid) in [(BASE, CONNECTION, 40), (ROOT, BASE, 40)] {
        let made = Created {
            goid,
            child: (CANCEL_CTX, child),
            chain: &[(CANCEL_CTX, parent)],
            stack: &[
                "context.WithCancel",
                "golang.org/x/net/http2.(*serverConn).newStream",
            ],
            ..Created::default()
        };
        scene.take(2, &made.record(&scene.code));
    }
    let start = by_http2(&scene, SERVING, ROOT);
    let stream = id(scene.take(3, &start)[0]);
    assert_ne!(stream, connection);
    let leaves = [
        "context.WithCancel.func1",
        "golang.org/x/net/http2.(*Server).ServeConn",
    ];
    let closed = socket("192.0.2.7:51322", (ESTABLISHED, CLOSE_WAIT), 0);
    scene.take(4, &closed);
    scene.take(5, &cancel(&scene.code, 40, BASE, &leaves));
    let facts = scene.take(5, &cascade(&scene.code, 40, ROOT));
    assert_eq!(facts, [Fact::RequestCancelled(stream)]);
    let root = scene.model.request(stream).unwrap().root;
    let cancel = scene.model.context(root).unwrap().cancelled.as_ref();
    assert_eq!(cancel.map(|cancel| cancel.by), Some(CancelledBy::Client));
    let handler = "golang.org/x/net/http2.(*serverConn).runHandler.func1";
    let end = request_end_by(&scene.code, ROOT, handler);
    assert_eq!(scene.take(9, &end), [Fact::RequestEnded(stream)]);
}
