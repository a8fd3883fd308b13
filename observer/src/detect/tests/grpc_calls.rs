//! Calls of gRPC under the rules: as those of HTTP, but that a goroutine may have several streams.

use super::{BACKGROUND, BUILD, CANCEL_CTX, ROOT, SERVE, SERVING, client_leaves, site, start};
use crate::finding::{CallOutcome, Emission, Finding, RuleName, Severity};
use crate::testkit::{Record, Scene, created_by, grpc_call};

const MAKER: &str = "google.golang.org/grpc.newClientStreamWithParams";
const SENDS: [&str; 4] = [
    "google.golang.org/grpc.invoke",
    "google.golang.org/grpc.(*ClientConn).Invoke",
    BUILD,
    SERVE,
];
const OPENS: [&str; 3] = [
    "google.golang.org/grpc.(*ClientConn).NewStream",
    BUILD,
    SERVE,
];
const RECEIVES: [&str; 4] = [
    "runtime.gopark",
    "google.golang.org/grpc.(*clientStream).RecvMsg",
    BUILD,
    SERVE,
];

fn begins(scene: &Scene, chain: &[(&str, u64)], stack: &[&str]) -> Record {
    grpc_call(&scene.code, (SERVING, 0), chain, stack, "/shop.Depot/Item")
}

/// A stream of the handler, and the context that its client makes for it.
fn opens(scene: &mut Scene, at_ms: u64, chain: &[(&str, u64)], own: u64) {
    let stream = begins(scene, chain, &OPENS);
    scene.take(at_ms, &stream);
    let made = created_by(&scene.code, SERVING, own, chain[0], MAKER);
    scene.take(at_ms, &made);
}

fn call(finding: &Finding) -> (&str, &str, CallOutcome) {
    let call = finding.evidence.call.as_ref().unwrap();
    (call.kind, &call.target, call.outcome)
}

fn said(emission: &Emission) -> (RuleName, Severity, &str) {
    let (Emission::Finding(finding) | Emission::Update(finding, ..)) = emission;
    (finding.rule, finding.severity, call(finding).0)
}

#[test]
fn a_call_on_background_is_told_where_it_is_made() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let unary = begins(&scene, &[BACKGROUND], &SENDS);
    scene.take(5, &unary);
    let finding = scene.only().1;
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::DetachedContext, Severity::Warning)
    );
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    let target = "store:8080/shop.Depot/Item";
    assert_eq!(call(finding), ("grpc", target, CallOutcome::Running));
}

#[test]
fn who_reads_its_only_stream_past_a_cancel_sits_in_it() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.waits(SERVING, &RECEIVES);
    opens(&mut scene, 5, &[BACKGROUND], 0x9000);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let told: Vec<_> = scene
        .shown
        .iter()
        .map(|(_, emission)| said(emission))
        .collect();
    assert_eq!(
        told,
        [
            (RuleName::DetachedContext, Severity::Warning, "grpc_stream"),
            (RuleName::DetachedContext, Severity::Error, "grpc_stream"),
        ]
    );
}

#[test]
fn with_two_streams_open_neither_is_named() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.waits(SERVING, &RECEIVES);
    // Of its own request, so that nothing is said when they begin.
    opens(&mut scene, 5, &[(CANCEL_CTX, ROOT)], 0x9000);
    opens(&mut scene, 6, &[(CANCEL_CTX, ROOT)], 0x9100);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let finding = scene.only().1;
    assert_eq!(finding.rule, RuleName::CancelIgnored);
    assert!(finding.evidence.call.is_none());
}
