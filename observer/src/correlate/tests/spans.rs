//! Joining by the span that a call has sent: what decides, what never does.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, proptest};

use crate::correlate::{CallSide, Ids, Joiner, RequestSide, Span};
use crate::finding::JoinedBy;
use crate::model::{SpanId, TraceId};

/// A call of a request that came in a trace, from a span.
fn call(came: Option<(u128, u64)>, path: &str) -> CallSide {
    CallSide::new(ids(came), &format!("GET store:8080{path}"))
}

fn ids(came: Option<(u128, u64)>) -> Ids {
    Ids {
        trace: came.map(|(trace, _)| TraceId(trace)),
        parent: came.map(|(_, parent)| SpanId(parent)),
        request: None,
    }
}

fn request((trace, parent): (u128, u64), path: &str) -> RequestSide {
    RequestSide {
        ids: ids(Some((trace, parent))),
        method: Some("GET".into()),
        path: Some(path.into()),
    }
}

const fn span(trace: u128, span: u64) -> Option<Span> {
    Some((TraceId(trace), SpanId(span)))
}

fn joiner() -> Joiner {
    let mut joiner = Joiner::default();
    joiner.keep_lines();
    joiner
}

#[test]
fn two_calls_that_nothing_else_tells_apart_are_told_by_their_spans() {
    let mut joiner = joiner();
    joiner.call_started(1, call(Some((1, 9)), "/item"));
    joiner.call_started(2, call(Some((1, 9)), "/item"));
    let first = request((1, 102), "/item");
    assert_eq!(joiner.request_started(7, &first), None);
    assert_eq!(joiner.seek(7, &first, |_| true), (vec![1, 2], None));
    assert_eq!(joiner.totals().ambiguous, 1);
    assert!(
        joiner.call_sent(1, span(1, 101)).is_empty(),
        "the other is not known"
    );
    let joins = joiner.call_sent(2, span(1, 102));
    let [join] = joins[..] else {
        panic!("{joins:?}");
    };
    assert_eq!(
        (join.call, join.request, join.by),
        (2, 7, JoinedBy::ParentId)
    );
    assert_eq!((joiner.totals().joined, joiner.totals().ambiguous), (1, 0));
    // What is known already is not asked for again.
    let second = request((1, 101), "/item");
    joiner.request_started(8, &second);
    let (unread, join) = joiner.seek(8, &second, |_| true);
    assert!(unread.is_empty());
    assert_eq!(
        join.map(|join| (join.call, join.by)),
        Some((1, JoinedBy::ParentId))
    );
    assert_eq!(joiner.call_ended(2).map(|join| join.request), Some(7));
    assert_eq!(joiner.call_ended(1).map(|join| join.request), Some(8));
}

#[test]
fn a_call_of_a_request_without_an_id_has_its_span() {
    let mut joiner = joiner();
    joiner.call_started(1, call(None, "/item"));
    let came = request((1, 101), "/item");
    assert_eq!(joiner.request_started(7, &came), None);
    assert_eq!(joiner.seek(7, &came, |_| true), (vec![1], None));
    let joins = joiner.call_sent(1, span(1, 101));
    assert_eq!(joins.len(), 1);
    // Of another path, or trace, it is not.
    for other in [request((1, 101), "/price"), request((2, 101), "/item")] {
        let mut joiner = self::joiner();
        joiner.call_started(1, call(None, "/item"));
        joiner.request_started(7, &other);
        joiner.seek(7, &other, |_| true);
        assert!(joiner.call_sent(1, span(1, 101)).is_empty());
        assert_eq!(joiner.call_ended(1), None);
    }
}

#[test]
fn a_join_by_the_trace_gets_surer_and_is_no_new_one() {
    let mut joiner = joiner();
    joiner.call_started(1, call(Some((1, 9)), "/item"));
    let came = request((1, 101), "/item");
    let by = |join: Option<crate::correlate::Join>| join.map(|join| join.by);
    assert_eq!(by(joiner.request_started(7, &came)), Some(JoinedBy::Trace));
    joiner.seek(7, &came, |_| true);
    assert!(joiner.call_sent(1, span(1, 101)).is_empty());
    assert_eq!(by(joiner.joined(1)), Some(JoinedBy::ParentId));
    assert_eq!(joiner.totals().joined, 1);
}

#[test]
fn who_hands_on_what_came_in_names_no_span_of_its_own() {
    let mut joiner = joiner();
    joiner.call_started(1, call(Some((1, 9)), "/item"));
    let came = request((1, 9), "/item");
    joiner.request_started(7, &came);
    joiner.seek(7, &came, |_| true);
    joiner.call_sent(1, span(1, 9));
    assert_eq!(
        joiner.call_ended(1).map(|join| join.by),
        Some(JoinedBy::Trace)
    );
}

