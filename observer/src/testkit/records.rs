//! Records as the probes write them.

use observer_common::event::{
    BodyFailed, CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, CallAttempt, CallCancelled,
    CallRedirected, CallStarted, CallStreamEnded, ConnCancelled, ConnReadError, ContextCancelled,
    ContextCancelledShort, ContextCreated, ContextCreatedShort, DeadlineAsked, DialDone,
    DialStarted, GoroutineCreated, GoroutineEnded, GrpcCalled, GrpcEnded, GrpcStarted, Header,
    Kind, Link, RequestStarted, SocketChanged, SqlCalled, SqlReturned,
};
use observer_common::hook::HookId;
use zerocopy::FromZeros;

use super::code::{FakeCode, NETNS, PID};
use crate::stream::Event;

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

/// A request on goroutine `goid` whose own context is at `ctx`; its writer is `ctx + 1`, its
/// `*http.Request` `ctx + 2`.
pub(crate) fn request(code: &FakeCode, goid: u64, ctx: u64, line: &str) -> Record {
    let mut record = RequestStarted::new_zeroed();
    record.header = header(Kind::RequestStarted, goid, 0);
    record.writer.data = ctx + 1;
    record.request = ctx + 2;
    record.ctx = Link {
        itab: code.itab("context.cancelCtx"),
        data: ctx,
    };
    fill(&mut record.line, line.as_bytes());
    let method = line.find(' ').unwrap_or(line.len());
    record.method_len = u32::try_from(method).unwrap();
    record.path_at = record.method_len + 1;
    record.path_len = u32::try_from(line.len().saturating_sub(method + 1)).unwrap();
    Record::Request(Box::new(record))
}

/// A gRPC handler on goroutine `goid` for the stream at `stream`, whose context is the first of `chain`.
pub(crate) fn grpc(
    code: &FakeCode,
    goid: u64,
    stream: u64,
    chain: &[(&str, u64)],
    method: &str,
) -> Record {
    let mut record = GrpcStarted::new_zeroed();
    record.header = header(Kind::GrpcStarted, goid, 0);
    record.stream = stream;
    record.links = fill(&mut record.chain, &links(code, chain));
    record.method_len = fill(&mut record.method, method.as_bytes());
    Record::Grpc(Box::new(record))
}

/// It has returned.
pub(crate) fn grpc_end(goid: u64, stream: u64) -> Record {
    let header = header(Kind::GrpcEnded, goid, 0);
    Record::GrpcEnd(GrpcEnded { header, stream })
}

/// gRPC's client begins a call of `store:8080` on goroutine `goid`; its chain begins with its context.
pub(crate) fn grpc_call(
    code: &FakeCode,
    (goid, parent_goid): (u64, u64),
    chain: &[(&str, u64)],
    stack: &[&str],
    method: &str,
) -> Record {
    let mut record = GrpcCalled::new_zeroed();
    record.header = header(Kind::GrpcCalled, goid, parent_goid);
    record.links = fill(&mut record.chain, &links(code, chain));
    record.frames = fill(&mut record.pcs, &code.pcs(stack));
    record.host_len = fill(&mut record.host, b"store:8080");
    record.method_len = fill(&mut record.method, method.as_bytes());
    Record::GrpcCall(Box::new(record))
}

/// The reader of a gRPC connection makes the context of a stream that has no deadline.
pub(crate) fn stream_context(code: &FakeCode, goid: u64, data: u64) -> Record {
    Record::CreatedShort(ContextCreatedShort {
        header: header(Kind::ContextCreatedShort, goid, 0),
        child: links(code, &[("context.cancelCtx", data)])[0],
        parent: links(code, &[("context.valueCtx", 0x700)])[0],
        caller: code.pc("google.golang.org/grpc/internal/transport.(*http2Server).operateHeaders"),
    })
}

/// The creation of a context.
pub(crate) struct Created<'a> {
    pub(crate) goid: u64,
    pub(crate) parent_goid: u64,
    /// Type and address of the child.
    pub(crate) child: (&'a str, u64),
    /// Address of the cancelCtx inside, for Go 1.20's timers.
    pub(crate) indirect: u64,
    /// From the parent upwards.
    pub(crate) chain: &'a [(&'a str, u64)],
    pub(crate) stack: &'a [&'a str],
    pub(crate) deadline: [u64; 2],
}

impl Default for Created<'_> {
    fn default() -> Self {
        Self {
            goid: 0,
            parent_goid: 0,
            child: ("context.cancelCtx", 0),
            indirect: 0,
            chain: &[],
            stack: &[],
            deadline: [0; 2],
        }
    }
}

