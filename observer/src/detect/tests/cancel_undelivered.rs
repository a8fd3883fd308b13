//! The peer closed, and Go never told.

use std::sync::Arc;

use observer_common::tcp::{CLOSE, CLOSE_WAIT, ECONNRESET, EPIPE, ESTABLISHED, LAST_ACK};

use super::{CANCEL_FUNC, CONN, HANDLER, ROOT, SERVE, SERVING, end, site, start};
use crate::finding::{
    CancelledBy, Confidence, Emission, Finding, PeerClose, RuleName, Severity, Undelivered,
    UpdateReason, WorkState,
};
use crate::inspect::{ConnState, ErrorKind, Reading, RequestDetails};
use crate::testkit::{
    MS, ReadError, Record, Scene, Seen, cancel, cascade, conn_error_of, request, socket,
};

const PEER: &str = "192.0.2.7:51322";
const OTHER: &str = "192.0.2.7:51323";
const STACK: [&str; 3] = ["runtime.selectgo", HANDLER, SERVE];

fn fin() -> Record {
    socket(PEER, (ESTABLISHED, CLOSE_WAIT), 0)
}

fn reset() -> Record {
    socket(PEER, (ESTABLISHED, CLOSE), ECONNRESET)
}

fn reading(in_read: bool, has_byte: bool, body_ended: Option<bool>) -> ConnState {
    ConnState {
        reading: Some(Reading {
            in_read,
            has_byte,
            body_ended,
        }),
        ..ConnState::default()
    }
}

/// A request over the connection, whose handler waits with its body unread.
fn serving() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &STACK);
    scene.peers.insert(ROOT + 2, (PEER, Some(8080)));
    scene.conn = Some(reading(false, false, Some(false)));
    start(&mut scene, 0);
    scene
}

fn undelivered(finding: &Finding) -> &Finding {
    assert_eq!(finding.rule, RuleName::CancelUndelivered);
    finding
}

#[test]
fn a_fin_that_nobody_hears_is_told_at_grace_and_measured_at_the_end() {
    let mut scene = serving();
    scene.take(300, &fin());
    scene.until(799);
    scene.silent();
    scene.until(800);
    let (at_ms, finding) = scene.only();
    let finding = undelivered(finding);
    assert_eq!(at_ms, 800);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::Medium)
    );
    assert_eq!(site(finding), ("example.com/shop/api.GetReport", 31));
    assert_eq!(
        finding.message,
        "handler still works 500 ms after its peer closed, which Go did not notice: body not read"
    );
    let evidence = &finding.evidence;
    assert_eq!(evidence.peer_closed_at_ns, Some(300 * MS));
    assert_eq!(evidence.peer_close, Some(PeerClose::Fin));
    assert_eq!(evidence.undelivered, Some(Undelivered::BodyUnread));
    assert_eq!(evidence.after_close_ns, Some(500 * MS));
    assert_eq!(evidence.state, Some(WorkState::Waiting));
    end(&mut scene, 4_300);
    let (_, last) = scene.shown.last().unwrap();
    let Emission::Update(ended, UpdateReason::Ended) = last else {
        panic!("{last:?}");
    };
    assert_eq!(ended.evidence.after_close_ns, Some(4_000 * MS));
    assert_eq!(ended.evidence.state, Some(WorkState::Ended));
    assert_eq!(
        ended.message,
        "handler worked 4 s after its peer closed, which Go did not notice: body not read"
    );
    assert_eq!(scene.engine.cases(), 0);
}

#[test]
fn a_reset_is_an_error() {
    let mut scene = serving();
    scene.take(300, &reset());
    scene.until(800);
    let finding = undelivered(scene.only().1);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Error, Confidence::High)
    );
    assert_eq!(finding.evidence.peer_close, Some(PeerClose::Reset));
    end(&mut scene, 2_000);
    // What was reset has no other end: it is forgotten with its request.
    assert_eq!(scene.engine.model().size(), 2);
}

#[test]
fn a_reset_after_the_fin_makes_it_an_error_once() {
    let mut scene = serving();
    scene.take(300, &fin());
    scene.take(1_000, &socket(PEER, (CLOSE_WAIT, CLOSE), EPIPE));
    let (at_ms, last) = scene.shown.last().unwrap();
    let Emission::Update(finding, UpdateReason::Severity) = last else {
        panic!("{last:?}");
    };
    assert_eq!(
        (*at_ms, finding.severity, finding.count),
        (1_000, Severity::Error, 1)
    );
    assert_eq!(finding.evidence.peer_closed_at_ns, Some(300 * MS));
    assert_eq!(finding.evidence.after_close_ns, Some(700 * MS));
    scene.until(3_000);
    assert_eq!(scene.shown.len(), 2);
}

