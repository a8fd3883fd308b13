//! Calls of `database/sql`: waits, queries, transactions, and what ends them.

use observer_common::hook::HookId;

use super::super::{Call, CallEnd, CallId, CallKind, Fact, Root};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, WORKER, get};
use crate::testkit::{MS, ModelScene, cancel, cascade, created_by, request_end, sql, sql_returned};

const USER: &str = "example.com/shop/api.Get:42";
const CONN: u64 = 0x5000;
const ROWS: u64 = 0x6000;
const OWN: [(&str, u64); 1] = [(CANCEL_CTX, ROOT)];
const TEXT: &str = "SELECT name FROM items WHERE mail = 'secret'";
const ROWS_MADE: &str = "database/sql.(*Rows).initContextClose";
const CLOSE: [&str; 2] = ["context.WithCancel.func1", "database/sql.(*Rows).close"];

fn serving() -> ModelScene {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    scene
}

fn of(scene: &ModelScene, id: CallId) -> &Call {
    scene.model.call(id).unwrap()
}

/// One call begins; gives it.
fn begins(scene: &mut ModelScene, at_ms: u64, what: (HookId, u64), stack: [&str; 2]) -> CallId {
    let query = if what.1 == 0 { "" } else { TEXT };
    let record = sql(&scene.code, (SERVING, 0), what, &OWN, &stack, query);
    let facts = scene.take(at_ms, &record);
    // What the goroutine did before ends with it.
    let Some(Fact::CallStarted(id)) = facts.last() else {
        panic!("{facts:?}");
    };
    *id
}

fn waits(scene: &mut ModelScene, at_ms: u64) -> CallId {
    let stack = ["database/sql.(*DB).query", USER];
    begins(scene, at_ms, (HookId::SqlConn, 0), stack)
}

fn queries(scene: &mut ModelScene, at_ms: u64) -> CallId {
    let stack = ["database/sql.(*DB).query", USER];
    begins(scene, at_ms, (HookId::SqlQuery, CONN), stack)
}

#[test]
fn a_wait_becomes_its_query_and_shows_no_value_of_it() {
    let mut scene = serving();
    let wait = waits(&mut scene, 2);
    assert_eq!(of(&scene, wait).kind, CallKind::SqlConn);
    assert!(matches!(of(&scene, wait).root, Root::Request(_)));
    assert_eq!(queries(&mut scene, 9), wait);
    let call = of(&scene, wait);
    assert_eq!(
        (call.kind, &*call.target),
        (CallKind::Sql, "SELECT FROM items")
    );
    assert_eq!((call.start_ns, call.waited_ns), (2 * MS, Some(7 * MS)));
    scene.take(11, &sql_returned(&scene.code, SERVING, CONN, ""));
    assert_eq!(of(&scene, wait).ended, Some((11 * MS, CallEnd::Done)));
}