#[test]
fn a_proxy_with_a_span_of_its_own_leaves_the_trace() {
    let mut joiner = joiner();
    joiner.call_started(1, call(Some((1, 9)), "/item"));
    let came = request((1, 555), "/item");
    joiner.request_started(7, &came);
    joiner.seek(7, &came, |_| true);
    assert!(joiner.call_sent(1, span(1, 101)).is_empty());
    assert_eq!(
        joiner.call_ended(1).map(|join| join.by),
        Some(JoinedBy::Trace)
    );
}

#[test]
fn a_call_that_is_over_before_it_was_read_leaves_the_others_in_doubt() {
    let mut joiner = joiner();
    joiner.call_started(1, call(None, "/item"));
    joiner.call_started(2, call(None, "/item"));
    let came = request((1, 101), "/item");
    joiner.request_started(7, &came);
    joiner.seek(7, &came, |_| true);
    joiner.call_ended(1);
    assert!(joiner.call_sent(2, span(1, 101)).is_empty());
    // One that was read, and has sent another, does not.
    let mut joiner = self::joiner();
    joiner.call_started(1, call(None, "/item"));
    joiner.call_started(2, call(None, "/item"));
    joiner.request_started(7, &came);
    joiner.seek(7, &came, |_| true);
    joiner.call_sent(1, span(1, 100));
    joiner.call_ended(1);
    assert_eq!(joiner.call_sent(2, span(1, 101)).len(), 1);
}

/// Something that happens, with few spans so that they collide.
#[derive(Debug, Clone)]
enum Happens {
    Call(Option<(u128, u64)>, usize),
    Sent(usize, Option<(u128, u64)>),
    End(usize),
    Request((u128, u64), usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let span = || (1u128..3, 1u64..4);
    let maybe = proptest::option::of(span());
    (0u8..4, maybe, span(), 0usize..5, any::<bool>()).prop_map(
        |(kind, maybe, span, place, path)| match kind {
            0 => Happens::Call(maybe, usize::from(path)),
            1 => Happens::Sent(place, maybe),
            2 => Happens::End(place),
            _ => Happens::Request(span, usize::from(path)),
        },
    )
}

proptest! {
    /// Whatever comes in whatever order: a join by span is one of a running call that was read to have sent that
    /// very span, and not the one that had come in; never across different traces or paths; no request has two calls,
    /// and of two calls that have sent a span and have no request, neither gets one by it.
    #[test]
    fn a_span_joins_only_who_has_sent_it(all in vec(happens(), 1..80)) {
        const PATHS: [&str; 2] = ["/item", "/price"];
        struct One { number: u64, side: CallSide, path: usize, sent: Option<Option<Span>> }
        let mut joiner = joiner();
        let mut running: Vec<One> = Vec::new();
        let mut requests: Vec<(u64, (u128, u64), usize)> = Vec::new();
        for (number, one) in all.into_iter().enumerate() {
            let number = number as u64;
            let mut joins = Vec::new();
            match one {
                Happens::Call(came, path) => {
                    let side = call(came, PATHS[path]);
                    joiner.call_started(number, side.clone());
                    running.push(One { number, side, path, sent: None });
                }
                Happens::Sent(place, sent) if !running.is_empty() => {
                    let len = running.len();
                    let one = &mut running[place % len];
                    let sent = one.sent.unwrap_or_else(|| sent.and_then(|(a, b)| span(a, b)));
                    one.sent = Some(sent);
                    joins = joiner.call_sent(one.number, sent);
                }
                Happens::End(place) if !running.is_empty() => {
                    let one = running.remove(place % running.len());
                    joiner.call_ended(one.number);
                }
                Happens::Request(names, path) => {
                    let side = request(names, PATHS[path]);
                    requests.push((number, names, path));
                    let by_id = joiner.request_started(number, &side);
                    let (_, by_span) = joiner.seek(number, &side, |_| true);
                    joins.extend(by_span.or(by_id));
                }
                Happens::Sent(..) | Happens::End(_) => {}
            }
            for join in joins {
                prop_assert!(joiner.joined(join.call) == Some(join));
            }
            let held: Vec<_> = running.iter().filter_map(|one| joiner.joined(one.number)).collect();
            for join in &held {
                let one = running.iter().find(|one| one.number == join.call).unwrap();
                let (_, names, path) = requests.iter().find(|(id, ..)| *id == join.request).unwrap();
                prop_assert!(!one.side.ids.differ(&ids(Some(*names))), "{join:?}");
                prop_assert!(one.path == *path, "{join:?}");
                prop_assert!(held.iter().filter(|other| other.request == join.request).count() == 1);
                if join.by == JoinedBy::ParentId {
                    prop_assert!(one.sent == Some(span(names.0, names.1)), "{join:?}");
                    prop_assert!(one.side.ids.parent != Some(SpanId(names.1)), "{join:?}");
                }
            }
        }
        for one in &running {
            joiner.call_ended(one.number);
        }
        prop_assert!(joiner.is_empty() && joiner.by_key_is_empty() && joiner.waiting_is_empty());
    }
}
