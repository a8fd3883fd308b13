//! The layout block of one executable in one process: what its probes need to know.

use std::sync::Arc;

use observer_common::hook::HookId;
use observer_common::layout::{
    self, CREATE_IS_METHOD, ENABLED, FOLLOW_GOROUTINES, GRPC_BY_POINTER, HeaderName,
    READ_DEADLINES, READ_IDS, Range, TIMER_BY_POINTER, TRACE_HEADER,
};
use observer_common::limits::{MAX_HEADER_NAMES, MAX_ID_HEADERS, MAX_NODES, MAX_RANGES};

use crate::go::{Image, Layout};
use crate::inspect::{MapKind, timer_holds_pointer};

use super::catalogue::XNET_HANDLER;
use super::tracepoint::SOCKET_STATE;

/// Callers whose creations teach nothing: the request's own context, which the request's start
/// names anyway, and the transport's context for a dial, which is detached on purpose.
const CREATE_DROP: &[&str] = &[
    "net/http.(*conn).readRequest",
    "net/http.(*Transport).getConn",
];
/// Callers whose creations are known by the caller: the transport's context for a call, those of rows and of a
/// transaction, a gRPC server's for a stream, a gRPC client's for a call.
const CREATE_SHORT: &[&str] = &[
    "net/http.(*Transport).roundTrip",
    "database/sql.(*Rows).initContextClose",
    "database/sql.(*DB).beginDC",
    "google.golang.org/grpc/internal/transport.(*http2Server).operateHeaders",
    "google.golang.org/grpc.newClientStreamWithParams",
];
/// What calls `context.withCancel` (Go ≥ 1.20), which is inlined into it wherever the compiler optimises.
const CREATE_VIA: [&str; 2] = ["context.WithCancel", "context.WithCancelCause"];
/// Callers whose cancel of a request's context means that its handler returned or panicked.
const CANCEL_END: &[&str] = &[
    "net/http.(*conn).serve",
    "net/http.(*conn).serve.func1",
    "net/http.(*http2serverConn).runHandler.func1",
    "net/http/internal/http2.(*serverConn).runHandler.func1",
    "golang.org/x/net/http2.(*serverConn).runHandler.func1",
    "google.golang.org/grpc/internal/transport.(*http2Server).finishStream",
];
/// Callers whose first cancel of a context says all by itself: a call is done (Go ≥ 1.23), rows are closed, what `AfterFunc`
/// gave is called.
const CANCEL_SHORT: &[&str] = &[
    "net/http.(*persistConn).readLoop",
    "database/sql.(*Rows).close",
    "context.AfterFunc.func1",
];
/// Whoever calls it only wants to hear of a context's end.
const AFTER_FUNC: &str = "context.AfterFunc";
/// Called once, by a unary handler that has returned without an error.
const GRPC_ANSWER: &str = "google.golang.org/grpc.(*Server).sendResponse";
/// What the transport hands its cancels through (Go ≥ 1.23).
const CANCEL_VIA: &str = "net/http.(*Transport).prepareTransportCancel.func1";
/// What writes for a server to a connection, and cancels its context where it cannot.
const CANCEL_WRITE: &str = "net/http.checkConnErrorWriter.Write";
/// Functions whose `go` statements start what serves everybody, though a request comes first: the server's reader of a
/// connection, and the client's of one.
const SPAWN_DROP: &[&str] = &[
    "net/http.(*connReader).startBackgroundRead",
    "net/http.(*Transport).dialConn",
    "net/http.(*http2Transport).newClientConn",
    "net/http/internal/http2.(*Transport).newClientConn",
    "golang.org/x/net/http2.(*Transport).newClientConn",
    "database/sql.OpenDB",
];
const GRPC_SERVER: &str = "google.golang.org/grpc/internal/transport.ServerStream";
const GRPC_CONN: &str = "google.golang.org/grpc.ClientConn";
const GRPC_STREAM: &str = "google.golang.org/grpc/internal/transport.Stream";
const CANCEL_SELF: &str = "context.(*cancelCtx).cancel";

/// Choices of the user that the probes must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Canonical names of request ID headers, best first; the trace header is read beside them.
    pub id_headers: Vec<String>,
    /// Read IDs at every request's start.
    pub read_ids: bool,
    /// Canonical names of headers in which callers say how long they wait, best first.
    pub deadline_headers: Vec<Arc<str>>,
    /// Follow the goroutines that requests start.
    pub follow_goroutines: bool,
}

