//! Several hosts, whose clocks differ.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use crate::correlate::{Across, CallFact, Host, Joined, Pair, RequestFact, Told};
use crate::finding::{
    CallEvidence, CallOutcome, CancelledBy, IdSource, ProcessInfo, RequestInfo, SentIds, samples,
};
use crate::model::SentDeadline;

pub(super) const MS: u64 = 1_000_000;
/// When everything begins, ns since 1970.
pub(super) const DAY_NS: u64 = 1_790_000_000_000_000_000;
/// On its way, ns.
const WAY: u64 = MS / 2;

pub(super) fn host(name: &str) -> Host {
    Host {
        name: name.into(),
        boot_id: format!("boot of {name}").into(),
    }
}

fn request_info(number: u64, id: &str, path: &str, (from, to): (u64, Option<u64>)) -> RequestInfo {
    RequestInfo {
        number,
        path: Some(path.into()),
        route: None,
        id: Some(id.into()),
        id_source: Some(IdSource::Header("X-Request-Id".into())),
        start_ns: DAY_NS + from,
        duration_ns: to.map(|to| to - from),
        ..samples::cancel_ignored().request.unwrap()
    }
}

/// A call from and to, ns.
pub(super) fn call(
    number: u64,
    id: &str,
    path: &str,
    (from, to): (u64, u64),
    given_up: bool,
) -> CallFact {
    CallFact {
        number,
        process: samples::process(),
        request: Some(request_info(
            number,
            id,
            "/",
            (from.saturating_sub(MS), None),
        )),
        call: CallEvidence {
            kind: "http",
            target: format!("GET store:8080{path}"),
            attempts: Some(1),
            start_ns: DAY_NS + from,
            duration_ns: Some(to - from),
            waited_ns: None,
            sent: None,
            outcome: if given_up {
                CallOutcome::Cancelled
            } else {
                CallOutcome::Done
            },
        },
        given_up_by: given_up.then_some(CancelledBy::Deadline),
        given_up_site: None,
        deadline: None,
        site: None,
        caller: None,
        stack: crate::go::Stack::default(),
        context: Vec::new(),
        seen_on: None,
        whole: true,
        until_ns: DAY_NS + to,
    }
}

pub(super) fn request(number: u64, id: &str, path: &str, (from, to): (u64, u64)) -> RequestFact {
    RequestFact {
        process: samples::process(),
        request: request_info(number, id, path, (from, Some(to))),
        cancelled: None,
        deadline_ns: None,
        sent_deadline: SentDeadline::Unknown,
        seen_on: None,
        whole: true,
        until_ns: DAY_NS + to,
    }
}

#[derive(Default)]
pub(super) struct Files(pub(super) Across);

impl Files {
    pub(super) fn call(&mut self, of: &Host, call: CallFact) {
        self.0.take(Told::Call(Box::new(call)), of, 0);
    }

    /// By a clock that shows so much less than it should.
    pub(super) fn request(&mut self, of: &Host, mut request: RequestFact, behind_ns: i64) {
        request.shift(-behind_ns);
        self.0.take(Told::Request(Box::new(request)), of, 1);
    }
}

/// Calls that are answered, which tell the difference of the clocks.
fn answered(files: &mut Files, edge: &Host, store: &Host, behind_ns: i64) {
    for number in 0..5 {
        let from = number * 100 * MS;
        let id = format!("answered-{number}");
        files.call(
            edge,
            call(number, &id, "/item", (from, from + 10 * MS), false),
        );
        let served = (from + WAY, from + 10 * MS - WAY);
        files.request(store, request(number, &id, "/item", served), behind_ns);
    }
}

