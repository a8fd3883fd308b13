//! What the kernel saw of a peer, joined with its request.

use observer_common::tcp::{CLOSE, CLOSE_WAIT, ECONNRESET, EPIPE, ESTABLISHED, LAST_ACK, LISTEN};

use super::{CANCEL_CTX, CHILD, READER, ROOT, SERVING, get};
use crate::finding::{CancelledBy, PeerClose};
use crate::model::{Fact, Peer, ReqId};
use crate::testkit::{
    Created, MS, ModelScene, NETNS, ReadError, Record, cancel, cascade, conn_error_of, request_end,
    server_closing, socket,
};

const PEER: &str = "192.0.2.7:51322";
const OTHER: &str = "192.0.2.7:51323";
/// As the request's record names its response.
const RESPONSE: u64 = ROOT + 1;

fn fin(peer: &str) -> Record {
    socket(peer, (ESTABLISHED, CLOSE_WAIT), 0)
}

fn reset(peer: &str) -> Record {
    socket(peer, (ESTABLISHED, CLOSE), ECONNRESET)
}

fn over(peer: &str) -> Record {
    socket(peer, (CLOSE_WAIT, LAST_ACK), 0)
}

/// Go notices the client's close and cancels the request.
fn go_notices(scene: &mut ModelScene, at_ms: u64, peer: &str) {
    let stack = [
        "context.WithCancel.func1",
        "net/http.(*connReader).handleReadErrorLocked",
    ];
    let code = &scene.code;
    let records = [
        conn_error_of(code, READER, ReadError::Text("EOF"), (RESPONSE, peer)),
        cancel(code, READER, 0x800, &stack),
        cascade(code, READER, ROOT),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
}

fn started(scene: &mut ModelScene, at_ms: u64) -> ReqId {
    let facts = scene.take(at_ms, &get(&scene.code));
    match facts.first() {
        Some(Fact::RequestStarted(id)) => *id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_time_from_the_kernels_fin_to_gos_cancel_is_the_delivery() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    assert!(matches!(
        scene.take(300, &fin(PEER))[..],
        [Fact::PeerClosed(_)]
    ));
    go_notices(&mut scene, 304, PEER);
    let delivery = scene.model.request(id).unwrap().delivery.unwrap();
    assert_eq!(delivery.closed.at_ns, 300 * MS);
    assert_eq!(delivery.closed.how, PeerClose::Fin);
    assert_eq!(delivery.latency_ns, 4 * MS);
    assert_eq!(scene.model.delivery().count(), 1);
    assert_eq!(scene.model.delivery().max_ns(), 4 * MS);
}

#[test]
fn a_close_before_the_request_began_could_not_have_been_told_sooner() {
    let mut scene = ModelScene::new();
    scene.take(5, &fin(PEER));
    let id = started(&mut scene, 10);
    go_notices(&mut scene, 11, PEER);
    let delivery = scene.model.request(id).unwrap().delivery.unwrap();
    assert_eq!(delivery.latency_ns, MS);
}

#[test]
fn another_peer_s_close_is_not_taken_for_this_one_s() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    scene.take(300, &fin(OTHER));
    go_notices(&mut scene, 304, PEER);
    assert!(scene.model.request(id).unwrap().delivery.is_none());
}

#[test]
fn a_cancel_that_is_not_the_clients_tells_no_delivery() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    scene.take(300, &fin(PEER));
    scene.model.set_peer(id, Some(PEER), Some(8080));
    let stack = ["context.WithDeadlineCause.func2", "time.goFunc"];
    let deadline = cancel(&scene.code, READER, ROOT, &stack);
    scene.take(304, &deadline);
    assert!(scene.model.request(id).unwrap().delivery.is_none());
}

#[test]
fn after_the_owner_closed_the_ends_are_free_for_another_connection() {
    let mut scene = ModelScene::new();
    scene.take(5, &fin(PEER));
    scene.take(6, &over(PEER));
    let id = started(&mut scene, 10);
    scene.model.set_peer(id, Some(PEER), Some(8080));
    assert_eq!(scene.model.connection_of(id, &scene.code), None);
}

