//! Records as the probes write them.

mod calls;
mod contexts;
mod requests;

use observer_common::event::{
    BodyFailed, CallAttempt, CallCancelled, CallRedirected, CallStarted, CallStreamEnded,
    ConnCancelled, ConnHijacked, ConnReadError, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, DeadlineAsked, DialDone, DialStarted, GoroutineCreated,
    GoroutineEnded, GrpcCalled, GrpcEnded, GrpcStarted, Header, Kind, Link, RequestStarted,
    ServerClosing, SocketChanged, SqlCalled, SqlReturned,
};

use super::code::{FakeCode, PID};
use crate::stream::Event;

pub(crate) use calls::{
    attempt, body_failed, call, call_cancelled, conn_cancelled, dial, dial_done, failed_on,
    grpc_call, redirected, sql, sql_returned, stream_ended,
};
pub(crate) use contexts::{
    Created, asked, call_done, cancel, cancelled_again, cascade, conn_end, created_by,
    created_short, deadline, request_end, request_end_by, stream_context,
};
pub(crate) use requests::{
    ReadError, conn_error, conn_error_of, grpc, grpc_end, hijacked, request, server_closing, socket,
};

/// Difference of the clocks in all scenes, ns.
pub(crate) const REAL_MINUS_MONOTONIC_NS: i64 = 1_790_000_000_000_000_000;

/// `time.startNano` in all scenes, monotonic ns.
const START_NS: i64 = -5_000_000_000;

/// An event that owns its bytes.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Created(Box<ContextCreated>),
    CreatedShort(ContextCreatedShort),
    Asked(DeadlineAsked),
    Cancelled(ContextCancelled),
    CancelledShort(ContextCancelledShort),
    Request(Box<RequestStarted>),
    Grpc(Box<GrpcStarted>),
    GrpcEnd(GrpcEnded),
    GrpcCall(Box<GrpcCalled>),
    ConnError(ConnReadError),
    Call(Box<CallStarted>),
    CallRedirected(CallRedirected),
    CallAttempt(CallAttempt),
    CallStreamEnded(CallStreamEnded),
    CallCancelled(CallCancelled),
    ConnCancelled(ConnCancelled),
    BodyFailed(BodyFailed),
    Socket(SocketChanged),
    ServerClosing(ServerClosing),
    ConnHijacked(ConnHijacked),
    Sql(Box<SqlCalled>),
    SqlReturned(SqlReturned),
    Dial(Box<DialStarted>),
    DialDone(DialDone),
    Goroutine(Box<GoroutineCreated>),
    GoroutineEnd(GoroutineEnded),
}

impl Record {
    pub(crate) fn event(&self) -> Event<'_> {
        match self {
            Self::Created(record) => Event::ContextCreated(record),
            Self::CreatedShort(record) => Event::ContextCreatedShort(record),
            Self::Asked(record) => Event::DeadlineAsked(record),
            Self::Cancelled(record) => Event::ContextCancelled(record),
            Self::CancelledShort(record) => Event::ContextCancelledShort(record),
            Self::Request(record) => Event::RequestStarted(record),
            Self::Grpc(record) => Event::GrpcStarted(record),
            Self::GrpcEnd(record) => Event::GrpcEnded(record),
            Self::GrpcCall(record) => Event::GrpcCalled(record),
            Self::ConnError(record) => Event::ConnReadError(record),
            Self::Call(record) => Event::CallStarted(record),
            Self::CallRedirected(record) => Event::CallRedirected(record),
            Self::CallAttempt(record) => Event::CallAttempt(record),
            Self::CallStreamEnded(record) => Event::CallStreamEnded(record),
            Self::CallCancelled(record) => Event::CallCancelled(record),
            Self::ConnCancelled(record) => Event::ConnCancelled(record),
            Self::BodyFailed(record) => Event::BodyFailed(record),
            Self::Socket(record) => Event::SocketChanged(record),
            Self::ServerClosing(record) => Event::ServerClosing(record),
            Self::ConnHijacked(record) => Event::ConnHijacked(record),
            Self::Sql(record) => Event::SqlCalled(record),
            Self::SqlReturned(record) => Event::SqlReturned(record),
            Self::Dial(record) => Event::DialStarted(record),
            Self::DialDone(record) => Event::DialDone(record),
            Self::Goroutine(record) => Event::GoroutineCreated(record),
            Self::GoroutineEnd(record) => Event::GoroutineEnded(record),
        }
    }
}