#[test]
fn clocks_that_are_seconds_apart_are_put_right_and_said() {
    let (edge, store) = (host("edge"), host("store"));
    for behind_ns in [0, 3_000_000_000, -7_200_000_000_000] {
        let mut files = Files::default();
        answered(&mut files, &edge, &store, behind_ns);
        files.call(
            &edge,
            call(9, "slow", "/report", (600 * MS, 900 * MS), true),
        );
        let served = (601 * MS, 2_600 * MS);
        files.request(&store, request(9, "slow", "/report", served), behind_ns);
        let joined = files.0.join();
        let [.., pair] = &joined.pairs[..] else {
            panic!("{joined:?}");
        };
        assert_eq!(joined.pairs.len(), 6);
        assert_eq!((pair.call.number, pair.request.request.number), (9, 9));
        let other = pair.other_host.clone().unwrap();
        assert_eq!((&*pair.call_host, &*other.name), ("edge", "store"));
        assert_eq!((other.moved_ns, other.error_ns), (behind_ns, WAY));
        assert_eq!(pair.request.request.start_ns, DAY_NS + 601 * MS);
        assert_eq!(joined.clocks[1].offset.pairs, 6);
    }
}

/// An edge that makes the ID: nothing came with its own request.
#[test]
fn the_id_that_a_call_has_sent_joins_it() {
    let (edge, store) = (host("edge"), host("store"));
    let mut files = Files::default();
    answered(&mut files, &edge, &store, 0);
    let mut made = call(9, "", "/report", (600 * MS, 900 * MS), true);
    let came = made.request.as_mut().unwrap();
    (came.id, came.id_source) = (None, None);
    made.call.sent = Some(SentIds {
        id: Some(("X-Request-Id".into(), "made".into())),
        ..SentIds::default()
    });
    files.call(&edge, made);
    let served = (601 * MS, 2_600 * MS);
    files.request(&store, request(9, "made", "/report", served), 0);
    let joined = files.0.join();
    assert_eq!(joined.pairs.len(), 6, "{joined:?}");
}

#[test]
fn a_service_that_keeps_path_and_id_does_not_call_itself() {
    let (edge, store) = (host("edge"), host("store"));
    for behind_ns in [0, 3_000_000_000] {
        let mut files = Files::default();
        answered(&mut files, &edge, &store, behind_ns);
        for number in 1..5 {
            // What the edge was asked for, before it asked the store for the same.
            let id = format!("answered-{number}");
            let served = (
                (number * 100 * MS).saturating_sub(MS),
                number * 100 * MS + 11 * MS,
            );
            files.request(&edge, request(50 + number, &id, "/item", served), 0);
        }
        let joined = files.0.join();
        assert_eq!((joined.pairs.len(), joined.totals.ambiguous), (5, 0));
        let below = joined.pairs.iter().map(|pair| pair.request.request.number);
        assert!(below.eq(0..5), "{joined:?}");
    }
}

#[test]
fn one_boot_is_one_clock() {
    let (edge, mut store) = (host("edge"), host("store"));
    store.boot_id = Arc::clone(&edge.boot_id);
    let mut files = Files::default();
    answered(&mut files, &edge, &store, 0);
    let joined = files.0.join();
    assert_eq!((joined.pairs.len(), joined.clocks.len()), (5, 1));
    assert!(joined.pairs.iter().all(|pair| pair.other_host.is_none()));
}

/// The same file twice, or logs that overlap.
#[test]
fn what_is_told_twice_counts_once() {
    let (edge, store) = (host("edge"), host("store"));
    let mut once = Files::default();
    answered(&mut once, &edge, &store, 0);
    let mut twice = Files::default();
    answered(&mut twice, &edge, &store, 0);
    answered(&mut twice, &edge, &store, 0);
    assert_eq!((once.0.twice(), twice.0.twice()), (0, 10));
    assert_eq!(once.0.len(), twice.0.len());
    let (once, twice) = (once.0.join(), twice.0.join());
    assert_eq!((once.totals, once.clocks), (twice.totals, twice.clocks));
    let calls = |pairs: &[Pair]| -> Vec<Arc<CallFact>> {
        pairs.iter().map(|pair| Arc::clone(&pair.call)).collect()
    };
    assert_eq!(calls(&once.pairs), calls(&twice.pairs));
}

