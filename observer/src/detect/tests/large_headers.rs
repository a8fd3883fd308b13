//! More headers than the probe looks through.

use std::sync::Arc;

use observer_common::event::REQUEST_BIG_MAP;

use super::{CANCEL_CTX, ROOT, SERVING, WORKER, calls, end};
use crate::inspect::RequestDetails;
use crate::testkit::{Record, Scene, request};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A request of which memory, while it runs, knows two headers that the probe has not seen.
fn begun(flags: u32) -> Scene {
    let mut scene = Scene::new();
    scene.details = Some(Arc::new(RequestDetails {
        peer: None,
        proto: None,
        host: None,
        pattern: None,
        headers: vec![
            Some("id-7".into()),
            Some(format!("00-{TRACE}-00f067aa0ba902b7-01").into()),
        ],
        headers_whole: true,
        response: Vec::new(),
    }));
    let mut start = request(&scene.code, SERVING, ROOT, "GET /report/7");
    if let Record::Request(record) = &mut start {
        record.flags = flags;
    }
    scene.take(0, &start);
    scene
}

#[test]
fn a_finding_after_the_end_names_what_memory_said_before() {
    let mut scene = begun(REQUEST_BIG_MAP);
    end(&mut scene, 100);
    // It is another request's by now.
    scene.details = None;
    let call = calls(&scene, WORKER, &[(CANCEL_CTX, ROOT)], "example.com/a.F:1");
    scene.take(150, &call);
    let request = scene.only().1.request.as_ref().unwrap();
    assert_eq!(request.id.as_deref(), Some("id-7"));
    assert_eq!(request.trace_id.as_deref(), Some(TRACE));
}

#[test]
fn where_the_probe_saw_all_headers_nothing_is_asked() {
    assert!(begun(0).asked.is_empty());
}

#[test]
fn so_many_a_second_are_read_and_the_others_counted() {
    let mut scene = begun(REQUEST_BIG_MAP);
    for n in 1..250 {
        let mut start = request(&scene.code, SERVING + n, ROOT + n * 0x100, "GET /report/7");
        if let Record::Request(record) = &mut start {
            record.flags = REQUEST_BIG_MAP;
        }
        scene.take(n, &start);
    }
    assert_eq!(scene.asked.len(), 200);
    assert_eq!(scene.engine.totals().evicted, 50);
    let mut start = request(&scene.code, SERVING, ROOT, "GET /report/7");
    if let Record::Request(record) = &mut start {
        record.flags = REQUEST_BIG_MAP;
    }
    scene.take(1_001, &start);
    assert_eq!(scene.asked.len(), 201);
}