/// The block for `image` loaded with `bias` added to its addresses; enabled.
///
/// Offsets that the version lacks are 0; the plan has switched their hooks off.
#[must_use]
pub fn build(image: &Image, fields: &Layout, bias: u64, wishes: &Wishes) -> layout::Layout {
    let minor = image.go_version().minor;
    let at = |of: &str, field: &str| fields.field(of, field).unwrap_or(0);
    let goid = at("runtime.g", "goid");
    let parent = fields
        .field("runtime.g", "parentGoid")
        .and_then(|parent| parent.checked_sub(goid))
        .map_or(0, |bytes| bytes / 8);
    let http2 = http2_request(image);
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let headers = header_rows(wishes);
    layout::Layout {
        flags: ENABLED
            | flag(wishes.read_ids, READ_IDS)
            | flag(!wishes.deadline_headers.is_empty(), READ_DEADLINES)
            | flag(wishes.follow_goroutines, FOLLOW_GOROUTINES)
            | flag(minor >= 21, CREATE_IS_METHOD)
            | flag(timer_holds_pointer(fields), TIMER_BY_POINTER)
            | flag(fields.is_pointer(GRPC_SERVER, "Stream"), GRPC_BY_POINTER),
        g_goid: goid,
        g_parent_words: parent,
        ctx_err: at("context.cancelCtx", "err"),
        ctx_deadline: at("context.timerCtx", "deadline"),
        req_ctx: at("net/http.Request", "ctx"),
        req_uri: at("net/http.Request", "RequestURI"),
        req_header: at("net/http.Request", "Header"),
        url_host: at("net/url.URL", "Host"),
        reader_conn: at("net/http.connReader", "conn"),
        conn_cur_req: at("net/http.conn", "curReq") + cur_req_word(minor),
        op_error_err: at("net.OpError", "Err"),
        syscall_error_err: at("os.SyscallError", "Err"),
        conn_canceled: at("net/http.persistConn", "canceledErr"),
        conn_remote: at("net/http.conn", "remoteAddr"),
        response_conn: at("net/http.response", "conn"),
        grpc_ctx: at(GRPC_STREAM, "ctx"),
        grpc_method: at(GRPC_STREAM, "method"),
        dialer_timeout: at("net.Dialer", "Timeout"),
        grpc_authority: at(GRPC_CONN, "authority"),
        h2_ctx: at(http2.name, http2.ctx),
        h2_method: at(http2.name, "Method"),
        h2_uri: at(http2.name, "RequestURI"),
        h2_header: at(http2.name, "Header"),
        req_response: at("net/http.Request", "Response"),
        response_req: at("net/http.Response", "Request"),
        g_gopc: at("runtime.g", "gopc"),
        g_startpc: at("runtime.g", "startpc"),
        g_m: at("runtime.g", "m"),
        m_curg: at("runtime.m", "curg"),
        reserved: 0,
        create_via: CREATE_VIA.map(|name| range(image, bias, name).unwrap_or_default()),
        spawn_drop: ranges(image, bias, SPAWN_DROP),
        create_drop: ranges(image, bias, CREATE_DROP),
        create_short: ranges(image, bias, CREATE_SHORT),
        cancel_end: ranges(image, bias, CANCEL_END),
        cancel_self: range(image, bias, CANCEL_SELF).unwrap_or_default(),
        cancel_short: ranges(image, bias, CANCEL_SHORT),
        after_func: range(image, bias, AFTER_FUNC).unwrap_or_default(),
        grpc_answer: range(image, bias, GRPC_ANSWER).unwrap_or_default(),
        nodes: [0; MAX_NODES],
        cancel_via: range(image, bias, CANCEL_VIA).unwrap_or_default(),
        cancel_write: range(image, bias, CANCEL_WRITE).unwrap_or_default(),
        header_lens: headers
            .iter()
            .filter(|row| row.len != 0)
            .fold(0, |lens, row| lens | 1 << row.len),
        headers,
    }
}

/// Notes an itab of a context whose creation is an event, so that chains are walked no further. Says whether that is
/// new; where there is no room left, chains are walked further than need be.
pub fn note_node(block: &mut layout::Layout, itab: u64) -> bool {
    if itab == 0 || block.is_node(itab) {
        return false;
    }
    let free = block.nodes.iter_mut().find(|node| **node == 0);
    free.is_some_and(|node| {
        *node = itab;
        true
    })
}

