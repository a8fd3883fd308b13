//! Joining: what is joined, what never is, and that doubt is no join.

mod across;
mod ends;
mod sockets;
mod spans;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use crate::finding::JoinedBy;
use crate::model::TraceId;

use super::join::DEFAULT_LIMIT;
use super::{CallSide, Ids, Join, Joiner, RequestSide};

fn ids(request: &str) -> Ids {
    Ids {
        trace: None,
        parent: None,
        request: Some(("X-Request-Id".into(), request.into())),
    }
}

fn call(id: &str, path: &str) -> CallSide {
    CallSide::new(ids(id), &format!("GET store:8080{path}"))
}

fn came(id: &str, path: &str) -> RequestSide {
    of(ids(id), path)
}

fn of(ids: Ids, path: &str) -> RequestSide {
    RequestSide {
        ids,
        method: Some("GET".into()),
        path: Some(path.into()),
    }
}

fn by(join: Option<Join>) -> Option<(u64, u64, JoinedBy)> {
    join.map(|join| (join.call, join.request, join.by))
}

#[test]
fn the_only_call_that_fits_is_the_requests() {
    let mut joiner = Joiner::default();
    joiner.call_started(1, call("a", "/item"));
    joiner.call_started(2, call("a", "/price"));
    joiner.call_started(3, call("b", "/item"));
    let join = joiner.request_started(7, &came("a", "/item"));
    assert_eq!(by(join), Some((1, 7, JoinedBy::RequestId)));
    assert_eq!(joiner.call_ended(1), join);
    assert_eq!(joiner.call_ended(2), None);
    assert_eq!(joiner.request_started(8, &came("a", "/item")), None);
    assert_eq!((joiner.totals().joined, joiner.totals().ambiguous), (1, 0));
}

#[test]
fn two_calls_at_once_are_not_told_apart() {
    let mut joiner = Joiner::default();
    joiner.call_started(1, call("a", "/item"));
    joiner.call_started(2, call("a", "/item"));
    assert_eq!(joiner.request_started(7, &came("a", "/item")), None);
    // Nor is the next: the first request may have been either's.
    joiner.call_ended(1);
    assert_eq!(joiner.request_started(8, &came("a", "/item")), None);
    assert_eq!(joiner.call_ended(2), None);
    assert_eq!(joiner.totals().ambiguous, 2);
}

#[test]
fn a_retry_after_the_first_try_is_a_call_of_its_own() {
    let mut joiner = Joiner::default();
    for (call_number, request) in [(1, 7), (2, 8)] {
        joiner.call_started(call_number, call("a", "/item"));
        let join = joiner.request_started(request, &came("a", "/item"));
        assert_eq!(by(join), Some((call_number, request, JoinedBy::RequestId)));
        assert_eq!(joiner.call_ended(call_number), join);
    }
}

#[test]
fn a_second_request_makes_the_first_doubtful() {
    let mut joiner = Joiner::default();
    joiner.call_started(1, call("a", "/item"));
    assert!(joiner.request_started(7, &came("a", "/item")).is_some());
    assert_eq!(joiner.request_started(8, &came("a", "/item")), None);
    assert_eq!(joiner.call_ended(1), None);
}

#[test]
fn a_gateway_hands_on_path_and_id() {
    let mut joiner = Joiner::default();
    joiner.call_started(1, call("a", "/item"));
    let edge = joiner.request_started(7, &came("a", "/item"));
    joiner.call_started(2, call("a", "/item"));
    let gateway = joiner.request_started(8, &came("a", "/item"));
    assert_eq!(by(gateway), Some((2, 8, JoinedBy::RequestId)));
    assert_eq!(joiner.call_ended(2), gateway);
    assert_eq!(joiner.call_ended(1), edge);
}

#[test]
fn an_id_that_everybody_sends_joins_nobody() {
    let mut joiner = Joiner::default();
    for number in 0..40 {
        joiner.call_started(number, call("-", &format!("/{number}")));
    }
    assert_eq!(joiner.request_started(7, &came("-", "/3")), None);
    assert_eq!(joiner.totals().ambiguous, 1);
    for number in 0..40 {
        assert_eq!(joiner.call_ended(number), None);
    }
    joiner.call_started(50, call("-", "/3"));
    assert!(joiner.request_started(8, &came("-", "/3")).is_some());
}