/// Every observer counts from one, hosts start processes with the pids of others, and a pid comes back.
#[test]
fn what_only_shares_a_number_is_another() {
    let (edge, store) = (host("edge"), host("store"));
    let mut files = Files::default();
    let first = request(1, "a", "/item", (0, MS));
    let later = request(1, "b", "/item", (5 * MS, 6 * MS));
    let mut again = first.clone();
    again.process = Arc::new(ProcessInfo {
        start_ticks: again.process.start_ticks + 1,
        ..(*again.process).clone()
    });
    files.request(&edge, first.clone(), 0);
    files.request(&store, first, 0);
    files.request(&edge, later, 0);
    files.request(&edge, again, 0);
    files.call(&edge, call(1, "a", "/item", (0, MS), false));
    assert_eq!((files.0.twice(), files.0.len()), (0, (1, 4)));
}

#[test]
fn what_was_lost_in_part_is_not_joined() {
    let (edge, store) = (host("edge"), host("store"));
    let mut files = Files::default();
    let mut torn = call(1, "a", "/item", (0, MS), true);
    torn.whole = false;
    files.call(&edge, torn);
    files.request(&store, request(1, "a", "/item", (1, MS)), 0);
    assert!(files.0.join().pairs.is_empty());
}

#[test]
fn a_caller_that_died_says_nothing_of_its_call() {
    // Its file ends before the call did: nobody gave anything up.
    let (edge, store) = (host("edge"), host("store"));
    let mut files = Files::default();
    answered(&mut files, &edge, &store, 0);
    let mut cut = call(9, "cut", "/report", (600 * MS, 700 * MS), false);
    cut.call.outcome = CallOutcome::Running;
    files.call(&edge, cut);
    files.request(
        &store,
        request(9, "cut", "/report", (601 * MS, 5_000 * MS)),
        0,
    );
    let joined = files.0.join();
    let pair = joined.pairs.last().unwrap();
    assert_eq!(pair.call.number, 9);
    let below = crate::detect::hop::Below::default();
    let judged = crate::detect::orphaned_downstream::judge(pair, below, 500 * MS);
    assert_eq!(judged, None);
}

#[test]
fn what_the_clocks_may_be_wrong_by_is_no_waste() {
    let (edge, store) = (host("edge"), host("store"));
    // One call of 300 ms alone says little: the clocks may be 150 ms further apart or nearer.
    for (ends_ms, found) in [(790, false), (1_200, true)] {
        let mut files = Files::default();
        files.call(&edge, call(9, "slow", "/report", (0, 300 * MS), true));
        files.request(&store, request(9, "slow", "/report", (0, ends_ms * MS)), 0);
        let joined = files.0.join();
        let [pair] = &joined.pairs[..] else {
            panic!("{joined:?}");
        };
        let other = pair.other_host.clone().unwrap();
        assert_eq!((other.moved_ns, other.error_ns), (150_000_000, 150 * MS));
        let below = crate::detect::hop::Below::default();
        let judged = crate::detect::orphaned_downstream::judge(pair, below, 500 * MS);
        assert_eq!(judged.is_some(), found, "{ends_ms}");
        if let Some(finding) = judged {
            assert_eq!(finding.evidence.after_cancel_ns, Some(900 * MS));
        }
    }
}

#[derive(Debug, Clone)]
struct Exchange {
    id: usize,
    other_id: bool,
    path: usize,
    from_ms: u64,
    takes_ms: u64,
    works_ms: u64,
}

