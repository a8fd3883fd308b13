//! What a service asks of others.

use observer_common::event::{
    BodyFailed, CallAttempt, CallCancelled, CallRedirected, CallStarted, CallStreamEnded,
    ConnCancelled, DialDone, DialStarted, GrpcCalled, Kind, Link, SqlCalled, SqlReturned,
};
use observer_common::hook::HookId;
use zerocopy::FromZeros;

use super::{Record, fill, header, links};
use crate::testkit::code::FakeCode;

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