#[test]
fn why_is_read_from_the_connection() {
    let http2 = RequestDetails {
        proto: Some(Arc::from("HTTP/2.0")),
        ..RequestDetails::default()
    };
    let failed_write = ConnState {
        write_error: Some(ErrorKind::BrokenPipe),
        ..reading(false, false, Some(true))
    };
    let cases = [
        (
            Some(reading(false, false, Some(false))),
            None,
            Undelivered::BodyUnread,
        ),
        (
            Some(reading(false, true, Some(true))),
            None,
            Undelivered::Pipelined,
        ),
        (
            Some(reading(false, false, Some(true))),
            None,
            Undelivered::NotWritten,
        ),
        (
            Some(reading(true, false, Some(true))),
            None,
            Undelivered::Unknown,
        ),
        (
            Some(reading(false, false, None)),
            None,
            Undelivered::Unknown,
        ),
        (Some(ConnState::default()), None, Undelivered::Unknown),
        (Some(failed_write), None, Undelivered::Unknown),
        (None, Some(http2), Undelivered::Http2Open),
    ];
    for (conn, details, why) in cases {
        let mut scene = serving();
        scene.conn = conn;
        scene.details = details.map(Arc::new);
        scene.take(300, &fin());
        scene.until(900);
        let finding = undelivered(scene.only().1);
        assert_eq!(finding.evidence.undelivered, Some(why));
    }
}

#[test]
fn a_handler_that_ends_in_time_is_silent() {
    for close in [fin(), reset()] {
        let mut scene = serving();
        scene.take(300, &close);
        end(&mut scene, 790);
        scene.until(3_000);
        scene.silent();
    }
}

#[test]
fn a_cancel_in_time_was_a_delivery() {
    let mut scene = serving();
    scene.take(300, &fin());
    client_is_noticed(&mut scene, 310);
    scene.until(1_000);
    let finding = scene.only().1;
    // The handler works on all the same: that is another rule's.
    assert_eq!(finding.rule, RuleName::CancelIgnored);
    assert_eq!(finding.evidence.peer_closed_at_ns, Some(300 * MS));
    assert_eq!(finding.evidence.peer_close, Some(PeerClose::Fin));
    assert_eq!(finding.evidence.cancelled_at_ns, Some(310 * MS));
    assert_eq!(finding.evidence.delivery_ns, Some(10 * MS));
    assert_eq!(scene.engine.delivery().count(), 1);
}

