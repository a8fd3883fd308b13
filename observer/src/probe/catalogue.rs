//! The hooks, as data.

use observer_common::hook::HookId;

use crate::finding::RuleName;

/// How often a hook is hit on healthy traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// Not at all: only when something goes wrong.
    Rare,
    /// Once or twice a request.
    PerRequest,
    /// Once per context or call.
    PerOperation,
    /// Once per goroutine.
    Hot,
}

impl Rate {
    /// All classes, cheapest first.
    pub const ALL: [Self; 4] = [Self::Rare, Self::PerRequest, Self::PerOperation, Self::Hot];

    /// Name in `check` and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rare => "rare",
            Self::PerRequest => "per-request",
            Self::PerOperation => "per-operation",
            Self::Hot => "hot",
        }
    }
}

/// A symbol and the minor Go versions that have it.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// Function name as pclntab has it.
    pub symbol: &'static str,
    /// First minor version.
    pub from: u32,
    /// Last minor version; `u32::MAX` while it lives.
    pub to: u32,
}

/// A hook: where something we care about happens.
#[derive(Debug)]
pub struct Hook {
    /// Number shared with the kernel. The same hook in another module is an entry of its own, after the first.
    pub id: HookId,
    /// Where it is, by version; the first that is linked in is taken. Several for one version only in a module, whose
    /// release decides.
    pub symbols: &'static [Since],
    /// Struct fields whose offsets the probe needs, as (type, field).
    pub fields: &'static [(&'static str, &'static str)],
    /// How often it is hit.
    pub rate: Rate,
    /// Rules that are blind or weaker without it.
    pub rules: &'static [RuleName],
    /// What it means when the function is not linked in; `None` where every program has it.
    pub absent: Option<&'static str>,
    /// Nothing can be observed without it.
    pub required: bool,
}

const ALWAYS: u32 = u32::MAX;
const GOID: (&str, &str) = ("runtime.g", "goid");
const STREAM_CTX: (&str, &str) = ("google.golang.org/grpc/internal/transport.Stream", "ctx");
const STREAM_METHOD: (&str, &str) = ("google.golang.org/grpc/internal/transport.Stream", "method");
const NO_CLIENT: &str = "net/http client not linked";
const NO_CLIENT2: &str = "HTTP/2 client not linked";
const NO_XNET: &str = "golang.org/x/net/http2 client not linked";
const NO_GRPC: &str = "gRPC server not linked";
const NO_GRPC_HTTP: &str = "gRPC not served through net/http";

use RuleName::{
    CancelIgnored, CancelNotCalled, CancelUndelivered, DeadlineDropped, DeadlineInflated,
    DeadlineTooShort, DetachedContext, OrphanedDownstream, PrematureCancel, TimeoutMismatch,
};

/// What calls of `database/sql` feed: nothing has a timeout of its own there.
const SQL: &[RuleName] = &[
    DetachedContext,
    PrematureCancel,
    CancelIgnored,
    DeadlineDropped,
    DeadlineInflated,
];

