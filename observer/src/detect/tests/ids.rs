//! Which ID a request is known by.

use std::sync::Arc;

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, WORKER, calls,
    client_leaves, derived, start,
};
use crate::detect::ids::{Id, of, probed};
use crate::detect::{LeakTimes, Question, Thresholds};
use crate::finding::IdSource;
use crate::inspect::{ContextId, RequestDetails};
use crate::model::{Request, Trace};
use crate::testkit::{MS, ModelScene, Record, Scene, call, request};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A request as the model knows it, with what the probe found in this row.
fn known(row: u32, value: &str) -> Request {
    let mut scene = ModelScene::new();
    let mut start = request(&scene.code, 7, 0x1000, "GET /");
    if let Record::Request(record) = &mut start {
        record.id_row = row;
        record.id_len = u32::try_from(value.len()).unwrap();
        let kept = value.len().min(record.id.len());
        record.id[..kept].copy_from_slice(&value.as_bytes()[..kept]);
    }
    scene.take(1, &start);
    scene.model.running().next().unwrap().clone()
}

fn read(mut request: Request, headers: &[Option<&str>]) -> Request {
    request.details = Some(Arc::new(RequestDetails {
        headers: headers.iter().map(|value| value.map(Arc::from)).collect(),
        ..RequestDetails::default()
    }));
    request
}

fn thresholds(names: &[&str]) -> Thresholds {
    Thresholds {
        grace_ns: 1,
        id_headers: names.iter().map(|name| (*name).to_owned()).collect(),
        deadline_headers: Vec::new(),
        redact_path: false,
        leaks: LeakTimes::default(),
        surges: crate::detect::SurgeLimits::default(),
        deadlines: crate::detect::Deadlines::default(),
    }
}

fn id(value: &str, header: &str) -> Option<Id> {
    Some(Id {
        value: value.to_owned(),
        source: IdSource::Header(header.to_owned()),
        truncated: false,
    })
}

#[test]
fn the_first_that_is_present_wins() {
    let thresholds = thresholds(&["X-A", "X-B"]);
    assert_eq!(of(&known(0, ""), &thresholds), None);
    assert_eq!(of(&known(1, "a"), &thresholds), id("a", "X-A"));
    assert_eq!(of(&known(2, "b"), &thresholds), id("b", "X-B"));
    // What the probe saw, the service may have overwritten since.
    let changed = read(known(2, "b"), &[Some("made"), Some("other")]);
    assert_eq!(of(&changed, &thresholds), id("b", "X-B"));
    // What nobody sent, the service may have added.
    let added = read(known(0, ""), &[None, Some("made")]);
    assert_eq!(of(&added, &thresholds), id("made", "X-B"));
}

#[test]
fn where_the_probe_did_not_look_to_the_end_memory_decides() {
    let thresholds = thresholds(&["X-A", "X-B", "X-C"]);
    let open = |row, value: &str| Request {
        ids_open: true,
        ..known(row, value)
    };
    let lazy = read(open(0, ""), &[Some(""), Some("b"), Some("c")]);
    assert_eq!(of(&lazy, &thresholds), id("b", "X-B"));
    let big = read(open(2, "b"), &[Some("a"), Some("b"), None]);
    assert_eq!(of(&big, &thresholds), id("a", "X-A"));
    assert_eq!(of(&open(2, "b"), &thresholds), id("b", "X-B"));
}

#[test]
fn a_trace_can_stand_anywhere_among_the_names_and_is_believed_only_when_sound() {
    let names = ["X-A", "Traceparent", "X-B"];
    let thresholds = thresholds(&names);
    let rows: Vec<&str> = probed(&thresholds.id_headers).collect();
    assert_eq!(rows, ["X-A", "X-B"]);
    let traced = |request: Request, header: &str| Request {
        trace: Trace::of(header),
        ..request
    };
    let trace = id(TRACE_ID, "Traceparent");
    assert_eq!(of(&traced(known(0, ""), TRACEPARENT), &thresholds), trace);
    assert_eq!(of(&traced(known(2, "b"), TRACEPARENT), &thresholds), trace);
    let first = of(&traced(known(1, "a"), TRACEPARENT), &thresholds);
    assert_eq!(first, id("a", "X-A"));
    let broken = of(&traced(known(2, "b"), "00-1"), &thresholds);
    assert_eq!(broken, id("b", "X-B"));
}

#[test]
fn a_long_id_is_cut_and_says_so() {
    let thresholds = thresholds(&["X-A"]);
    let long = "v".repeat(65_536);
    let probe = of(&known(1, &long), &thresholds).unwrap();
    assert_eq!((probe.value.as_str(), probe.truncated), (&long[..64], true));
    let memory = of(&read(known(1, &long), &[Some(&long[..4096])]), &thresholds).unwrap();
    assert_eq!(
        (memory.value.as_str(), memory.truncated),
        (&long[..256], true)
    );
    // Of this length nothing is missing.
    let fits = &long[..256];
    let memory = of(&read(known(1, fits), &[Some(fits)]), &thresholds).unwrap();
    assert_eq!((memory.value.as_str(), memory.truncated), (fits, false));
    assert_eq!(
        of(&known(1, &long[..64]), &thresholds),
        id(&long[..64], "X-A")
    );
}

#[test]
fn a_cut_keeps_characters_whole() {
    let thresholds = thresholds(&["X-A"]);
    let long = "ä".repeat(200);
    // The probe's cut goes through a character, which does not make memory's value another one.
    let long = format!("x{long}");
    let probe = known(1, &long);
    let shown = of(&probe, &thresholds).unwrap();
    assert!(
        shown.truncated && shown.value.starts_with("xä"),
        "{shown:?}"
    );
    let memory = of(&read(probe, &[Some(&long)]), &thresholds).unwrap();
    assert_eq!(memory.value, format!("x{}", "ä".repeat(127)));
    assert!(memory.truncated);
}

