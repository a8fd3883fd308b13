//! `database/sql`: one entry point per hook.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{SqlCalled, SqlReturned};
use observer_common::hook::HookId;
use observer_common::probe::sql;

use crate::memory::USER;
use crate::site::Hit;

/// `database/sql.(*DB).conn`.
#[uprobe]
pub fn sql_conn(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::SqlConn) {
        hit.send(|record: &mut SqlCalled| sql::conn_asked(&USER, hit.layout, &hit.regs, record));
    }
    0
}

/// `database/sql.(*DB).queryDC`.
#[uprobe]
pub fn sql_query(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::SqlQuery) {
        hit.send(|record: &mut SqlCalled| sql::queried(&USER, hit.layout, &hit.regs, record));
    }
    0
}

/// `database/sql.(*DB).execDC`.
#[uprobe]
pub fn sql_exec(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::SqlExec) {
        hit.send(|record: &mut SqlCalled| sql::executed(&USER, hit.layout, &hit.regs, record));
    }
    0
}

/// `database/sql.rowsiFromStatement`.
#[uprobe]
pub fn sql_stmt_query(ctx: ProbeContext) -> u32 {
    by_statement(&ctx, HookId::SqlStmtQuery)
}

/// `database/sql.resultFromStatement`.
#[uprobe]
pub fn sql_stmt_exec(ctx: ProbeContext) -> u32 {
    by_statement(&ctx, HookId::SqlStmtExec)
}

#[inline(always)]
fn by_statement(ctx: &ProbeContext, hook: HookId) -> u32 {
    if let Some(hit) = Hit::new(ctx, hook) {
        hit.send(|record: &mut SqlCalled| {
            sql::by_statement(&USER, hit.layout, &hit.regs, hook, record)
        });
    }
    0
}

/// `database/sql.(*DB).putConn`.
#[uprobe]
pub fn sql_return(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::SqlReturn) {
        hit.send(|record: &mut SqlReturned| {
            sql::returned(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}
