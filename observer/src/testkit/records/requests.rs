//! Requests that are served, and what becomes of their connections.

use observer_common::event::{
    ConnHijacked, ConnReadError, GrpcEnded, GrpcStarted, Header, Kind, Link, RequestStarted,
    ServerClosing, SocketChanged,
};
use zerocopy::FromZeros;

use super::{Record, fill, header, links};
use crate::testkit::code::{FakeCode, NETNS};

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

/// The handler of the request with this `*http.response` takes its connection with this peer over.
pub(crate) fn hijacked(goid: u64, response: u64, peer: &str) -> Record {
    let mut record = ConnHijacked::new_zeroed();
    record.header = header(Kind::ConnHijacked, goid, 0);
    record.response = response;
    record.peer_len = u64::from(fill(&mut record.peer, peer.as_bytes()));
    Record::ConnHijacked(record)
}

/// `Server.Close` begins.
pub(crate) fn server_closing(goid: u64) -> Record {
    Record::ServerClosing(ServerClosing {
        header: header(Kind::ServerClosing, goid, 0),
    })
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