#[test]
fn what_the_service_made_is_found_in_its_answer_then_in_a_context() {
    let thresholds = thresholds(&["X-A", "X-B", "Traceparent"]);
    let mut request = read(known(0, ""), &[None, Some("added"), None]);
    assert_eq!(of(&request, &thresholds), id("added", "X-B"));
    request.context_id = Some(ContextId {
        package: Arc::from("example.com/middleware"),
        value: Arc::from("kept"),
    });
    let kept = of(&request, &thresholds).unwrap();
    assert_eq!(
        (kept.value.as_str(), kept.source.to_string().as_str()),
        ("kept", "context:example.com/middleware")
    );
    let mut details = request.details.as_deref().unwrap().clone();
    details.response = vec![
        Some(Arc::from("")),
        Some(Arc::from("shown")),
        Some(Arc::from("t")),
    ];
    request.details = Some(Arc::new(details));
    let shown = of(&request, &thresholds).unwrap();
    assert_eq!(
        (shown.value.as_str(), shown.source.to_string().as_str()),
        ("shown", "response:X-B")
    );
    // What came in is what others know it by.
    request.id_row = 1;
    request.id_value = Some(Arc::from("came"));
    assert_eq!(of(&request, &thresholds), id("came", "X-A"));
}

/// A request that is being served.
fn serving() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &["runtime.chanrecv1", BUILD, SERVE]);
    start(&mut scene, 0);
    scene
}

#[test]
fn values_of_the_chain_are_asked_for_where_no_header_tells() {
    let mut scene = serving();
    scene.context_id = Some(ContextId {
        package: Arc::from("example.com/middleware"),
        value: Arc::from("kept"),
    });
    let value = "context.valueCtx";
    let chain = [(value, 0x7000), (value, 0x7100), (CANCEL_CTX, ROOT)];
    let made = derived(&scene, 1, (SERVING, CHILD), &chain, HANDLER);
    scene.take(1, &made);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let values = scene.asked.iter().find_map(|ask| match &ask.question {
        Question::ContextId { values, .. } => Some(values.as_slice()),
        _ => None,
    });
    assert_eq!(values, Some(&[0x7000, 0x7100][..]));
    let (_, finding) = scene.only();
    let request = finding.request.as_ref().unwrap();
    assert_eq!(request.id.as_deref(), Some("kept"));
}

/// Address of the `*http.Request` of calls by the serving goroutine.
const CALL_REQUEST: u64 = 0x9000 + SERVING;

#[test]
fn what_a_call_carries_is_told() {
    let sent = |answer: Option<Vec<Option<&'static str>>>| {
        let mut scene = serving();
        scene
            .sent
            .extend(answer.map(|values| (CALL_REQUEST, values)));
        let record = calls(&scene, SERVING, &[BACKGROUND], BUILD);
        scene.take(1, &record);
        let (_, finding) = scene.only();
        finding.evidence.call.as_ref().unwrap().sent.clone()
    };
    let told = sent(Some(vec![Some("7"), Some(TRACEPARENT)])).unwrap();
    assert_eq!(told.id, Some(("X-Request-Id".into(), "7".into())));
    assert_eq!(told.trace_id.as_deref(), Some(TRACE_ID));
    assert_eq!(told.parent_id.as_deref(), Some("00f067aa0ba902b7"));
    let one = sent(Some(vec![Some("7"), None])).unwrap();
    assert_eq!((one.id.is_some(), one.trace_id), (true, None));
    // Nothing that can be believed, nothing at all, nothing that could be read.
    for answer in [
        Some(vec![Some(""), Some("00-broken")]),
        Some(vec![None, None]),
        None,
    ] {
        assert_eq!(sent(answer), None);
    }
}

#[test]
fn memory_that_may_be_another_calls_is_not_believed() {
    let begun = || {
        let mut scene = serving();
        let values = vec![Some("7"), Some(TRACEPARENT)];
        scene.sent.insert(CALL_REQUEST, values);
        let record = calls(&scene, SERVING, &[BACKGROUND], BUILD);
        scene.take(1, &record);
        let first = scene.engine.model().running().next().unwrap().calls[0];
        let sent = move |scene: &Scene| scene.engine.model().call(first).unwrap().sent().is_some();
        assert!(sent(&scene));
        (scene, sent)
    };
    // What is told of later may have happened before the memory was read.
    let again = |scene: &Scene| {
        let stack = ["net/http.(*Client).Do", BUILD];
        let of = (WORKER, SERVING);
        call(&scene.code, of, CALL_REQUEST, &[BACKGROUND], &stack)
    };
    let (mut scene, sent) = begun();
    scene.engine.event(again(&scene).event(), MS, &scene.code);
    assert!(!sent(&scene));
    let (mut scene, sent) = begun();
    scene
        .engine
        .event(again(&scene).event(), 2 * MS, &scene.code);
    assert!(sent(&scene));

    // The same where the call was over by then.
    for (at_ms, believed) in [(1, false), (2, true)] {
        let (mut scene, sent) = begun();
        let next = call(&scene.code, (SERVING, 0), 0x9999, &[BACKGROUND], &[BUILD]);
        scene.engine.event(next.event(), at_ms * MS, &scene.code);
        assert_eq!(sent(&scene), believed);
    }
}