#[test]
fn a_wait_of_another_context_or_for_the_connection_itself_is_not_the_querys() {
    let mut scene = serving();
    let for_it = begins(
        &mut scene,
        2,
        (HookId::SqlConn, 0),
        ["database/sql.(*DB).Conn.func1", USER],
    );
    assert_ne!(queries(&mut scene, 5), for_it);
    assert_eq!(of(&scene, for_it).ended, Some((5 * MS, CallEnd::Unknown)));

    let wait = waits(&mut scene, 6);
    let other = sql(
        &scene.code,
        (SERVING, 0),
        (HookId::SqlQuery, CONN + 8),
        &[("context.backgroundCtx", 0x7000)],
        &["database/sql.(*DB).query", USER],
        TEXT,
    );
    let facts = scene.take(7, &other);
    let [Fact::CallEnded(ended), Fact::CallStarted(other)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(ended, wait);
    assert_ne!(other, wait);
    assert_eq!(of(&scene, other).waited_ns, None);
}

#[test]
fn beginning_preparing_and_pinging_are_calls_of_their_own() {
    for (asker, target) in [
        ("database/sql.(*DB).begin", "BEGIN"),
        ("database/sql.(*DB).prepare", "PREPARE"),
        ("database/sql.(*DB).PingContext.func1", "PING"),
        ("database/sql.(*DB).PingContext", "PING"),
    ] {
        let mut scene = serving();
        let id = begins(&mut scene, 2, (HookId::SqlConn, 0), [asker, USER]);
        assert_eq!(
            (of(&scene, id).kind, &*of(&scene, id).target),
            (CallKind::Sql, target)
        );
        if target == "BEGIN" {
            let begun = "database/sql.(*DB).beginDC";
            scene.take(4, &created_by(&scene.code, SERVING, ROWS, OWN[0], begun));
        } else {
            scene.take(4, &sql_returned(&scene.code, SERVING, CONN, ""));
        }
        assert_eq!(
            of(&scene, id).ended,
            Some((4 * MS, CallEnd::Done)),
            "{asker}"
        );
    }
}

#[test]
fn a_query_with_rows_ends_when_they_are_closed() {
    let mut scene = serving();
    let id = queries(&mut scene, 2);
    scene.take(
        3,
        &created_by(&scene.code, SERVING, ROWS, OWN[0], ROWS_MADE),
    );
    // Another query meanwhile, on another connection.
    let stack = ["database/sql.(*DB).exec", USER];
    begins(&mut scene, 4, (HookId::SqlExec, CONN + 8), stack);
    assert!(of(&scene, id).is_open());
    scene.take(6, &cancel(&scene.code, SERVING, ROWS, &CLOSE));
    assert_eq!(of(&scene, id).ended, Some((6 * MS, CallEnd::Done)));
    scene.take(7, &sql_returned(&scene.code, SERVING, CONN, ""));
    assert_eq!(of(&scene, id).ended, Some((6 * MS, CallEnd::Done)));
}

#[test]
fn rows_that_die_with_their_request_did_not_fail() {
    let mut scene = serving();
    let id = queries(&mut scene, 2);
    scene.take(
        3,
        &created_by(&scene.code, SERVING, ROWS, OWN[0], ROWS_MADE),
    );
    scene.take(
        5,
        &cancel(
            &scene.code,
            90,
            ROOT,
            &["net/http.(*connReader).handleReadError"],
        ),
    );
    scene.take(5, &cascade(&scene.code, 90, ROWS));
    let facts = scene.take(
        6,
        &sql_returned(&scene.code, 91, CONN, "errors.errorString"),
    );
    assert_eq!(facts, []);
    let call = of(&scene, id);
    assert_eq!(
        (call.ended, call.failed),
        (Some((5 * MS, CallEnd::Cancelled)), false)
    );
}

#[test]
fn a_query_that_fails_on_a_dead_context_was_killed_and_one_on_a_live_one_was_not() {
    for (dies, end) in [(true, CallEnd::Cancelled), (false, CallEnd::Done)] {
        let mut scene = serving();
        let id = queries(&mut scene, 2);
        if dies {
            scene.take(4, &request_end(&scene.code, ROOT));
        }
        let facts = scene.take(5, &sql_returned(&scene.code, SERVING, CONN, "pq.Error"));
        assert_eq!(facts.contains(&Fact::CallFailed(id)), dies);
        assert_eq!(of(&scene, id).ended, Some((5 * MS, end)));
    }
}

#[test]
fn a_wait_dies_with_its_context() {
    let mut scene = serving();
    let id = waits(&mut scene, 2);
    let facts = scene.take(4, &request_end(&scene.code, ROOT));
    assert!(facts.contains(&Fact::CallFailed(id)), "{facts:?}");
    assert_eq!(of(&scene, id).ended, Some((4 * MS, CallEnd::Cancelled)));

    // Who has a connection is told of by the driver.
    let mut scene = serving();
    waits(&mut scene, 2);
    let id = queries(&mut scene, 3);
    let facts = scene.take(4, &request_end(&scene.code, ROOT));
    assert!(!facts.contains(&Fact::CallFailed(id)), "{facts:?}");
    assert!(of(&scene, id).is_open());
}

#[test]
fn a_wait_whose_query_is_out_of_sight_ends_with_it() {
    let mut scene = serving();
    let id = waits(&mut scene, 2);
    scene.take(4, &sql_returned(&scene.code, SERVING, CONN, ""));
    assert_eq!(of(&scene, id).ended, Some((4 * MS, CallEnd::Done)));
    let facts = scene.take(5, &request_end(&scene.code, ROOT));
    assert!(!facts.contains(&Fact::CallFailed(id)), "{facts:?}");
}

#[test]
fn what_keeps_its_connection_ends_nobody_knows_when() {
    let mut scene = serving();
    let stack = ["database/sql.(*Tx).ExecContext", USER];
    let first = begins(&mut scene, 2, (HookId::SqlExec, CONN), stack);
    let second = begins(&mut scene, 5, (HookId::SqlExec, CONN), stack);
    assert_eq!(of(&scene, first).ended, Some((5 * MS, CallEnd::Unknown)));
    scene.take(9, &sql_returned(&scene.code, SERVING, CONN, ""));
    assert_eq!(of(&scene, second).ended, Some((9 * MS, CallEnd::Unknown)));
}

#[test]
fn a_prepared_statement_is_one_call_also_inside_a_query() {
    let mut scene = serving();
    let stack = ["database/sql.(*Stmt).QueryContext.func1", USER];
    let wait = begins(
        &mut scene,
        2,
        (HookId::SqlConn, 0),
        ["database/sql.(*Stmt).connStmt", USER],
    );
    let id = begins(&mut scene, 3, (HookId::SqlStmtQuery, 0), stack);
    assert_eq!((wait, &*of(&scene, id).target), (id, "prepared statement"));
    scene.take(5, &sql_returned(&scene.code, SERVING, CONN, ""));
    assert_eq!(of(&scene, id).ended, Some((5 * MS, CallEnd::Done)));

    let id = queries(&mut scene, 6);
    let inside = sql(
        &scene.code,
        (SERVING, 0),
        (HookId::SqlStmtQuery, 0),
        &OWN,
        &["database/sql.(*DB).queryDC", USER],
        "",
    );
    assert_eq!(scene.take(7, &inside), []);
    assert!(of(&scene, id).is_open());
}

#[test]
fn the_context_of_rows_or_of_a_transaction_is_nobodys_to_cancel() {
    let mut scene = serving();
    queries(&mut scene, 2);
    for caller in [ROWS_MADE, "database/sql.(*DB).beginDC"] {
        let made = created_by(&scene.code, SERVING, CHILD, OWN[0], caller);
        let facts = scene.take(3, &made);
        let told = |fact: &Fact| matches!(fact, Fact::ContextCreated(_));
        assert!(!facts.iter().any(told), "{facts:?}");
    }
    // Whom a worker's query belongs to is told by descent.
    let record = sql(
        &scene.code,
        (WORKER, 0),
        (HookId::SqlQuery, CONN + 8),
        &OWN,
        &["database/sql.(*DB).query", USER],
        TEXT,
    );
    let [Fact::CallStarted(id)] = scene.take(4, &record)[..] else {
        panic!("no call");
    };
    let request = scene.model.running().next().unwrap();
    assert_eq!(of(&scene, id).owner, Some(request.id));
}