#[test]
fn a_peer_that_is_learnt_after_both_have_closed_still_tells_the_delivery() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    scene.take(300, &fin(PEER));
    let stack = [
        "context.WithCancel.func1",
        "net/http.(*http2serverConn).closeStream",
    ];
    let told = cancel(&scene.code, READER, ROOT, &stack);
    scene.take(302, &told);
    scene.take(303, &over(PEER));
    let (model, code) = (&mut scene.model, &scene.code);
    model.note_delivery(id, code);
    assert!(model.request(id).unwrap().delivery.is_none());
    model.set_peer(id, Some(PEER), None);
    model.note_delivery(id, code);
    assert_eq!(
        model.request(id).unwrap().delivery.unwrap().latency_ns,
        2 * MS
    );
    assert_eq!(model.connection_of(id, code), None);
}

/// Go's HTTP/2 server ends a connection with its streams: up to Go 1.22 by the connection's context, since then each.
fn http2_is_over(scene: &mut ModelScene, at_ms: u64, go_122: bool) {
    let code = &scene.code;
    let [first, then] = if go_122 {
        let stack = [
            "context.WithCancel.func1",
            "golang.org/x/net/http2.(*Server).ServeConn",
        ];
        let cancelled = cancel(code, READER, 0x100, &stack);
        [cancelled, cascade(code, READER, ROOT)]
    } else {
        let stack = [
            "context.WithCancel.func1",
            "net/http.(*http2serverConn).closeStream",
            "net/http.(*http2serverConn).serve.deferwrap3",
        ];
        let child = cascade(code, READER, CHILD);
        [cancel(code, READER, ROOT, &stack), child]
    };
    scene.take(at_ms, &first);
    scene.take(at_ms, &then);
}

fn who(scene: &ModelScene, id: ReqId) -> CancelledBy {
    let root = scene.model.request(id).unwrap().root;
    let ctx = scene.model.context(root).unwrap();
    ctx.cancelled.as_ref().unwrap().by
}

#[test]
fn an_http2_connection_that_no_peer_has_closed_is_not_ended_by_the_client() {
    for go_122 in [true, false] {
        let mut scene = ModelScene::new();
        let id = started(&mut scene, 10);
        http2_is_over(&mut scene, 300, go_122);
        assert_eq!(who(&scene, id), CancelledBy::Unknown);
        // Somebody has left, but long ago, or somewhere else, or was long done with.
        let mut scene = ModelScene::new();
        let id = started(&mut scene, 10);
        scene.take(20, &fin(OTHER));
        let mut elsewhere = socket(PEER, (ESTABLISHED, CLOSE_WAIT), 0);
        let Record::Socket(record) = &mut elsewhere else {
            panic!("a socket's");
        };
        record.netns = NETNS + 1;
        scene.take(1_200, &elsewhere);
        scene.take(1_200, &fin("192.0.2.7:51324"));
        scene.take(1_201, &over("192.0.2.7:51324"));
        http2_is_over(&mut scene, 1_300, go_122);
        assert_eq!(who(&scene, id), CancelledBy::Unknown);
    }
}

/// gRPC's reader meets the end of a connection, whoever has closed it: one that is too old is closed by the server.
#[test]
fn a_grpc_connection_is_ended_by_the_client_where_the_kernel_saw_it_close() {
    for (leaves, by) in [
        (Some(fin(PEER)), CancelledBy::Client),
        (Some(reset(PEER)), CancelledBy::Client),
        (None, CancelledBy::Unknown),
    ] {
        let mut scene = ModelScene::new();
        let id = started(&mut scene, 10);
        if let Some(leaves) = &leaves {
            scene.take(299, leaves);
        }
        let stack = [
            "context.WithCancel.func1",
            "google.golang.org/grpc/internal/transport.(*http2Server).Close",
            "google.golang.org/grpc/internal/transport.(*http2Server).HandleStreams",
        ];
        let over = cancel(&scene.code, READER, ROOT, &stack);
        scene.take(300, &over);
        if leaves.is_none() {
            // The peer closes what it has been told is over.
            scene.take(301, &fin(PEER));
        }
        assert_eq!(who(&scene, id), by);
        scene.model.set_peer(id, Some(PEER), None);
        scene.model.note_delivery(id, &scene.code);
        assert_eq!(who(&scene, id), by);
    }
}

