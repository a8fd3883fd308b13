//! Plain dials: whose they are, and what ends them.

use super::super::{Call, CallEnd, CallId, CallKind, Fact, Root};
use super::{CANCEL_CTX, ROOT, SERVER, SERVING, TIMER_CTX, WORKER, get};
use crate::testkit::{Created, MS, ModelScene, cancel, cascade, dial, dial_done, request_end};

const USER: &str = "example.com/shop/api.Get:42";
const OWN: [(&str, u64); 1] = [(CANCEL_CTX, ROOT)];
const NOBODYS: [(&str, u64); 1] = [("context.backgroundCtx", 0)];
const STORE: &str = "store:5432";
const OWN_CTX: u64 = 0x6000;

fn of(scene: &ModelScene, id: CallId) -> &Call {
    scene.model.call(id).unwrap()
}

/// The serving goroutine dials on the request's context.
fn dialling() -> (ModelScene, CallId) {
    dialling_by(SERVING)
}

fn dialling_by(goid: u64) -> (ModelScene, CallId) {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let record = dial(&scene.code, (goid, SERVING), &OWN, &[USER], STORE);
    let facts = scene.take(2, &record);
    let [Fact::CallStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    (scene, id)
}

/// A context made on the serving goroutine with this stack.
fn makes(scene: &mut ModelScene, at_ms: u64, stack: &[&str]) -> Vec<Fact> {
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, OWN_CTX),
        chain: &OWN,
        stack,
        ..Created::default()
    };
    scene.take(at_ms, &made.record(&scene.code))
}

const TIMEOUT: [&str; 3] = [
    "context.WithDeadlineCause",
    "net.(*Dialer).dialCtx",
    "net.(*Dialer).DialContext",
];

#[test]
fn a_dial_has_its_target_and_its_request_and_ends_with_its_connection() {
    let (mut scene, id) = dialling();
    let call = of(&scene, id);
    assert_eq!(
        (call.kind, &*call.target),
        (CallKind::Dial, "tcp store:5432")
    );
    assert!(matches!(call.root, Root::Request(_)) && call.owner.is_some());
    assert_eq!(scene.take(9, &dial_done(SERVING, 0)), [Fact::CallEnded(id)]);
    assert_eq!(of(&scene, id).ended, Some((9 * MS, CallEnd::Done)));
    // Connections of others are not its own.
    assert!(scene.take(10, &dial_done(SERVING, 0)).is_empty());
}

#[test]
fn a_goroutine_for_one_of_several_addresses_brings_the_connection() {
    let (mut scene, id) = dialling();
    assert!(scene.take(3, &dial_done(99, 98)).is_empty());
    assert_eq!(
        scene.take(9, &dial_done(99, SERVING)),
        [Fact::CallEnded(id)]
    );
    assert_eq!(of(&scene, id).ended, Some((9 * MS, CallEnd::Done)));
}

#[test]
fn dials_of_those_who_keep_connections_are_theirs() {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    for holder in [
        &["net/http.(*Transport).dial"][..],
        &[USER, "net/http.(*Transport).dial"],
        &["github.com/lib/pq.dial", "database/sql.(*DB).conn", USER],
        &[USER, "net.(*Resolver).dial", USER],
        &[USER, "google.golang.org/grpc/internal/transport.dial"],
        &["golang.org/x/net/proxy.Dial", USER],
    ] {
        let record = dial(&scene.code, (SERVING, 0), &NOBODYS, holder, STORE);
        assert!(scene.take(2, &record).is_empty(), "{holder:?}");
    }
    // A handler of gRPC's server is nobody's client.
    let handler = [USER, "google.golang.org/grpc.(*Server).processUnaryRPC"];
    let handlers = [
        USER,
        SERVER[0],
        "google.golang.org/grpc.(*Server).ServeHTTP",
    ];
    for stack in [&handler[..], &handlers] {
        let record = dial(&scene.code, (SERVING, 0), &NOBODYS, stack, STORE);
        let facts = scene.take(3, &record);
        assert!(
            matches!(facts.last(), Some(Fact::CallStarted(_))),
            "{stack:?}"
        );
    }
}

#[test]
fn the_dialers_own_context_tells_how_it_ends() {
    let (mut scene, id) = dialling();
    assert!(
        makes(&mut scene, 2, &TIMEOUT).is_empty(),
        "nobody's to judge"
    );
    let defer = [
        "context.WithDeadlineCause.func3",
        "net.(*Dialer).DialContext",
    ];
    let facts = scene.take(30, &cancel(&scene.code, SERVING, OWN_CTX, &defer));
    assert!(facts.contains(&Fact::CallEnded(id)), "{facts:?}");
    assert_eq!(of(&scene, id).ended, Some((30 * MS, CallEnd::Done)));
    assert!(!of(&scene, id).failed);
}

#[test]
fn a_dial_whose_own_context_dies_with_the_requests_fails() {
    let (mut scene, id) = dialling();
    makes(&mut scene, 2, &TIMEOUT);
    scene.take(30, &request_end(&scene.code, ROOT));
    let facts = scene.take(30, &cascade(&scene.code, SERVING, OWN_CTX));
    assert!(facts.contains(&Fact::CallFailed(id)), "{facts:?}");
    assert_eq!(of(&scene, id).ended, Some((30 * MS, CallEnd::Cancelled)));
}

#[test]
fn one_address_of_several_is_not_the_whole_dial() {
    let (mut scene, id) = dialling();
    let partial = [
        "context.WithDeadlineCause",
        "net.(*sysDialer).dialSerial",
        "net.(*Dialer).DialContext",
    ];
    makes(&mut scene, 2, &partial);
    let timer = ["context.WithDeadlineCause.func2", "time.goFunc"];
    scene.take(30, &cancel(&scene.code, 99, OWN_CTX, &timer));
    assert!(of(&scene, id).is_open());
}

#[test]
fn who_does_something_else_has_left_its_dial_when_is_unknown() {
    let (mut scene, id) = dialling();
    let facts = makes(&mut scene, 7, &["context.WithTimeout", USER]);
    assert_eq!(facts.first(), Some(&Fact::CallEnded(id)));
    assert_eq!(of(&scene, id).ended, Some((7 * MS, CallEnd::Unknown)));

    let (mut scene, id) = dialling();
    let next = dial(&scene.code, (SERVING, 0), &OWN, &[USER], STORE);
    scene.take(8, &next);
    assert_eq!(of(&scene, id).ended, Some((8 * MS, CallEnd::Unknown)));
}

#[test]
fn without_a_context_of_its_own_a_dial_may_have_ended_before_its_requests_cancel() {
    let (mut scene, id) = dialling_by(WORKER);
    let facts = scene.take(30, &request_end(&scene.code, ROOT));
    assert!(facts.contains(&Fact::CallEnded(id)), "{facts:?}");
    assert_eq!(of(&scene, id).ended, Some((30 * MS, CallEnd::Unknown)));
    assert!(!of(&scene, id).failed);
}