/// Up to Go 1.19 `curReq` is an `atomic.Value`, whose first word names the type.
const fn cur_req_word(minor: u32) -> u32 {
    if minor <= 19 { 8 } else { 0 }
}

/// Program for the request's start: maps changed their layout with Go 1.24.
#[must_use]
pub fn program(hook: HookId, image: &Image) -> &'static str {
    match hook {
        HookId::ContextCreate => "context_create",
        HookId::ContextCancel => "context_cancel",
        HookId::RequestStart if map_kind(image) == MapKind::Swiss => "request_start_swiss",
        HookId::RequestStart => "request_start_buckets",
        HookId::Http2Start if map_kind(image) == MapKind::Swiss => "http2_start_swiss",
        HookId::Http2Start => "http2_start_buckets",
        HookId::ConnReadError => "conn_read_error",
        HookId::GrpcStart => "grpc_start",
        HookId::GrpcEnd => "grpc_end",
        HookId::GrpcHttpEnd => "grpc_http_end",
        HookId::CallStart => "call_start",
        HookId::CallCancel => "call_cancel",
        HookId::ConnCancel => "conn_cancel",
        HookId::BodyFail => "body_fail",
        HookId::CallStreamEnd => "call_stream_end",
        HookId::CallAttempt => "call_attempt",
        HookId::CallRetry => "call_retry",
        HookId::SocketState => SOCKET_STATE.program,
        HookId::DeadlineAsk => "deadline_ask",
        HookId::GrpcCall => "grpc_call",
        HookId::GrpcClosed => "grpc_closed",
        HookId::GrpcHttpWrite => "grpc_http_write",
        HookId::SqlConn => "sql_conn",
        HookId::SqlQuery => "sql_query",
        HookId::SqlExec => "sql_exec",
        HookId::SqlStmtQuery => "sql_stmt_query",
        HookId::SqlStmtExec => "sql_stmt_exec",
        HookId::SqlReturn => "sql_return",
        HookId::DialStart => "dial_start",
        HookId::DialDone => "dial_done",
        HookId::ReadDeadlineSet => "read_deadline_set",
        HookId::WriteDeadlineSet => "write_deadline_set",
        HookId::ServerClose => "server_close",
        HookId::ConnHijack => "conn_hijack",
        HookId::GoroutineCreate => "goroutine_create",
        HookId::GoroutineEnd => "goroutine_end",
    }
}

fn map_kind(image: &Image) -> MapKind {
    MapKind::of(
        image.go_version().minor,
        image.build_setting("GOEXPERIMENT"),
    )
}

/// What a server of HTTP/2 hands to the handler that it knows.
struct Http2Request {
    name: &'static str,
    ctx: &'static str,
}

/// That of `golang.org/x/net/http2` where it is a server itself, else that inside `net/http`.
fn http2_request(image: &Image) -> Http2Request {
    if image.functions(XNET_HANDLER).is_empty() {
        Http2Request {
            name: "net/http/internal/http2.ServerRequest",
            ctx: "Context",
        }
    } else {
        Http2Request {
            name: "net/http.Request",
            ctx: "ctx",
        }
    }
}

fn range(image: &Image, bias: u64, name: &str) -> Option<Range> {
    let [function] = image.functions(name) else {
        return None;
    };
    Some(Range {
        start: function.entry.wrapping_add(bias),
        end: function.end.wrapping_add(bias),
    })
}

fn ranges(image: &Image, bias: u64, names: &[&str]) -> [Range; MAX_RANGES] {
    let mut rows = [Range::default(); MAX_RANGES];
    let found = names.iter().filter_map(|name| range(image, bias, name));
    for (row, range) in rows.iter_mut().zip(found) {
        *row = range;
    }
    rows
}

fn header_rows(wishes: &Wishes) -> [HeaderName; MAX_HEADER_NAMES] {
    let mut rows = [HeaderName::NONE; MAX_HEADER_NAMES];
    let name = |name: &str| HeaderName::new(name).unwrap_or(HeaderName::NONE);
    let [before @ .., trace] = &mut rows;
    let (ids, deadlines) = before.split_at_mut(MAX_ID_HEADERS);
    if wishes.read_ids {
        for (row, id) in ids.iter_mut().zip(&wishes.id_headers) {
            *row = name(id);
        }
        *trace = name(TRACE_HEADER);
    }
    for (row, deadline) in deadlines.iter_mut().zip(&wishes.deadline_headers) {
        *row = name(deadline);
    }
    rows
}