fn exchanges() -> impl proptest::strategy::Strategy<Value = Vec<Exchange>> {
    use proptest::prelude::{Strategy, any};
    let one = (
        0usize..12,
        any::<bool>(),
        0usize..2,
        0u64..3_000,
        2u64..500,
        0u64..3_000,
    );
    vec(
        one.prop_map(
            |(id, other_id, path, from_ms, takes_ms, works_ms)| Exchange {
                id,
                other_id,
                path,
                from_ms,
                takes_ms,
                works_ms,
            },
        ),
        1..40,
    )
}

fn joined(all: &[Exchange], behind_ns: i64) -> Joined {
    let (edge, store) = (host("edge"), host("store"));
    let mut files = Files::default();
    answered(&mut files, &edge, &store, behind_ns);
    for (number, one) in all.iter().enumerate() {
        let number = 100 + number as u64;
        let path = ["/item", "/price"][one.path];
        let from = (1_000 + one.from_ms) * MS;
        let id = format!("id-{}", one.id);
        let takes = (from, from + one.takes_ms * MS);
        files.call(&edge, call(number, &id, path, takes, true));
        // Some requests are a stranger's, at the right time and place, with an ID of their own.
        let id = if one.other_id {
            format!("stranger-{number}")
        } else {
            id
        };
        let works = (from + WAY, from + WAY + one.works_ms * MS);
        files.request(&store, request(number, &id, path, works), behind_ns);
    }
    files.0.join()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However far the clocks are apart: no join across different IDs, each request and each call at most once,
    /// and the true difference within what the estimate admits.
    #[test]
    fn no_join_across_different_ids_whatever_the_clocks(
        all in exchanges(),
        behind_ns in -20_000_000_000i64..20_000_000_000,
    ) {
        let joined = joined(&all, behind_ns);
        for pair in &joined.pairs {
            let id = &pair.call.request.as_ref().unwrap().id;
            prop_assert_eq!(id, &pair.request.request.id);
            let other = pair.other_host.clone().unwrap();
            prop_assert!(other.moved_ns.abs_diff(behind_ns) <= other.error_ns);
        }
        let mut calls: Vec<u64> = joined.pairs.iter().map(|pair| pair.call.number).collect();
        let mut requests: Vec<u64> =
            joined.pairs.iter().map(|pair| pair.request.request.number).collect();
        calls.dedup();
        requests.sort_unstable();
        requests.dedup();
        prop_assert_eq!(calls.len(), joined.pairs.len());
        prop_assert_eq!(requests.len(), joined.pairs.len());
        // The healthy calls are always known.
        prop_assert!(joined.pairs.len() >= 5);
    }
}

#[test]
fn a_deadline_that_did_not_go_on_is_told_from_files() {
    use crate::correlate::CallDeadline;
    use crate::detect::{Deadlines, deadline_not_forwarded::judge};
    let (edge, store) = (host("edge"), host("store"));
    let header = || "X-Timeout-Ms".into();
    // What the request was told, and whether that is a finding: 300 ms are left.
    for (sent, found) in [
        (SentDeadline::Unknown, false),
        (SentDeadline::Broken, false),
        (SentDeadline::None, true),
        (SentDeadline::Is(290_000_000, header()), false),
        (SentDeadline::Is(30_000_000_000, header()), true),
    ] {
        let mut files = Files::default();
        answered(&mut files, &edge, &store, 0);
        let mut called = call(9, "budget", "/report", (600 * MS, 700 * MS), false);
        called.call.outcome = CallOutcome::Done;
        called.deadline = Some(CallDeadline {
            set_ns: 320_000_000,
            left_ns: 300_000_000,
            site: None,
        });
        files.call(&edge, called);
        let mut served = request(9, "budget", "/report", (601 * MS, 690 * MS));
        served.sent_deadline = sent.clone();
        files.request(&store, served, 0);
        let joined = files.0.join();
        let pair = joined.pairs.last().unwrap();
        assert_eq!(pair.call.number, 9);
        let judged = judge(pair, &Deadlines::default());
        assert_eq!(judged.is_some(), found, "{sent:?}");
    }
}
