//! The hooks, as data.

use observer_common::hook::HookId;

use crate::finding::RuleName;

use super::hook::{ALWAYS, GOID, Hook, Rate, Since, always};
use super::{goroutines, sql};

const STREAM_CTX: (&str, &str) = ("google.golang.org/grpc/internal/transport.Stream", "ctx");
const STREAM_METHOD: (&str, &str) = ("google.golang.org/grpc/internal/transport.Stream", "method");
/// Runs a handler on a stream, where `golang.org/x/net/http2` is a server itself.
pub const XNET_HANDLER: &str = "golang.org/x/net/http2.(*serverConn).runHandler";
/// Runs a handler on a stream of the server inside `net/http`.
const HTTP2_HANDLER: &str = "net/http/internal/http2.(*serverConn).runHandler";
/// Symbols that are of use only where another is linked: without it, another hook tells the same.
pub const ONLY_WITH: &[(&str, &str)] =
    &[(HTTP2_HANDLER, "golang.org/x/net/http2.(*Server).ServeConn")];
const NO_CLIENT: &str = "net/http client not linked";
const NO_CLIENT2: &str = "HTTP/2 client not linked";
const NO_XNET: &str = "golang.org/x/net/http2 client not linked";
const NO_GRPC: &str = "gRPC server not linked";
const NO_GRPC_CLIENT: &str = "gRPC client not linked";
const NO_GRPC_HTTP: &str = "gRPC not served through net/http";

use RuleName::{
    CancelIgnored, CancelNotCalled, CancelUndelivered, DeadlineDropped, DeadlineInflated,
    DeadlineNotForwarded, DeadlineTooShort, DetachedContext, GoroutineLeak, OrphanedDownstream,
    PrematureCancel, TimeoutMismatch,
};

/// Hooks that are not where a function begins but at its one direct call of another, from a minor version on: the first
/// of these that it has.
///
/// A call that the compiler has inlined is no call: then there is no site, and the hook is off. From Go 1.22 on `goexit0`
/// leaves the goroutine's end to `gdestroy`, which coroutines call too; a profile makes it disappear here.
pub const CALL_SITES: &[(HookId, u32, &[&str])] = &[
    (HookId::DialDone, 18, &["net.newTCPConn", "net.setNoDelay"]),
    (HookId::GoroutineCreate, 18, &["runtime.runqput"]),
    (HookId::GoroutineEnd, 22, &["runtime.gdestroy"]),
];

/// What calls over HTTP feed.
const CALLS: &[RuleName] = &[
    DetachedContext,
    PrematureCancel,
    CancelIgnored,
    DeadlineDropped,
    DeadlineInflated,
    TimeoutMismatch,
    DeadlineNotForwarded,
    OrphanedDownstream,
];

/// What plain dials feed.
const DIAL: &[RuleName] = &[
    DetachedContext,
    PrematureCancel,
    CancelIgnored,
    DeadlineDropped,
    DeadlineInflated,
];
const NO_DIALS: &str = "nothing is dialled";

/// What a request is read from.
const REQUEST: &[(&str, &str)] = &[
    GOID,
    ("net/http.Request", "ctx"),
    ("net/http.Request", "RequestURI"),
    ("net/http.Request", "Header"),
];

/// What requests over HTTP/2 feed: the kernel knows nothing of their streams.
const REQUESTS_OF_HTTP2: &[RuleName] = &[
    CancelIgnored,
    DetachedContext,
    CancelNotCalled,
    PrematureCancel,
    DeadlineDropped,
    DeadlineInflated,
    TimeoutMismatch,
    DeadlineTooShort,
    DeadlineNotForwarded,
    OrphanedDownstream,
];

/// The end of a gRPC handler.
const fn grpc_end(id: HookId, symbols: &'static [Since], absent: &'static str) -> Hook {
    Hook {
        id,
        symbols,
        fields: &[GOID, STREAM_CTX],
        rate: Rate::PerRequest,
        rules: &[CancelIgnored, DetachedContext, PrematureCancel],
        absent: Some(absent),
        required: false,
    }
}

/// What the probe of a starting call reads.
const CALL_FIELDS: &[(&str, &str)] = &[
    GOID,
    ("net/http.Request", "ctx"),
    ("net/http.Request", "URL"),
    ("net/http.Request", "Response"),
    ("net/http.Response", "Request"),
    ("net/url.URL", "Host"),
];
/// What the end of a call feeds.
const CALL_ENDS: &[RuleName] = &[DetachedContext, CancelIgnored, OrphanedDownstream];