impl Created<'_> {
    pub(crate) fn record(&self, code: &FakeCode) -> Record {
        let mut record = ContextCreated::new_zeroed();
        record.header = header(Kind::ContextCreated, self.goid, self.parent_goid);
        record.child = links(code, &[self.child])[0];
        record.indirect = self.indirect;
        record.deadline = self.deadline;
        record.links = fill(&mut record.chain, &links(code, self.chain));
        record.frames = fill(&mut record.pcs, &code.pcs(self.stack));
        Record::Created(Box::new(record))
    }
}

/// A `time.Time` that lies `left_ns` after the monotonic `now_ns`, with or without a monotonic
/// reading of its own.
pub(crate) fn deadline(now_ns: u64, left_ns: i64, monotonic: bool) -> [u64; 2] {
    let unix_ns = i64::try_from(now_ns).unwrap() + REAL_MINUS_MONOTONIC_NS + left_ns;
    let (seconds, nanos) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let nanos = u64::try_from(nanos).unwrap();
    if monotonic {
        // Seconds since 1885.
        let since = u64::try_from(seconds + 2_682_288_000).unwrap();
        let ext_ns = i64::try_from(now_ns).unwrap() + left_ns - START_NS;
        [1 << 63 | since << 30 | nanos, ext_ns.cast_unsigned()]
    } else {
        // Seconds since year one.
        [nanos, u64::try_from(seconds + 62_135_596_800).unwrap()]
    }
}

/// A deadline is asked for under a parent.
pub(crate) fn asked(code: &FakeCode, goid: u64, parent: (&str, u64), deadline: [u64; 2]) -> Record {
    Record::Asked(DeadlineAsked {
        header: header(Kind::DeadlineAsked, goid, 0),
        parent: links(code, &[parent])[0],
        deadline,
    })
}

/// The transport's own context at `data` for the call that `goid` has begun.
pub(crate) fn created_short(code: &FakeCode, goid: u64, data: u64, parent: (&str, u64)) -> Record {
    created_by(code, goid, data, parent, "net/http.(*Transport).roundTrip")
}

/// A context at `data` that a function of the standard library makes for itself on `goid`.
pub(crate) fn created_by(
    code: &FakeCode,
    goid: u64,
    data: u64,
    parent: (&str, u64),
    caller: &str,
) -> Record {
    Record::CreatedShort(ContextCreatedShort {
        header: header(Kind::ContextCreatedShort, goid, 0),
        child: links(code, &[("context.cancelCtx", data)])[0],
        parent: links(code, &[parent])[0],
        caller: code.pc(caller),
    })
}

/// A first cancel that is no cascade.
pub(crate) fn cancel(code: &FakeCode, goid: u64, ctx: u64, stack: &[&str]) -> Record {
    let mut record = ContextCancelled::new_zeroed();
    record.header = header(Kind::ContextCancelled, goid, 0);
    record.ctx = ctx;
    record.frames = u64::from(fill(&mut record.pcs, &code.pcs(stack)));
    Record::Cancelled(record)
}

fn cancelled_short(goid: u64, ctx: u64, flags: u64, pcs: [u64; 2]) -> Record {
    Record::CancelledShort(ContextCancelledShort {
        header: header(Kind::ContextCancelledShort, goid, 0),
        ctx,
        flags,
        err: Link::default(),
        pcs,
    })
}

/// The server cancels a request's context because its handler has returned or panicked.
pub(crate) fn request_end(code: &FakeCode, ctx: u64) -> Record {
    request_end_by(code, ctx, "net/http.(*conn).serve")
}

/// The same, told by another function.
pub(crate) fn request_end_by(code: &FakeCode, ctx: u64, function: &str) -> Record {
    end_under(code, ctx, function, "context.cancelCtx")
}

/// The server is done with a connection: it cancels the connection's own context.
pub(crate) fn conn_end(code: &FakeCode, ctx: u64) -> Record {
    end_under(code, ctx, "net/http.(*conn).serve", "context.valueCtx")
}

fn end_under(code: &FakeCode, ctx: u64, function: &str, parent: &str) -> Record {
    cancelled_short(0, ctx, CANCEL_END, [code.itab(parent), code.pc(function)])
}

/// A context dies with its parent.
pub(crate) fn cascade(code: &FakeCode, goid: u64, ctx: u64) -> Record {
    let own = code.pc("context.(*cancelCtx).cancel");
    cancelled_short(goid, ctx, CANCEL_CASCADE, [own, own])
}