/// What calls over HTTP feed.
const CALLS: &[RuleName] = &[
    DetachedContext,
    PrematureCancel,
    CancelIgnored,
    DeadlineDropped,
    DeadlineInflated,
    TimeoutMismatch,
    OrphanedDownstream,
];
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
    Hook {
        id: HookId::ContextCancel,
        symbols: &[Since {
            symbol: "context.(*cancelCtx).cancel",
            from: 18,
            to: ALWAYS,
        }],
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
    Hook {
        id: HookId::GrpcEnd,
        symbols: &[
            Since {
                symbol: "google.golang.org/grpc/internal/transport.(*http2Server).writeStatus",
                from: 18,
                to: ALWAYS,
            },
            Since {
                symbol: "google.golang.org/grpc/internal/transport.(*http2Server).WriteStatus",
                from: 18,
                to: ALWAYS,
            },
        ],
        fields: &[GOID, STREAM_CTX],
        rate: Rate::PerRequest,
        rules: &[CancelIgnored, DetachedContext, PrematureCancel],
        absent: Some(NO_GRPC),
        required: false,
    },
    Hook {
        id: HookId::GrpcHttpEnd,
        symbols: &[
            Since {
                symbol: "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).writeStatus",
                from: 18,
                to: ALWAYS,
            },
            Since {
                symbol: "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).WriteStatus",
                from: 18,
                to: ALWAYS,
            },
        ],
        fields: &[GOID, STREAM_CTX],
        rate: Rate::PerRequest,
        rules: &[CancelIgnored, DetachedContext, PrematureCancel],
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
        symbols: &[Since {
            symbol: "net/http.(*persistConn).cancelRequest",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::Rare,
        rules: &[PrematureCancel],
        absent: Some(NO_CLIENT),
        required: false,
    },
    Hook {
        id: HookId::BodyFail,
        symbols: &[Since {
            symbol: "net/http.(*persistConn).canceled",
            from: 18,
            to: ALWAYS,
        }],
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
        symbols: &[Since {
            symbol: "golang.org/x/net/http2.(*clientStream).cleanupWriteRequest",
            from: 18,
            to: ALWAYS,
        }],
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
    Hook {
        id: HookId::SqlReturn,
        symbols: &[Since {
            symbol: "database/sql.(*DB).putConn",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: SQL,
        absent: Some("database/sql not linked"),
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
        id: HookId::CallStart,
        symbols: &[Since {
            symbol: "net/http.(*Transport).roundTrip",
            from: 18,
            to: ALWAYS,
        }],
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
            Since {
                symbol: "golang.org/x/net/http2.(*Transport).roundTripOpt",
                from: 18,
                to: ALWAYS,
            },
            Since {
                symbol: "golang.org/x/net/http2.(*Transport).RoundTripOpt",
                from: 18,
                to: ALWAYS,
            },
        ],
        fields: CALL_FIELDS,
        rate: Rate::PerOperation,
        rules: CALLS,
        absent: Some(NO_XNET),
        required: false,
    },
    Hook {
        id: HookId::SqlStmtExec,
        symbols: &[Since {
            symbol: "database/sql.resultFromStatement",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: SQL,
        absent: Some("database/sql not linked"),
        required: false,
    },
    Hook {
        id: HookId::SqlStmtQuery,
        symbols: &[Since {
            symbol: "database/sql.rowsiFromStatement",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: SQL,
        absent: Some("database/sql not linked"),
        required: false,
    },
    Hook {
        id: HookId::SqlExec,
        symbols: &[Since {
            symbol: "database/sql.(*DB).execDC",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: SQL,
        absent: Some("database/sql not linked"),
        required: false,
    },
    Hook {
        id: HookId::SqlQuery,
        symbols: &[Since {
            symbol: "database/sql.(*DB).queryDC",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: SQL,
        absent: Some("database/sql not linked"),
        required: false,
    },
    Hook {
        id: HookId::SqlConn,
        symbols: &[Since {
            symbol: "database/sql.(*DB).conn",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: SQL,
        absent: Some("database/sql not linked"),
        required: false,
    },
    Hook {
        id: HookId::RequestStart,
        symbols: &[Since {
            symbol: "net/http.serverHandler.ServeHTTP",
            from: 18,
            to: ALWAYS,
        }],
        fields: &[
            GOID,
            ("net/http.Request", "ctx"),
            ("net/http.Request", "RequestURI"),
            ("net/http.Request", "Header"),
        ],
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
            OrphanedDownstream,
        ],
        absent: Some("net/http server not linked"),
        required: false,
    },
    // After net/http's, of whose requests some are gRPC's too.
    Hook {
        id: HookId::GrpcStart,
        symbols: &[Since {
            symbol: "google.golang.org/grpc.(*Server).handleStream",
            from: 18,
            to: ALWAYS,
        }],
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
        ],
        absent: Some(NO_GRPC),
        required: false,
    },
];

#[cfg(test)]
mod tests {
    use super::{ALWAYS, CATALOGUE, Hook, Since};
    use crate::probe::SOCKET_STATE;
    use observer_common::hook::HookId;

    #[test]
    fn every_hook_is_in_the_catalogue_once() {
        for id in HookId::ALL {
            let entries = || CATALOGUE.iter().filter(|hook| hook.id == id);
            let elsewhere = entries().filter(|hook| of_module(hook)).count();
            let in_kernel = usize::from(SOCKET_STATE.id == id);
            let first = entries().count().saturating_sub(elsewhere) + in_kernel;
            assert!(first == 1 || first + elsewhere == 1, "{id:?}");
        }
    }

    fn of_module(hook: &Hook) -> bool {
        let is_module = |s: &Since| {
            s.symbol
                .split('/')
                .next()
                .is_some_and(|at| at.contains(".org"))
        };
        hook.symbols.iter().all(is_module)
    }

    #[test]
    fn versions_of_a_hook_do_not_overlap() {
        for hook in CATALOGUE {
            for minor in 18..60 {
                let names = hook
                    .symbols
                    .iter()
                    .filter(|s| (s.from..=s.to).contains(&minor))
                    .count();
                assert!(
                    names <= 1 || of_module(hook),
                    "{:?} has {names} symbols in 1.{minor}",
                    hook.id
                );
            }
            assert!(hook.symbols.iter().any(|s| s.to == ALWAYS || s.to >= 18));
        }
    }
}