#[test]
fn who_ends_an_http2_connection_is_known_by_its_peer_and_until_then_by_any() {
    for go_122 in [true, false] {
        for (leaves, by) in [
            ([PEER, OTHER], CancelledBy::Client),
            ([OTHER, OTHER], CancelledBy::Unknown),
        ] {
            let mut scene = ModelScene::new();
            let id = started(&mut scene, 10);
            scene.take(298, &fin(leaves[0]));
            if go_122 {
                scene.take(299, &over(leaves[0]));
            }
            http2_is_over(&mut scene, 300, go_122);
            assert_eq!(who(&scene, id), CancelledBy::Client);
            if by != CancelledBy::Client {
                // What closes later has ended nothing.
                scene.take(310, &reset(PEER));
            }
            scene.model.set_peer(id, Some(PEER), None);
            scene.model.note_delivery(id, &scene.code);
            assert_eq!(who(&scene, id), by, "{leaves:?}");
            let delivery = scene.model.request(id).unwrap().delivery;
            assert_eq!(delivery.is_some(), by == CancelledBy::Client);
        }
    }
}

#[test]
fn a_server_that_closes_ends_what_its_peers_had_not_closed_before() {
    // When its peer closes, and when Go ends the streams, if the server begins to close at 290 ms.
    for (peer_ms, over_ms, at_first, known) in [
        (
            None,
            300,
            CancelledBy::ServerClose,
            CancelledBy::ServerClose,
        ),
        (
            // TLS has told the client that the server closes, and the client was faster.
            Some(298),
            300,
            CancelledBy::ServerClose,
            CancelledBy::ServerClose,
        ),
        (
            Some(280),
            300,
            CancelledBy::ServerClose,
            CancelledBy::Client,
        ),
        (Some(1_400), 1_401, CancelledBy::Client, CancelledBy::Client),
        (None, 1_401, CancelledBy::Unknown, CancelledBy::Unknown),
    ] {
        let mut scene = ModelScene::new();
        let id = started(&mut scene, 10);
        if let Some(at_ms) = peer_ms.filter(|at_ms| *at_ms < 290) {
            scene.take(at_ms, &fin(PEER));
        }
        scene.take(290, &server_closing(SERVING + 1));
        if let Some(at_ms) = peer_ms.filter(|at_ms| *at_ms >= 290) {
            scene.take(at_ms, &fin(PEER));
        }
        http2_is_over(&mut scene, over_ms, false);
        assert_eq!(who(&scene, id), at_first, "{peer_ms:?}");
        scene.model.set_peer(id, Some(PEER), None);
        scene.model.note_delivery(id, &scene.code);
        assert_eq!(who(&scene, id), known, "{peer_ms:?}");
        let delivery = scene.model.request(id).unwrap().delivery;
        assert_eq!(delivery.is_some(), known == CancelledBy::Client);
    }
}

#[test]
fn what_dies_with_an_http2_connection_is_corrected_with_it() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    let made = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        ..Created::default()
    };
    let facts = scene.take(20, &made.record(&scene.code));
    let [Fact::ContextCreated(child)] = facts[..] else {
        panic!("{facts:?}");
    };
    scene.take(298, &fin(OTHER));
    http2_is_over(&mut scene, 300, false);
    let root_by = |scene: &ModelScene| {
        let ctx = scene.model.context(child).unwrap();
        ctx.cancelled.as_ref().unwrap().root_by()
    };
    assert_eq!(root_by(&scene), CancelledBy::Client);
    scene.model.set_peer(id, Some(PEER), None);
    scene.model.note_delivery(id, &scene.code);
    assert_eq!(root_by(&scene), CancelledBy::Unknown);
}

#[test]
fn a_request_that_began_after_a_reset_is_another_connections() {
    let mut scene = ModelScene::new();
    let before = started(&mut scene, 10);
    scene.take(20, &reset(PEER));
    scene.model.set_peer(before, Some(PEER), Some(8080));
    let conn = scene.model.connection_of(before, &scene.code).unwrap();
    assert_eq!(conn.how(), PeerClose::Reset);
    scene.take(30, &request_end(&scene.code, ROOT));
    let after = started(&mut scene, 40);
    scene.model.set_peer(after, Some(PEER), Some(8080));
    assert_eq!(scene.model.connection_of(after, &scene.code), None);
}

