//! Calls of `database/sql`: waits for a connection, queries, and connections that come back.

use std::sync::Arc;

use observer_common::event::{SqlCalled, SqlReturned};
use observer_common::hook::HookId;

use crate::stream::query_name;

use super::On;
use super::call::{CallEnd, CallKind};
use super::chain::links;
use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::on_call::Begun;
use super::text::head;

/// What waits is called, while the query is not known.
const POOL: &str = "connection of the pool";
/// What prepared statements are called: their text is not at hand where they run.
const PREPARED: &str = "prepared statement";
/// Who asks for a connection for something that no other event tells of; closures ask since Go 1.21.
const ASKERS: &[(&str, &str)] = &[
    ("database/sql.(*DB).begin", "BEGIN"),
    ("database/sql.(*DB).prepare", "PREPARE"),
    ("database/sql.(*DB).PingContext", "PING"),
];
/// What runs a query that its driver cannot run without preparing it: the same call.
const PREPARING: &[&str] = &["database/sql.(*DB).queryDC", "database/sql.(*DB).execDC"];
/// Users of a connection that stays theirs.
const KEEPERS: &[&str] = &["database/sql.(*Tx).", "database/sql.(*Conn)."];
/// Frames above a site in which who uses the connection stands.
const NEAR: usize = 3;

/// What asking for a connection is, by who asks.
enum Asked {
    /// The whole call: nothing else tells of it.
    Call(&'static str),
    /// Its query is told of as soon as it has one.
    Query,
    /// For its caller, who may use it for anything.
    Conn,
}

impl On<'_> {
    pub(super) fn sql_called(&mut self, record: &SqlCalled) {
        let Some(hook) = u8::try_from(record.hook).ok().and_then(HookId::from_number) else {
            return;
        };
        let caller = record.pcs.first().copied().unwrap_or(0);
        let by_statement = matches!(hook, HookId::SqlStmtQuery | HookId::SqlStmtExec);
        if by_statement
            && PREPARING
                .iter()
                .any(|function| self.is_in(caller, function))
        {
            return;
        }
        let chain = links(&record.chain, record.links);
        let ctx = chain.first().map_or(0, |link| link.data);
        let (kind, handle, target): (_, _, Arc<str>) = match hook {
            HookId::SqlConn => match self.asked_by(caller) {
                Asked::Call(target) => (CallKind::Sql, 0, target.into()),
                Asked::Query => (CallKind::SqlConn, ctx, POOL.into()),
                Asked::Conn => (CallKind::SqlConn, 0, POOL.into()),
            },
            _ if by_statement => (CallKind::Sql, 0, PREPARED.into()),
            _ => (CallKind::Sql, record.conn, self.query_of(record)),
        };
        let goid = record.header.goid;
        let pcs = self
            .model
            .stacks
            .keep(&record.pcs, u64::from(record.frames));
        let keeps_conn = self.keeps_conn(&pcs);
        let waited = (kind == CallKind::Sql && hook != HookId::SqlConn && !keeps_conn)
            .then(|| self.has_waited(goid, ctx))
            .flatten();
        let id = if let Some(call) = waited.and_then(|id| self.model.calls.get_mut(id)) {
            call.waited_ns = Some(self.model.now_ns.saturating_sub(call.start_ns));
            (call.kind, call.handle, call.target) = (kind, handle, target);
            call.id
        } else {
            self.leave_last_call(goid);
            let begun = Begun {
                kind,
                handle,
                target,
                links: chain,
                pcs,
                keeps_conn,
                bounded: false,
                url: 0,
            };
            self.begin_call(&record.header, begun)
        };
        if kind == CallKind::Sql && handle != 0 {
            self.process.sql_conns.insert(handle, id);
        }
        if kind == CallKind::SqlConn
            && handle != 0
            && let Some(ctx) = self.model.calls.get(id).and_then(|call| call.ctx)
        {
            self.process.conn_waits.insert(ctx, id);
        }
        self.facts.push(Fact::CallStarted(id));
    }

