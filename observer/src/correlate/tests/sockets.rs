//! Joining by the connection that both share: where no ID tells, and never against one.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use crate::correlate::{CallSide, Ids, Joiner, RequestSide};
use crate::finding::JoinedBy;
use crate::model::{SpanId, TraceId};

fn call(ids: Ids) -> CallSide {
    CallSide::new(ids, "GET store:8080/item")
}

fn request(ids: Ids) -> RequestSide {
    RequestSide {
        ids,
        method: Some("GET".into()),
        path: Some("/item".into()),
    }
}

fn id(value: &str) -> Ids {
    Ids {
        request: Some(("X-Request-Id".into(), value.into())),
        ..Ids::default()
    }
}

fn span(trace: u128, parent: u64) -> Ids {
    Ids {
        trace: Some(TraceId(trace)),
        parent: Some(SpanId(parent)),
        request: None,
    }
}

fn joiner() -> Joiner {
    let mut joiner = Joiner::default();
    joiner.keep_lines();
    joiner
}

#[test]
fn two_that_share_a_connection_belong_together() {
    let mut joiner = joiner();
    joiner.call_started(1, call(Ids::default()));
    joiner.call_started(2, call(id("a")));
    let side = request(Ids::default());
    assert_eq!(joiner.request_started(7, &side), None);
    assert_eq!(joiner.candidates(&side), [1, 2]);
    let join = joiner.share_connection(2, (7, &side), false).unwrap();
    assert_eq!(
        (join.call, join.request, join.by),
        (2, 7, JoinedBy::Sockets)
    );
    // Neither has another.
    assert_eq!(joiner.candidates(&side), [1]);
    assert_eq!(joiner.share_connection(1, (7, &side), false), None);
    assert_eq!(joiner.share_connection(2, (8, &side), false), None);
    assert_eq!(joiner.call_ended(2), Some(join));
    assert_eq!(joiner.totals().joined, 1);
}

#[test]
fn those_that_an_id_leaves_in_doubt_are_told_apart() {
    let mut joiner = joiner();
    joiner.call_started(1, call(id("a")));
    joiner.call_started(2, call(id("a")));
    let side = request(id("a"));
    for number in [7, 8] {
        assert_eq!(joiner.request_started(number, &side), None);
    }
    assert_eq!(joiner.totals().ambiguous, 2);
    assert!(joiner.share_connection(2, (7, &side), true).is_some());
    assert!(joiner.share_connection(1, (8, &side), true).is_some());
    assert_eq!((joiner.totals().joined, joiner.totals().ambiguous), (2, 0));
}

#[test]
fn an_id_or_a_span_that_differs_says_no() {
    let mut joiner = joiner();
    joiner.call_started(1, call(id("a")));
    joiner.call_started(2, call(Ids::default()));
    joiner.call_sent(2, Some((TraceId(1), SpanId(2))));
    assert_eq!(joiner.candidates(&request(id("b"))), [2]);
    assert_eq!(
        joiner.share_connection(1, (7, &request(id("b"))), false),
        None
    );
    let others = [span(3, 2), span(1, 3)];
    for other in others.map(request) {
        assert_eq!(joiner.candidates(&other), [1]);
        assert_eq!(joiner.share_connection(2, (7, &other), false), None);
    }
    let own = request(span(1, 2));
    assert!(joiner.share_connection(2, (7, &own), false).is_some());
}

#[test]
fn a_call_that_runs_when_another_process_is_first_seen_is_found_by_its_line() {
    let mut joiner = Joiner::default();
    joiner.call_started(1, call(id("a")));
    let side = request(Ids::default());
    assert!(joiner.candidates(&side).is_empty());
    joiner.keep_lines();
    assert_eq!(joiner.candidates(&side), [1]);
    joiner.call_ended(1);
    assert!(joiner.by_key_is_empty());
}

fn some_ids() -> impl Strategy<Value = Ids> {
    let trace = proptest::option::of((1u128..3, 1u64..3));
    let id = proptest::option::of(0usize..3);
    (trace, id).prop_map(|(trace, id)| Ids {
        trace: trace.map(|(trace, _)| TraceId(trace)),
        parent: trace.map(|(_, parent)| SpanId(parent)),
        request: id.map(|id| ("X-Request-Id".into(), ["a", "b", "c"][id].into())),
    })
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Happens {
    Call(Ids),
    Sent(usize, Option<(u128, u64)>),
    Share(usize, Ids),
    Request(Ids),
    End(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let sent = proptest::option::of((1u128..3, 1u64..3));
    (0u8..5, some_ids(), any::<usize>(), sent).prop_map(|(kind, ids, place, sent)| match kind {
        0 => Happens::Call(ids),
        1 => Happens::Sent(place, sent),
        2 => Happens::Share(place, ids),
        3 => Happens::Request(ids),
        _ => Happens::End(place),
    })
}

proptest! {
    /// Whoever claims that two share a connection: never across IDs or spans that differ, never for a call that is over,
    /// and no request has two calls, nor a call two requests.
    #[test]
    fn a_shared_connection_never_joins_across_ids(all in vec(happens(), 1..60)) {
        let mut joiner = joiner();
        /// `None`: nobody has read it.
        type Sent = Option<Option<(u128, u64)>>;
        let mut calls: Vec<(u64, Ids, Sent)> = Vec::new();
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for (number, one) in all.into_iter().enumerate() {
            let number = number as u64;
            let pick = |place: usize| place.checked_rem(calls.len());
            match one {
                Happens::Call(ids) => {
                    joiner.call_started(number, call(ids.clone()));
                    calls.push((number, ids, None));
                }
                Happens::Sent(place, sent) => {
                    let Some(at) = pick(place) else { continue };
                    joiner.call_sent(calls[at].0, sent.map(|(trace, span)| (TraceId(trace), SpanId(span))));
                    calls[at].2 = Some(sent);
                }
                Happens::Request(ids) => {
                    if let Some(join) = joiner.request_started(number, &request(ids)) {
                        taken.push((join.call, join.request));
                    }
                }
                Happens::Share(place, ids) => {
                    let Some(at) = pick(place) else { continue };
                    let (call, known, sent) = &calls[at];
                    let side = request(ids.clone());
                    let before = joiner.joined(*call);
                    let join = joiner.share_connection(*call, (number, &side), false);
                    if join.is_none() {
                        continue;
                    }
                    prop_assert!(!known.differ(&ids));
                    if let (Some(sent), Some(trace), Some(parent)) = (sent, ids.trace, ids.parent) {
                        prop_assert_eq!(*sent, Some((trace.0, parent.0)));
                    }
                    prop_assert_eq!(before, None);
                    taken.push((*call, number));
                }
                Happens::End(place) => {
                    let Some(at) = pick(place) else { continue };
                    let (call, ..) = calls.remove(at);
                    let join = joiner.call_ended(call);
                    prop_assert!(join.is_none_or(|join| taken.contains(&(call, join.request))));
                    let side = request(Ids::default());
                    prop_assert_eq!(joiner.share_connection(call, (number, &side), false), None);
                }
            }
        }
    }
}