#[test]
fn who_closed_is_told_by_the_socket_s_error() {
    let closed = |from, error| {
        let mut scene = ModelScene::new();
        let facts = scene.take(5, &socket(PEER, (from, CLOSE), error));
        match facts[..] {
            [Fact::PeerClosed(id), Fact::ConnectionOver(..)] => {
                scene.model.connection(id).map(|conn| conn.how())
            }
            [Fact::ConnectionOver(..)] => None,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(closed(ESTABLISHED, ECONNRESET), Some(PeerClose::Reset));
    assert_eq!(closed(CLOSE_WAIT, EPIPE), Some(PeerClose::Reset));
    // ETIMEDOUT: nobody answers any more.
    assert_eq!(closed(ESTABLISHED, 110), Some(PeerClose::Lost));
    // Its owner closed it, or somebody on this host did.
    assert_eq!(closed(ESTABLISHED, 0), None);
    assert_eq!(closed(ESTABLISHED, 103), None);
}

#[test]
fn other_changes_say_nothing() {
    let mut scene = ModelScene::new();
    for states in [(CLOSE, LISTEN), (ESTABLISHED, 4), (3, ESTABLISHED)] {
        assert_eq!(scene.take(5, &socket(PEER, states, 0)), []);
    }
    assert_eq!(scene.model.size(), 0);
}

#[test]
fn ipv6_and_mapped_ipv4_are_one_with_what_go_writes() {
    for (kernel, go) in [
        ("[::ffff:192.0.2.7]:51322", "192.0.2.7:51322"),
        ("[2001:db8::7]:51322", "[2001:db8::7]:51322"),
        ("[fe80::1]:51322", "[fe80::1%eth0]:51322"),
    ] {
        let mut scene = ModelScene::new();
        let id = started(&mut scene, 10);
        scene.take(300, &fin(kernel));
        go_notices(&mut scene, 304, go);
        assert!(scene.model.request(id).unwrap().delivery.is_some(), "{go}");
    }
}

#[test]
fn a_unix_socket_has_no_peer_that_the_kernel_tells_of() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    assert_eq!(scene.model.running_unasked(NETNS, 8, &scene.code), vec![id]);
    scene.model.set_peer(id, Some("@"), None);
    assert_eq!(scene.model.request(id).unwrap().peer, Peer::None);
    assert_eq!(scene.model.running_unasked(NETNS, 8, &scene.code), []);
}

#[test]
fn a_loss_forgets_what_was_closed() {
    let mut scene = ModelScene::new();
    scene.take(5, &fin(PEER));
    assert_eq!(scene.model.size(), 1);
    scene.model.loss();
    assert_eq!(scene.model.size(), 0);
}

#[test]
fn thousands_of_closed_connections_are_bounded_and_counted() {
    let mut scene = ModelScene::with(super::bounds::small());
    for port in 1..2000 {
        scene.take(5, &fin(&format!("192.0.2.7:{port}")));
    }
    assert_eq!(scene.model.size(), 4);
    assert_eq!(scene.model.totals().evicted, 1995);
    let mut scene = ModelScene::with(super::bounds::small());
    for port in 1..2000 {
        let peer = format!("192.0.2.7:{port}");
        scene.take(5, &fin(&peer));
        scene.take(6, &over(&peer));
    }
    assert_eq!((scene.model.size(), scene.model.totals().evicted), (0, 0));
}

#[test]
fn a_request_that_ends_leaves_no_peer_behind() {
    let mut scene = ModelScene::new();
    let id = started(&mut scene, 10);
    scene.model.set_peer(id, Some(PEER), Some(8080));
    assert_eq!(scene.model.running_from(PEER.parse().unwrap()), [id]);
    let end = request_end(&scene.code, ROOT);
    scene.take(20, &end);
    assert!(scene.model.by_peer.is_empty());
}