#[test]
fn calls_without_an_id_are_not_kept_and_too_many_are_counted() {
    let mut joiner = Joiner::new(2);
    joiner.call_started(1, CallSide::new(Ids::default(), "GET store/item"));
    assert!(joiner.is_empty());
    for number in 2..6 {
        joiner.call_started(number, call("a", &format!("/{number}")));
    }
    assert_eq!((joiner.len(), joiner.totals().evicted), (2, 2));
    assert_eq!(joiner.request_started(7, &came("a", "/2")), None);
    assert!(joiner.request_started(8, &came("a", "/5")).is_some());
    joiner.forget(|_| true);
    assert!(joiner.is_empty());
    assert!(joiner.by_key_is_empty());
}

/// Something that happens, with few IDs and paths so that they collide.
#[derive(Debug, Clone)]
enum Happens {
    Call(Ids, usize),
    End(usize),
    Request(Ids, usize),
}

fn some_ids() -> impl Strategy<Value = Ids> {
    let trace = proptest::option::of(1u128..3);
    let id = proptest::option::of(0usize..3);
    let header = any::<bool>();
    (trace, id, header).prop_map(|(trace, id, header)| Ids {
        trace: trace.map(TraceId),
        parent: None,
        request: id.map(|id| {
            let header = if header { "X-Request-Id" } else { "X-Trace" };
            (header.into(), ["a", "b", "c"][id].into())
        }),
    })
}

fn happens() -> impl Strategy<Value = Happens> {
    (0u8..3, some_ids(), 0usize..4).prop_map(|(kind, ids, number)| match kind {
        0 => Happens::Call(ids, number % 2),
        1 => Happens::End(number),
        _ => Happens::Request(ids, number % 2),
    })
}

proptest! {
    /// Whatever comes in whatever order: never across different IDs, never without a common one,
    /// never to a call that has ended or not begun, never two requests to one call; and where two
    /// calls without a request fit equally well, none.
    #[test]
    fn no_join_across_different_ids(all in vec(happens(), 1..60)) {
        const PATHS: [&str; 2] = ["/item", "/price"];
        let mut joiner = Joiner::new(DEFAULT_LIMIT);
        let mut running: Vec<(u64, CallSide)> = Vec::new();
        let mut given: Vec<(u64, Join)> = Vec::new();
        for (number, one) in all.into_iter().enumerate() {
            let number = number as u64;
            match one {
                Happens::Call(ids, path) => {
                    let side = CallSide::new(ids, &format!("GET store{}", PATHS[path]));
                    joiner.call_started(number, side.clone());
                    running.push((number, side));
                }
                Happens::End(place) if !running.is_empty() => {
                    let (call, _) = running.remove(place % running.len());
                    let join = joiner.call_ended(call);
                    // What it had at its end, it was given while it ran.
                    let known = given.iter().find(|(of, _)| *of == call).map(|(_, join)| *join);
                    prop_assert!(join.is_none() || join == known);
                }
                Happens::End(_) => {}
                Happens::Request(ids, path) => {
                    let side = of(ids, PATHS[path]);
                    let Some(join) = joiner.request_started(number, &side) else { continue };
                    let call = running.iter().find(|(call, _)| *call == join.call);
                    let Some((_, call)) = call else {
                        return Err(proptest::test_runner::TestCaseError::fail("a call that does not run"));
                    };
                    prop_assert!(!call.ids.differ(&side.ids));
                    let same = match join.by {
                        JoinedBy::ParentId | JoinedBy::Sockets => false,
                        JoinedBy::Trace => call.ids.trace == side.ids.trace && call.ids.trace.is_some(),
                        JoinedBy::RequestId => call.ids.request == side.ids.request && call.ids.request.is_some(),
                    };
                    prop_assert!(same, "{join:?}");
                    prop_assert!(given.iter().all(|(of, _)| *of != join.call), "twice");
                    let rivals = running.iter().filter(|(other, rival)| {
                        let taken = given.iter().any(|(of, _)| of == other);
                        !taken && rival == call
                    });
                    prop_assert_eq!(rivals.count(), 1, "another call like it has no request");
                    given.push((join.call, join));
                }
            }
        }
        let bound: Arc<[u64]> = running.iter().map(|(call, _)| *call).collect();
        for call in bound.iter() {
            joiner.call_ended(*call);
        }
        prop_assert!(joiner.is_empty() && joiner.by_key_is_empty());
    }
}