impl Record {
    /// The same in another process.
    pub(crate) fn of(mut self, pid: u32) -> Self {
        let header = match &mut self {
            Self::Created(record) => &mut record.header,
            Self::CreatedShort(record) => &mut record.header,
            Self::Asked(record) => &mut record.header,
            Self::Cancelled(record) => &mut record.header,
            Self::CancelledShort(record) => &mut record.header,
            Self::Request(record) => &mut record.header,
            Self::ConnError(record) => &mut record.header,
            Self::Call(record) => &mut record.header,
            Self::CallRedirected(record) => &mut record.header,
            Self::CallAttempt(record) => &mut record.header,
            Self::CallStreamEnded(record) => &mut record.header,
            Self::CallCancelled(record) => &mut record.header,
            Self::ConnCancelled(record) => &mut record.header,
            Self::BodyFailed(record) => &mut record.header,
            Self::Socket(record) => &mut record.header,
            Self::ServerClosing(record) => &mut record.header,
            Self::ConnHijacked(record) => &mut record.header,
            Self::Grpc(record) => &mut record.header,
            Self::GrpcEnd(record) => &mut record.header,
            Self::GrpcCall(record) => &mut record.header,
            Self::Sql(record) => &mut record.header,
            Self::SqlReturned(record) => &mut record.header,
            Self::Dial(record) => &mut record.header,
            Self::DialDone(record) => &mut record.header,
            Self::Goroutine(record) => &mut record.header,
            Self::GoroutineEnd(record) => &mut record.header,
        };
        header.pid = pid;
        self
    }

    /// The same dial with a `Dialer.Timeout`.
    pub(crate) fn bounded(mut self) -> Self {
        if let Self::Dial(record) = &mut self {
            record.timeout_ns = 1_000_000_000;
        }
        self
    }

    /// The same request with an ID in the first header asked for.
    pub(crate) fn with_id(mut self, id: &str) -> Self {
        if let Self::Request(record) = &mut self {
            record.id_row = 1;
            record.id_len = fill(&mut record.id, id.as_bytes());
        }
        self
    }

    /// The same request, whose caller says in the first header for it how long it waits.
    pub(crate) fn waits(mut self, text: &str) -> Self {
        if let Self::Request(record) = &mut self {
            record.deadline_row = 1;
            record.deadline_len = fill(&mut record.deadline, text.as_bytes());
        }
        self
    }

    /// The same request in a trace.
    pub(crate) fn traced(mut self, traceparent: &str) -> Self {
        if let Self::Request(record) = &mut self {
            record.trace_len = u64::from(fill(&mut record.trace, traceparent.as_bytes()));
        }
        self
    }
}

pub(super) fn header(kind: Kind, goid: u64, parent_goid: u64) -> Header {
    Header {
        kind: kind as u8,
        pid: PID,
        goid,
        parent_goid,
        g: 0x20bf_0000_0000 + goid * 0x400,
        ..Header::default()
    }
}

pub(super) fn fill<T: Copy>(to: &mut [T], from: &[T]) -> u32 {
    let len = from.len().min(to.len());
    to[..len].copy_from_slice(&from[..len]);
    u32::try_from(len).unwrap()
}

fn links(code: &FakeCode, chain: &[(&str, u64)]) -> Vec<Link> {
    chain
        .iter()
        .map(|(type_name, data)| Link {
            itab: code.itab(type_name),
            data: *data,
        })
        .collect()
}