    /// What a query is called. Before a query of the executable's own is used for the first time, its text may be on no
    /// page of the process; then the executable's file has it.
    fn query_of(&self, record: &SqlCalled) -> Arc<str> {
        let named = || query_name(head(&record.query, record.query_len)).into();
        match record.query_at {
            0 => named(),
            at => {
                let known = self.code.query(self.pid, at, record.query_len);
                known.unwrap_or_else(|| query_name(b"").into())
            }
        }
    }

    /// The wait on this context that the goroutine's call has been until now.
    fn has_waited(&self, goid: u64, ctx: u64) -> Option<CallId> {
        let id = *self.process.calls.get(&goid)?;
        let call = self.model.calls.get(id)?;
        let waits = call.kind == CallKind::SqlConn && call.is_open() && call.handle == ctx;
        waits.then_some(id)
    }

    fn asked_by(&self, caller: u64) -> Asked {
        let frames = self.code.frames(self.pid, caller);
        let function = frames.first().map_or("", |frame| &*frame.function);
        let is = |asker: &str| {
            function
                .strip_prefix(asker)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(".func"))
        };
        if is("database/sql.(*DB).Conn") {
            return Asked::Conn;
        }
        let known = ASKERS.iter().find(|(asker, _)| is(asker));
        known.map_or(Asked::Query, |(_, target)| Asked::Call(target))
    }

    fn keeps_conn(&self, pcs: &[u64]) -> bool {
        pcs.iter().take(NEAR).any(|pc| {
            self.code.frames(self.pid, *pc).iter().any(|frame| {
                KEEPERS
                    .iter()
                    .any(|keeper| frame.function.starts_with(keeper))
            })
        })
    }

    /// `database/sql` has begun a transaction: its own context is there.
    pub(super) fn transaction_begun(&mut self, goid: u64) {
        if let Some(id) = self.process.calls.get(&goid).copied()
            && let Some(call) = self.model.calls.get(id)
            && call.kind == CallKind::Sql
            && call.is_open()
        {
            self.end_call(id, CallEnd::Done);
        }
    }

    pub(super) fn sql_returned(&mut self, record: &SqlReturned) {
        let goid = record.header.goid;
        let by_conn = self.process.sql_conns.remove(&record.conn);
        let of_goroutine = || {
            let id = *self.process.calls.get(&goid)?;
            let call = self.model.calls.get(id)?;
            // A wait, too: its query may be out of sight.
            let fits = call.kind == CallKind::SqlConn || call.handle == 0;
            (call.kind != CallKind::Http && fits).then_some(id)
        };
        let Some(id) = by_conn.or_else(of_goroutine) else {
            return;
        };
        let Some(call) = self.model.calls.get(id).filter(|call| call.is_open()) else {
            return;
        };
        let dead = |ctx: CtxId| {
            let ctx = self.model.contexts.get(ctx);
            ctx.is_some_and(|ctx| ctx.cancelled.is_some())
        };
        let killed = record.err.itab != 0 && call.ctx.is_some_and(dead);
        let end = match (call.keeps_conn, killed) {
            (true, _) => CallEnd::Unknown,
            (false, true) => CallEnd::Cancelled,
            (false, false) => CallEnd::Done,
        };
        let own = call.goid == goid;
        self.end_call(id, end);
        if end == CallEnd::Cancelled && own {
            self.fail(id);
        }
    }

    /// A context died: whoever waits on it for a connection gets none.
    pub(super) fn wait_cancelled(&mut self, ctx: CtxId) {
        let Some(id) = self.process.conn_waits.remove(&ctx) else {
            return;
        };
        let call = self.model.calls.get(id);
        if call.is_some_and(|call| call.kind == CallKind::SqlConn && call.is_open()) {
            self.end_call(id, CallEnd::Cancelled);
            self.fail(id);
        }
    }

    fn end_call(&mut self, id: CallId, end: CallEnd) {
        let now_ns = self.model.now_ns;
        if let Some(call) = self.model.calls.get_mut(id) {
            call.ended = Some((now_ns, end));
            self.facts.push(Fact::CallEnded(id));
        }
    }
}