/// The transport has done with a call.
pub(crate) fn call_done(code: &FakeCode, goid: u64, ctx: u64) -> Record {
    let pcs = code.pcs(&[
        "context.WithCancelCause.func1",
        "net/http.(*persistConn).readLoop",
    ]);
    cancelled_short(goid, ctx, 0, [pcs[0], pcs[1]])
}

/// A dead context is cancelled again, by something that is not its parent.
pub(crate) fn cancelled_again(code: &FakeCode, goid: u64, ctx: u64, stack: [&str; 2]) -> Record {
    let pcs = code.pcs(&stack);
    cancelled_short(goid, ctx, CANCEL_AGAIN, [pcs[0], pcs[1]])
}

/// What the server's background read met.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadError {
    /// An `errors.errorString` with this text.
    Text(&'static str),
    /// An error of this type, bare.
    Bare(&'static str),
    /// The same inside a `net.OpError`.
    Op(&'static str),
    /// An errno inside `os.SyscallError` inside `net.OpError`.
    Errno(u64),
}

/// The background read of a connection failed.
pub(crate) fn conn_error(code: &FakeCode, goid: u64, error: ReadError) -> Record {
    let mut record = ConnReadError::new_zeroed();
    record.header = header(Kind::ConnReadError, goid, 0);
    match error {
        ReadError::Text(text) => {
            record.err.itab = code.itab("errors.errorString");
            fill(&mut record.text, text.as_bytes());
        }
        ReadError::Bare(name) => record.err.itab = code.itab(name),
        ReadError::Op(name) => {
            record.err.itab = code.itab("net.OpError");
            record.op_err.itab = code.itab(name);
        }
        ReadError::Errno(number) => {
            record.err.itab = code.itab("net.OpError");
            record.op_err.itab = code.itab("os.SyscallError");
            record.syscall_err.itab = code.itab("syscall.Errno");
            record.errno = number;
        }
    }
    Record::ConnError(record)
}

/// The same, with the response in flight and the peer as the connection names it.
pub(crate) fn conn_error_of(
    code: &FakeCode,
    goid: u64,
    error: ReadError,
    (response, peer): (u64, &str),
) -> Record {
    let mut record = conn_error(code, goid, error);
    if let Record::ConnError(record) = &mut record {
        record.response = response;
        record.peer_len = u64::from(fill(&mut record.peer, peer.as_bytes()));
    }
    record
}

/// A socket of the observed process's port 8080 changes its state: from, to, and its error.
pub(crate) fn socket(peer: &str, (from, to): (u32, u32), error: u64) -> Record {
    let peer: std::net::SocketAddr = peer.parse().unwrap();
    let bytes = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    Record::Socket(SocketChanged {
        header: Header {
            kind: Kind::SocketChanged as u8,
            ..Header::default()
        },
        netns: NETNS,
        local: bytes(std::net::Ipv4Addr::LOCALHOST.into()),
        remote: bytes(peer.ip()),
        local_port: 8080,
        remote_port: u32::from(peer.port()),
        from,
        to,
        error,
    })
}

/// A call begins on `goid`, started by `parent_goid`; its request is at `request`, its chain
/// begins with its context.
pub(crate) fn call(
    code: &FakeCode,
    (goid, parent_goid): (u64, u64),
    request: u64,
    chain: &[(&str, u64)],
    stack: &[&str],
) -> Record {
    let mut record = CallStarted::new_zeroed();
    record.header = header(Kind::CallStarted, goid, parent_goid);
    record.request = request;
    record.links = fill(&mut record.chain, &links(code, chain));
    record.frames = fill(&mut record.pcs, &code.pcs(stack));
    record.method_len = fill(&mut record.method, b"GET");
    record.host_len = fill(&mut record.host, b"store:8080");
    record.path_len = fill(&mut record.path, b"/item/7");
    record.url = u32::try_from(url_of(request)).unwrap();
    Record::Call(Box::new(record))
}

/// Where the URL of the request at `request` lies.
const fn url_of(request: u64) -> u64 {
    request + 0x50_0000
}

/// The call that begins next on `goid`, with its request at `request`, follows a redirect that answered the one at
/// `previous`, or a copy of that.
pub(crate) fn redirected(goid: u64, request: u64, previous: u64) -> Record {
    Record::CallRedirected(CallRedirected {
        header: header(Kind::CallRedirected, goid, 0),
        request,
        previous_url: url_of(previous),
    })
}

/// The transport does `what` for the request on `goid`.
pub(crate) fn attempt(goid: u64, request: u64, what: u64) -> Record {
    Record::CallAttempt(CallAttempt {
        header: header(Kind::CallAttempt, goid, 0),
        request,
        what,
    })
}

/// A stream that a call on `caller` has started is over, with an error of this text; `""` for none.
pub(crate) fn stream_ended(code: &FakeCode, caller: u64, error: &str) -> Record {
    let mut record = CallStreamEnded::new_zeroed();
    record.header = header(Kind::CallStreamEnded, caller + 1_000, caller);
    if !error.is_empty() {
        record.err = links(code, &[("errors.errorString", 1)])[0];
        fill(&mut record.text, error.as_bytes());
    }
    Record::CallStreamEnded(record)
}

/// The transport closes a connection for a dead context, on `goid`.
pub(crate) fn conn_cancelled(goid: u64, conn: u64) -> Record {
    let header = header(Kind::ConnCancelled, goid, 0);
    Record::ConnCancelled(ConnCancelled { header, conn })
}

/// Reading the body of that connection's answer fails, below this stack.
pub(crate) fn body_failed(code: &FakeCode, goid: u64, conn: u64, stack: &[&str]) -> Record {
    let inner = [
        "net/http.(*persistConn).readLoop.func4",
        "net/http.(*bodyEOFSignal).Read",
    ];
    failed_on(code, goid, conn, &[&inner, stack].concat())
}

/// Something fails on that connection with this stack.
pub(crate) fn failed_on(code: &FakeCode, goid: u64, conn: u64, stack: &[&str]) -> Record {
    let mut record = BodyFailed::new_zeroed();
    record.header = header(Kind::BodyFailed, goid, 0);
    record.conn = conn;
    record.frames = u64::from(fill(&mut record.pcs, &code.pcs(stack)));
    Record::BodyFailed(record)
}

/// The transport of Go ≤ 1.22 gives a call up, or with a nil error has finished with it.
pub(crate) fn call_cancelled(code: &FakeCode, goid: u64, request: u64, error: &str) -> Record {
    Record::CallCancelled(CallCancelled {
        header: header(Kind::CallCancelled, goid, 0),
        request,
        err: links(code, &[(error, 0)])[0],
    })
}

/// `database/sql` does on `goid` what `hook` says, with the connection at `conn`; its chain begins with its context.
pub(crate) fn sql(
    code: &FakeCode,
    (goid, parent_goid): (u64, u64),
    (hook, conn): (HookId, u64),
    chain: &[(&str, u64)],
    stack: &[&str],
    query: &str,
) -> Record {
    let mut record = SqlCalled::new_zeroed();
    record.header = header(Kind::SqlCalled, goid, parent_goid);
    record.hook = hook as u64;
    record.conn = conn;
    record.links = fill(&mut record.chain, &links(code, chain));
    record.frames = fill(&mut record.pcs, &code.pcs(stack));
    record.query_len = u64::from(fill(&mut record.query, query.as_bytes()));
    Record::Sql(Box::new(record))
}

/// The connection at `conn` goes back to its pool on `goid`, after an error of this type; `""` for none.
pub(crate) fn sql_returned(code: &FakeCode, goid: u64, conn: u64, error: &str) -> Record {
    let err = if error.is_empty() {
        Link::default()
    } else {
        links(code, &[(error, 1)])[0]
    };
    Record::SqlReturned(SqlReturned {
        header: header(Kind::SqlReturned, goid, 0),
        conn,
        err,
    })
}

/// `net.Dialer` is asked on `goid` for a TCP connection to `address`; its chain begins with its context.
pub(crate) fn dial(
    code: &FakeCode,
    (goid, parent_goid): (u64, u64),
    chain: &[(&str, u64)],
    stack: &[&str],
    address: &str,
) -> Record {
    let mut record = DialStarted::new_zeroed();
    record.header = header(Kind::DialStarted, goid, parent_goid);
    record.links = fill(&mut record.chain, &links(code, chain));
    record.frames = fill(&mut record.pcs, &code.pcs(stack));
    record.network_len = fill(&mut record.network, b"tcp");
    record.address_len = fill(&mut record.address, address.as_bytes());
    Record::Dial(Box::new(record))
}

/// A goroutine has the TCP connection that it, or who started it, has dialled.
pub(crate) fn dial_done(goid: u64, parent_goid: u64) -> Record {
    Record::DialDone(DialDone {
        header: header(Kind::DialDone, goid, parent_goid),
    })
}