fn client_is_noticed(scene: &mut Scene, at_ms: u64) {
    let stack = [CANCEL_FUNC, "net/http.(*connReader).handleReadErrorLocked"];
    let code = &scene.code;
    let error = conn_error_of(code, 12, ReadError::Text("EOF"), (ROOT + 1, PEER));
    let records = [
        error,
        cancel(code, 12, CONN, &stack),
        cascade(code, 12, ROOT),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
}

#[test]
fn a_cancel_that_comes_late_is_in_the_last_word() {
    let mut scene = serving();
    scene.take(300, &fin());
    scene.until(900);
    client_is_noticed(&mut scene, 1_500);
    end(&mut scene, 1_600);
    let (_, last) = scene.shown.last().unwrap();
    let Emission::Update(ended, UpdateReason::Ended) = last else {
        panic!("{last:?}");
    };
    assert_eq!(ended.evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(ended.evidence.delivery_ns, Some(1_200 * MS));
}

#[test]
fn a_cancel_by_anything_else_was_told_too() {
    let mut scene = serving();
    scene.take(300, &fin());
    let stack = ["context.WithDeadlineCause.func2", "time.goFunc"];
    let deadline = cancel(&scene.code, 60, ROOT, &stack);
    scene.take(400, &deadline);
    end(&mut scene, 850);
    scene.until(3_000);
    scene.silent();
}

#[test]
fn a_connection_that_cannot_be_read_may_have_been_taken_over() {
    let mut scene = serving();
    scene.conn = None;
    scene.take(300, &reset());
    scene.until(3_000);
    end(&mut scene, 3_100);
    scene.silent();
}

#[test]
fn a_hijacked_connection_is_its_handlers_business() {
    let mut scene = serving();
    scene.conn = Some(ConnState {
        hijacked: true,
        ..ConnState::default()
    });
    scene.take(300, &reset());
    scene.until(3_000);
    end(&mut scene, 3_100);
    scene.until(4_000);
    scene.silent();
}

#[test]
fn an_idle_connection_and_another_peer_s_are_nobody_s_case() {
    let mut scene = serving();
    scene.take(300, &socket(OTHER, (ESTABLISHED, CLOSE_WAIT), 0));
    scene.take(301, &socket(OTHER, (ESTABLISHED, CLOSE), ECONNRESET));
    end(&mut scene, 2_000);
    // Between two requests.
    scene.take(2_100, &fin());
    scene.until(4_000);
    scene.silent();
}

#[test]
fn the_next_request_of_the_connection_is_accused_of_its_own_time_only() {
    // Both requests came in one packet with the FIN; the second begins when the first has ended.
    let mut scene = serving();
    scene.take(300, &fin());
    end(&mut scene, 700);
    start(&mut scene, 701);
    scene.until(1_200);
    scene.silent();
    scene.until(1_201);
    let finding = undelivered(scene.only().1);
    assert_eq!(finding.evidence.peer_closed_at_ns, Some(701 * MS));
    assert_eq!(finding.evidence.after_close_ns, Some(500 * MS));
}

#[test]
fn an_owner_that_closes_too_ends_the_suspicion() {
    let mut scene = serving();
    scene.take(300, &fin());
    scene.take(500, &socket(PEER, (CLOSE_WAIT, LAST_ACK), 0));
    scene.until(3_000);
    scene.silent();
}

#[test]
fn another_port_of_the_same_process_is_another_connection() {
    let mut scene = serving();
    scene.peers.insert(ROOT + 2, (PEER, Some(9090)));
    scene.take(300, &reset());
    scene.until(3_000);
    scene.silent();
}

#[test]
fn memory_that_tells_no_peer_accuses_nobody() {
    for peer in [None, Some(("@", None)), Some(("198.51.100.9:1", None))] {
        let mut scene = serving();
        scene.peers.clear();
        if let Some(peer) = peer {
            scene.peers.insert(ROOT + 2, peer);
        }
        scene.take(300, &reset());
        scene.until(3_000);
        scene.silent();
    }
}

#[test]
fn peers_are_asked_for_once_and_only_on_suspicion() {
    let mut scene = serving();
    let other = request(&scene.code, 40, 0x7000, "GET /other");
    scene.take(1, &other);
    scene.until(2_000);
    assert!(scene.asked.is_empty());
    for at_ms in [2_000, 2_001, 2_002] {
        scene.take(at_ms, &socket(OTHER, (ESTABLISHED, CLOSE_WAIT), 0));
        scene.take(at_ms, &socket(OTHER, (CLOSE_WAIT, LAST_ACK), 0));
    }
    scene.until(3_000);
    assert!(scene.asked.is_empty());
    scene.take(3_000, &fin());
    scene.take(3_001, &socket(OTHER, (ESTABLISHED, CLOSE_WAIT), 0));
    scene.until(5_000);
    // The peers of both requests, then the one that is suspicious.
    assert_eq!(scene.asked.len(), 2);
}

#[test]
fn more_requests_than_one_question_holds_are_all_asked() {
    let mut scene = Scene::new();
    scene.waits(5_000, &STACK);
    scene.conn = Some(reading(false, false, Some(false)));
    for number in 0..2_500u64 {
        let ctx = 0x10_0000 + number * 0x10;
        let one = request(&scene.code, 3_000 + number, ctx, "POST /import");
        scene.take(1, &one);
    }
    scene
        .peers
        .insert(0x10_0000 + 2_000 * 0x10 + 2, (PEER, None));
    scene.take(10, &fin());
    scene.until(600);
    let finding = undelivered(scene.only().1);
    assert_eq!(finding.request.as_ref().map(|of| of.goid), Some(5_000));
    assert_eq!(scene.asked.len(), 4);
}

#[test]
fn a_handler_that_computes_is_told_without_its_stack() {
    let mut scene = serving();
    scene.goroutines.insert(SERVING, Seen::Runs);
    scene.take(300, &reset());
    scene.until(2_000);
    let finding = undelivered(scene.only().1);
    assert_eq!(finding.site, None);
    assert_eq!(finding.confidence, Confidence::Medium);
}

#[test]
fn a_handler_that_has_left_is_not_at_work() {
    let mut scene = serving();
    scene.waits(
        SERVING,
        &["internal/poll.runtime_pollWait", "net/http.(*conn).serve"],
    );
    scene.take(300, &reset());
    scene.until(2_000);
    scene.silent();
}

#[test]
fn where_something_was_lost_nobody_is_accused() {
    for lost_at_ms in [299, 301, 700] {
        let mut scene = serving();
        for at_ms in [299, 301, 700] {
            scene.until(at_ms);
            if at_ms == 301 {
                scene.take(301, &fin());
            }
            if at_ms == lost_at_ms {
                scene.engine.loss();
            }
        }
        end(&mut scene, 3_000);
        scene.until(4_000);
        scene.silent();
    }
    // After it was shown: its end is not known.
    let mut scene = serving();
    scene.take(300, &fin());
    scene.until(900);
    scene.engine.loss();
    assert_eq!(scene.engine.cases(), 0);
    end(&mut scene, 1_000);
    assert_eq!(scene.shown.len(), 1);
}

#[test]
fn many_closes_that_are_looked_at_late_ask_once() {
    let mut scene = serving();
    for port in 0..200u16 {
        let peer = format!("198.51.100.9:{}", 1_000 + port);
        scene.take(300, &socket(&peer, (ESTABLISHED, CLOSE_WAIT), 0));
    }
    scene.take(301, &fin());
    // A busy machine let seconds pass.
    scene.engine.tick(9_000 * MS, &scene.code);
    assert_eq!(scene.engine.take_asks().len(), 1);
}
