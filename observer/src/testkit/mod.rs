//! What tests of the core share: records as probes write them, code that answers by name, and
//! scenes that feed both to the model or to the engine.
//!
//! Knows no rule and judges nothing.

mod chaos;
mod code;
mod goroutines;
mod records;
mod scene;
mod table;

pub(crate) use chaos::{PEERS, Step, steps};
pub(crate) use code::{FakeCode, NETNS, PID, STORE};
pub(crate) use goroutines::{goroutine, goroutine_end, listing};
pub(crate) use records::{
    Created, REAL_MINUS_MONOTONIC_NS, ReadError, Record, asked, attempt, body_failed, call,
    call_cancelled, call_done, cancel, cancelled_again, cascade, conn_cancelled, conn_end,
    conn_error, conn_error_of, created_by, created_short, deadline, dial, dial_done, failed_on,
    grpc, grpc_call, grpc_end, hijacked, redirected, request, request_end, request_end_by,
    server_closing, socket, sql, sql_returned, stream_context, stream_ended,
};
pub(crate) use scene::{ModelScene, Scene, Seen};
pub(crate) use table::PartTable;

/// One millisecond, ns.
pub(crate) const MS: u64 = 1_000_000;
