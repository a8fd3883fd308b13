//! Calls of `database/sql` under the rules: as those of HTTP, and waits for connections.

use observer_common::hook::HookId;

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, ROOT, SERVE, SERVING, WORKER, client_leaves, end, site, start,
};
use crate::finding::{CallOutcome, Emission, Finding, RuleName, Severity, UpdateReason, WorkState};
use crate::testkit::{Record, Scene, Seen, sql, sql_returned};

const CONN: u64 = 0x9000;
const WAITS: [&str; 4] = [
    "database/sql.(*DB).conn",
    "database/sql.(*DB).query",
    BUILD,
    SERVE,
];
const RUNS: [&str; 4] = [
    "database/sql.(*DB).queryDC",
    "database/sql.(*DB).query",
    BUILD,
    SERVE,
];

fn asks(scene: &Scene, goid: u64, chain: &[(&str, u64)], what: (HookId, u64)) -> Record {
    let parent = if goid == SERVING { 0 } else { SERVING };
    let stack = ["database/sql.(*DB).query", BUILD, SERVE];
    let text = "SELECT name FROM items WHERE mail = 'secret'";
    sql(&scene.code, (goid, parent), what, chain, &stack, text)
}

fn call(finding: &Finding) -> (&str, &str, CallOutcome) {
    let call = finding.evidence.call.as_ref().unwrap();
    (call.kind, &call.target, call.outcome)
}

/// On a page that nobody has touched yet a query cannot be read where it runs.
#[test]
fn a_query_that_could_not_be_read_has_its_name_from_the_executable() {
    for (at, named) in [(0x50_0000, "SELECT FROM items"), (0x60_0000, "query")] {
        let mut scene = Scene::new();
        scene.code.queries.insert(0x50_0000, "SELECT FROM items");
        start(&mut scene, 0);
        let Record::Sql(mut query) = asks(&scene, SERVING, &[BACKGROUND], (HookId::SqlQuery, CONN))
        else {
            panic!("not a query");
        };
        query.query.fill(0);
        query.query_at = at;
        scene.take(5, &Record::Sql(query));
        assert_eq!(call(scene.only().1).1, named);
    }
}

#[test]
fn a_query_on_background_is_told_once_with_its_wait() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let wait = asks(&scene, SERVING, &[BACKGROUND], (HookId::SqlConn, 0));
    scene.take(5, &wait);
    scene.silent();
    let query = asks(&scene, SERVING, &[BACKGROUND], (HookId::SqlQuery, CONN));
    scene.take(8, &query);
    let finding = scene.only().1;
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::DetachedContext, Severity::Warning)
    );
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(
        call(finding),
        ("sql", "SELECT FROM items", CallOutcome::Running)
    );
    let waited_ns = finding.evidence.call.as_ref().unwrap().waited_ns;
    assert_eq!(waited_ns, Some(3_000_000));
}

#[test]
fn who_waits_on_background_past_a_cancel_is_told_of_once() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.waits(SERVING, &WAITS);
    let wait = asks(&scene, SERVING, &[BACKGROUND], (HookId::SqlConn, 0));
    scene.take(5, &wait);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let finding = scene.only().1;
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::DetachedContext, Severity::Error)
    );
    assert_eq!(
        call(finding),
        ("sql_conn", "connection of the pool", CallOutcome::Running)
    );
    // The query that follows is the same use.
    let query = asks(&scene, SERVING, &[BACKGROUND], (HookId::SqlQuery, CONN));
    scene.take(700, &query);
    end(&mut scene, 800);
    let counts: Vec<u64> = scene
        .shown
        .iter()
        .map(|(_, shown)| match shown {
            Emission::Finding(finding) | Emission::Update(finding, _) => finding.count,
        })
        .collect();
    assert_eq!(counts, [1, 1]);
}

/// A driver that is told to stop, and does so a little after the grace time: one update tells of both.
#[test]
fn a_detached_query_that_ends_before_anybody_could_look_is_told_once_more() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.goroutines.insert(SERVING, Seen::Torn);
    let query = asks(&scene, SERVING, &[BACKGROUND], (HookId::SqlQuery, CONN));
    scene.take(5, &query);
    client_leaves(&mut scene, 10);
    end(&mut scene, 530);
    let [
        (_, Emission::Finding(first)),
        (530, Emission::Update(last, UpdateReason::Severity)),
    ] = &scene.shown[..]
    else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(first.severity, Severity::Warning);
    assert_eq!(last.severity, Severity::Error);
    assert_eq!(last.evidence.state, Some(WorkState::Ended));
    assert_eq!(last.evidence.after_cancel_ns, Some(520_000_000));
}

#[test]
fn a_query_that_ignores_its_dead_context_is_where_the_handler_sits() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.waits(SERVING, &RUNS);
    let query = asks(
        &scene,
        SERVING,
        &[(CANCEL_CTX, ROOT)],
        (HookId::SqlQuery, CONN),
    );
    scene.take(5, &query);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let finding = scene.only().1;
    assert_eq!(finding.rule, RuleName::CancelIgnored);
    assert_eq!(
        call(finding),
        ("sql", "SELECT FROM items", CallOutcome::Running)
    );
}

#[test]
fn a_wait_that_the_requests_end_kills_is_an_error() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let wait = asks(&scene, WORKER, &[(CANCEL_CTX, ROOT)], (HookId::SqlConn, 0));
    scene.take(5, &wait);
    end(&mut scene, 10);
    let finding = scene.only().1;
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::PrematureCancel, Severity::Error)
    );
    assert_eq!(
        call(finding),
        ("sql_conn", "connection of the pool", CallOutcome::Cancelled)
    );
}

#[test]
fn a_query_that_ends_with_its_client_is_silent() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let query = asks(
        &scene,
        SERVING,
        &[(CANCEL_CTX, ROOT)],
        (HookId::SqlQuery, CONN),
    );
    scene.take(5, &query);
    client_leaves(&mut scene, 10);
    scene.take(12, &sql_returned(&scene.code, SERVING, CONN, "pq.Error"));
    end(&mut scene, 13);
    scene.until(2_000);
    scene.silent();
}
