//! Facts from hand-made events.

mod attempts;
mod bounds;
mod calls;
mod cancels;
mod chaos;
mod contexts;
mod deadlines;
mod dials;
mod failed_writes;
mod goroutines;
mod grpc;
mod grpc_calls;
mod keys;
mod listings;
mod requests;
mod sockets;
mod sql;

use crate::testkit::{FakeCode, Record};

/// Serving goroutine.
const SERVING: u64 = 10;
/// A goroutine started for the request.
const WORKER: u64 = 11;
/// The connection's background reader.
const READER: u64 = 12;
/// Address of the request's own context.
const ROOT: u64 = 0x1000;
/// Address of a context made for it.
const CHILD: u64 = 0x2000;

const CANCEL_CTX: &str = "context.cancelCtx";
const TIMER_CTX: &str = "context.timerCtx";

/// Frames above a handler.
const SERVER: [&str; 2] = ["net/http.serverHandler.ServeHTTP", "net/http.(*conn).serve"];

fn get(code: &FakeCode) -> Record {
    crate::testkit::request(code, SERVING, ROOT, "GET /report/7")
}
