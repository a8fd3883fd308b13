//! `database/sql`.

use observer_common::event::{Kind, Link, SqlCalled, SqlReturned};
use observer_common::hook::HookId;
use observer_common::probe::Skip;
use observer_common::probe::sql::{by_statement, conn_asked, executed, queried, returned};
use observer_common::regs::RegisterSet;

use super::memory::{G, GOID, HEAP, Memory, PARENT_GOID, inside, layout, link, record, stack};

const DB: u64 = HEAP;
const CTX: Link = Link {
    itab: 0x54_0000,
    data: HEAP + 0x300,
};
const PARENT: Link = Link {
    itab: 0x54_0100,
    data: HEAP + 0x400,
};
const CONN: u64 = HEAP + 0x500;
const TEXT: u64 = HEAP + 0x600;

/// A goroutine whose context has a parent, and a query of this text in memory.
fn goroutine(query: &[u8]) -> (Memory, RegisterSet) {
    let mut memory = Memory::with_goroutine();
    let regs = stack(&mut memory, &[inside(1), inside(2)]);
    memory.words(CTX.data, &[PARENT.itab, PARENT.data]);
    memory.words(PARENT.data, &[0, 0]);
    memory.bytes(TEXT, query);
    (memory, regs)
}

fn is_told(event: &SqlCalled, hook: HookId, conn: u64, query: &[u8]) {
    assert_eq!(event.header.kind, Kind::SqlCalled as u8);
    assert_eq!(
        (event.header.goid, event.header.parent_goid),
        (GOID, PARENT_GOID)
    );
    assert_eq!((event.hook, event.conn), (hook as u64, conn));
    assert_eq!(event.pcs[..event.frames as usize], [inside(1), inside(2)]);
    assert_eq!(event.chain[..event.links as usize], [CTX, PARENT]);
    assert_eq!((event.query_at, event.query_len), (0, query.len() as u64));
    assert_eq!(&event.query[..query.len()], query);
}

#[test]
fn a_wait_for_a_connection_has_its_context_and_no_query() {
    let (memory, mut regs) = goroutine(b"");
    regs.args[..4].copy_from_slice(&[DB, CTX.itab, CTX.data, 1]);
    let mut event: SqlCalled = record();
    assert_eq!(conn_asked(&memory, &layout(), &regs, &mut event), Ok(false));
    is_told(&event, HookId::SqlConn, 0, b"");
}

#[test]
fn queries_and_statements_have_connection_and_text_in_their_own_registers() {
    let text = b"SELECT name FROM items";
    let len = text.len() as u64;
    let (memory, mut regs) = goroutine(text);
    regs.args = [DB, CTX.itab, CTX.data, 0, 0, CONN, 7, TEXT, len];
    let mut event: SqlCalled = record();
    assert_eq!(queried(&memory, &layout(), &regs, &mut event), Ok(false));
    is_told(&event, HookId::SqlQuery, CONN, text);

    regs.args = [DB, CTX.itab, CTX.data, CONN, 7, TEXT, len, 0, 0];
    let mut event: SqlCalled = record();
    assert_eq!(executed(&memory, &layout(), &regs, &mut event), Ok(false));
    is_told(&event, HookId::SqlExec, CONN, text);

    // No receiver, and no text.
    regs.args = [CTX.itab, CTX.data, 0x54_0200, CONN, HEAP, 0, 0, 0, 0];
    let mut event: SqlCalled = record();
    let hook = HookId::SqlStmtExec;
    assert_eq!(
        by_statement(&memory, &layout(), &regs, hook, &mut event),
        Ok(false)
    );
    is_told(&event, hook, 0, b"");
}

#[test]
fn a_long_query_is_cut_and_of_an_unreadable_one_its_place_is_told() {
    let text = [b'x'; 500];
    let (memory, mut regs) = goroutine(&text);
    regs.args = [DB, CTX.itab, CTX.data, 0, 0, CONN, 7, TEXT, 500];
    let mut event: SqlCalled = record();
    assert_eq!(queried(&memory, &layout(), &regs, &mut event), Ok(false));
    is_told(&event, HookId::SqlQuery, CONN, &text[..192]);

    regs.args[7] = 8;
    let mut event: SqlCalled = record();
    assert_eq!(queried(&memory, &layout(), &regs, &mut event), Ok(true));
    assert_eq!((event.query_at, event.query_len), (8, 192));
}

#[test]
fn a_connection_comes_back_with_the_error_of_its_use() {
    let (memory, mut regs) = goroutine(b"");
    regs.args[..4].copy_from_slice(&[DB, CONN, 0x54_0300, HEAP]);
    let mut event: SqlReturned = record();
    assert_eq!(returned(&memory, &layout(), &regs, &mut event), Ok(()));
    assert_eq!(event.header.kind, Kind::SqlReturned as u8);
    assert_eq!((event.header.goid, event.conn), (GOID, CONN));
    assert_eq!(event.err, link(0x54_0300, HEAP));
}

#[test]
fn without_its_goroutine_all_are_lost() {
    let (mut memory, regs) = goroutine(b"");
    memory.cut(G);
    let mut event: SqlCalled = record();
    let asked = conn_asked(&memory, &layout(), &regs, &mut event);
    assert_eq!(asked, Err(Skip::Goroutine));
    let mut event: SqlReturned = record();
    let back = returned(&memory, &layout(), &regs, &mut event);
    assert_eq!(back, Err(Skip::Goroutine));
}