/// All hooks, in the order in which they are attached: what ends things before what begins them,
/// so that nothing is seen to begin whose end could be missed.
pub const CATALOGUE: &[Hook] = &[
    goroutines::END,
    Hook {
        id: HookId::ContextCancel,
        symbols: &[always("context.(*cancelCtx).cancel")],
        fields: &[GOID, ("context.cancelCtx", "err")],
        rate: Rate::PerRequest,
        rules: &RuleName::ALL,
        absent: None,
        required: true,
    },
    Hook {
        id: HookId::ConnReadError,
        symbols: &[
            Since {
                symbol: "net/http.(*connReader).handleReadErrorLocked",
                from: 25,
                to: ALWAYS,
            },
            Since {
                symbol: "net/http.(*connReader).handleReadError",
                from: 18,
                to: 24,
            },
        ],
        fields: &[
            GOID,
            ("net/http.connReader", "conn"),
            ("net/http.conn", "curReq"),
            ("net.OpError", "Err"),
            ("os.SyscallError", "Err"),
        ],
        rate: Rate::Rare,
        rules: &[CancelIgnored, PrematureCancel],
        absent: Some("net/http server not linked"),
        required: false,
    },
    grpc_end(
        HookId::GrpcEnd,
        &[
            always("google.golang.org/grpc/internal/transport.(*http2Server).writeStatus"),
            always("google.golang.org/grpc/internal/transport.(*http2Server).WriteStatus"),
        ],
        NO_GRPC,
    ),
    grpc_end(
        HookId::GrpcHttpEnd,
        &[
            always(
                "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).writeStatus",
            ),
            always(
                "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).WriteStatus",
            ),
        ],
        NO_GRPC_HTTP,
    ),
    Hook {
        id: HookId::GrpcClosed,
        symbols: &[always(
            "google.golang.org/grpc/internal/transport.(*http2Server).streamContextErr",
        )],
        fields: &[GOID, STREAM_CTX],
        rate: Rate::Rare,
        rules: &[CancelIgnored, DetachedContext],
        absent: Some(NO_GRPC),
        required: false,
    },
    Hook {
        id: HookId::GrpcHttpWrite,
        symbols: &[
            always("google.golang.org/grpc/internal/transport.(*serverHandlerTransport).write"),
            always("google.golang.org/grpc/internal/transport.(*serverHandlerTransport).Write"),
        ],
        fields: &[GOID, STREAM_CTX],
        rate: Rate::PerRequest,
        rules: &[CancelIgnored, DetachedContext],
        absent: Some(NO_GRPC_HTTP),
        required: false,
    },
    Hook {
        id: HookId::CallCancel,
        symbols: &[Since {
            symbol: "net/http.(*Transport).cancelRequest",
            from: 18,
            to: 22,
        }],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[PrematureCancel, OrphanedDownstream],
        absent: Some(NO_CLIENT),
        required: false,
    },
    Hook {
        id: HookId::ConnCancel,
        symbols: &[always("net/http.(*persistConn).cancelRequest")],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[PrematureCancel],
        absent: Some(NO_CLIENT),
        required: false,
    },
    Hook {
        id: HookId::BodyFail,
        symbols: &[always("net/http.(*persistConn).canceled")],
        fields: &[GOID, ("net/http.persistConn", "canceledErr")],
        rate: Rate::Rare,
        rules: &[PrematureCancel],
        absent: Some(NO_CLIENT),
        required: false,
    },
    Hook {
        id: HookId::CallStreamEnd,
        symbols: &[
            Since {
                symbol: "net/http/internal/http2.(*clientStream).cleanupWriteRequest",
                from: 27,
                to: ALWAYS,
            },
            Since {
                symbol: "net/http.(*http2clientStream).cleanupWriteRequest",
                from: 18,
                to: 26,
            },
        ],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: CALL_ENDS,
        absent: Some(NO_CLIENT2),
        required: false,
    },
    Hook {
        id: HookId::CallStreamEnd,
        symbols: &[always(
            "golang.org/x/net/http2.(*clientStream).cleanupWriteRequest",
        )],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: CALL_ENDS,
        absent: Some(NO_XNET),
        required: false,
    },
    Hook {
        id: HookId::CallAttempt,
        symbols: &[Since {
            symbol: "net/http.(*Transport).replaceReqCanceler",
            from: 18,
            to: 22,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: CALL_ENDS,
        absent: Some(NO_CLIENT),
        required: false,
    },
    Hook {
        id: HookId::CallRetry,
        symbols: &[Since {
            symbol: "net/http.rewindBody",
            from: 23,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: CALL_ENDS,
        absent: Some(NO_CLIENT),
        required: false,
    },
    sql::RETURN,
    Hook {
        id: HookId::DialDone,
        symbols: &[
            Since {
                symbol: "net.(*sysDialer).doDialTCPProto",
                from: 21,
                to: ALWAYS,
            },
            Since {
                symbol: "net.(*sysDialer).doDialTCP",
                from: 18,
                to: 20,
            },
        ],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: DIAL,
        absent: Some(NO_DIALS),
        required: false,
    },
    Hook {
        id: HookId::ContextCreate,
        symbols: &[
            Since {
                symbol: "context.(*cancelCtx).propagateCancel",
                from: 21,
                to: ALWAYS,
            },
            Since {
                symbol: "context.propagateCancel",
                from: 18,
                to: 20,
            },
        ],
        fields: &[GOID, ("context.timerCtx", "deadline")],
        rate: Rate::PerOperation,
        rules: &RuleName::ALL,
        absent: None,
        required: true,
    },
    // After the creations that it explains: a wish without its creation would be taken for another's.
    Hook {
        id: HookId::DeadlineAsk,
        symbols: &[
            Since {
                symbol: "context.WithDeadlineCause",
                from: 21,
                to: ALWAYS,
            },
            Since {
                symbol: "context.WithDeadline",
                from: 18,
                to: 20,
            },
        ],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: &[DeadlineInflated],
        absent: Some("no deadlines are made"),
        required: false,
    },
    Hook {
        id: HookId::ReadDeadlineSet,
        symbols: &[Since {
            symbol: "net/http.(*response).SetReadDeadline",
            from: 20,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[PrematureCancel],
        absent: Some("no handler can set one"),
        required: false,
    },
    Hook {
        id: HookId::WriteDeadlineSet,
        symbols: &[Since {
            symbol: "net/http.(*response).SetWriteDeadline",
            from: 20,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[TimeoutMismatch],
        absent: Some("no handler can set one"),
        required: false,
    },
    Hook {
        id: HookId::ServerClose,
        symbols: &[always("net/http.(*Server).Close")],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[CancelIgnored],
        absent: Some("not needed: nothing can close a server"),
        required: false,
    },
    Hook {
        id: HookId::ConnHijack,
        symbols: &[always("net/http.(*response).Hijack")],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[GoroutineLeak],
        absent: Some("not needed: nothing can take a connection over"),
        required: false,
    },
    Hook {
        id: HookId::CallStart,
        symbols: &[always("net/http.(*Transport).roundTrip")],
        fields: CALL_FIELDS,
        rate: Rate::PerOperation,
        rules: CALLS,
        absent: Some(NO_CLIENT),
        required: false,
    },
    // The function may only hand over to the other: one of them has the loop, and the wrapper is mostly inlined.
    Hook {
        id: HookId::CallStart,
        symbols: &[
            always("golang.org/x/net/http2.(*Transport).roundTripOpt"),
            always("golang.org/x/net/http2.(*Transport).RoundTripOpt"),
        ],
        fields: CALL_FIELDS,
        rate: Rate::PerOperation,
        rules: CALLS,
        absent: Some(NO_XNET),
        required: false,
    },
    Hook {
        id: HookId::GrpcCall,
        symbols: &[always("google.golang.org/grpc.newClientStream")],
        fields: &[GOID, ("google.golang.org/grpc.ClientConn", "authority")],
        rate: Rate::PerOperation,
        rules: &[
            DetachedContext,
            PrematureCancel,
            CancelIgnored,
            DeadlineDropped,
            DeadlineInflated,
            DeadlineNotForwarded,
            OrphanedDownstream,
        ],
        absent: Some(NO_GRPC_CLIENT),
        required: false,
    },
    Hook {
        id: HookId::DialStart,
        symbols: &[always("net.(*Dialer).DialContext")],
        fields: &[GOID, ("net.Dialer", "Timeout"), ("net.Dialer", "Deadline")],
        rate: Rate::PerOperation,
        rules: DIAL,
        absent: Some(NO_DIALS),
        required: false,
    },
    sql::STMT_EXEC,
    sql::STMT_QUERY,
    sql::EXEC,
    sql::QUERY,
    sql::CONN,
    Hook {
        id: HookId::RequestStart,
        symbols: &[always("net/http.serverHandler.ServeHTTP")],
        fields: REQUEST,
        rate: Rate::PerRequest,
        rules: &[
            CancelIgnored,
            DetachedContext,
            CancelNotCalled,
            PrematureCancel,
            CancelUndelivered,
            DeadlineDropped,
            DeadlineInflated,
            TimeoutMismatch,
            DeadlineTooShort,
            DeadlineNotForwarded,
            OrphanedDownstream,
        ],
        absent: Some("net/http server not linked"),
        required: false,
    },
    // What it serves over TLS comes through net/http, too; unencrypted (h2c) it does not.
    Hook {
        id: HookId::Http2Start,
        symbols: &[
            always(XNET_HANDLER),
            Since {
                symbol: HTTP2_HANDLER,
                from: 27,
                to: ALWAYS,
            },
        ],
        fields: REQUEST,
        rate: Rate::PerRequest,
        rules: REQUESTS_OF_HTTP2,
        absent: Some("golang.org/x/net/http2 server not linked"),
        required: false,
    },
    goroutines::CREATE,
    // After net/http's, of whose requests some are gRPC's too.
    Hook {
        id: HookId::GrpcStart,
        symbols: &[always("google.golang.org/grpc.(*Server).handleStream")],
        fields: &[GOID, STREAM_CTX, STREAM_METHOD],
        rate: Rate::PerRequest,
        rules: &[
            CancelIgnored,
            DetachedContext,
            CancelNotCalled,
            PrematureCancel,
            DeadlineDropped,
            DeadlineInflated,
            TimeoutMismatch,
            DeadlineTooShort,
            DeadlineNotForwarded,
            OrphanedDownstream,
        ],
        absent: Some(NO_GRPC),
        required: false,
    },
];

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
