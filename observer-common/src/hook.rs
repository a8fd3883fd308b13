//! Numbers of hooks and of the ways a probe can fail.
//!
//! A number is never reused: recordings hold them.

/// A hook that has a probe. Blocks of ten: contexts, servers, HTTP client, gRPC client; `database/sql` from 41, dials from 51,
/// sockets from 61, goroutines from 71.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum HookId {
    /// A cancelable context was created.
    ContextCreate = 1,
    /// A context is cancelled (again).
    ContextCancel = 2,
    /// A deadline is asked for.
    DeadlineAsk = 3,
    /// A handler is about to run.
    RequestStart = 11,
    /// The server's background read ended with an error.
    ConnReadError = 12,
    /// A gRPC handler is about to run.
    GrpcStart = 13,
    /// A gRPC handler has returned: its status is about to be written.
    GrpcEnd = 14,
    /// The same where gRPC is served through `net/http`.
    GrpcHttpEnd = 15,
    /// A handler sets a read deadline on its connection.
    ReadDeadlineSet = 16,
    /// A handler sets a write deadline on its connection.
    WriteDeadlineSet = 17,
    /// A server closes its connections.
    ServerClose = 18,
    /// A handler takes its connection over.
    ConnHijack = 19,
    /// `http.Transport` starts a round trip.
    CallStart = 21,
    /// The transport gives a request up because its context died (Go ≤ 1.22).
    CallCancel = 23,
    /// The transport closes a connection because the context of its request died.
    ConnCancel = 24,
    /// Reading a response body failed on such a connection.
    BodyFail = 25,
    /// A stream of an HTTP/2 client is over, and with it a round trip.
    CallStreamEnd = 26,
    /// A round trip of HTTP/1 takes a connection, or has done with it (Go ≤ 1.22).
    CallAttempt = 28,
    /// The transport is about to try a request again (Go ≥ 1.23).
    CallRetry = 29,
    /// gRPC's client makes a stream, for a unary call, too.
    GrpcCall = 31,
    /// A gRPC server's stream is found closed by who would write to it.
    GrpcClosed = 32,
    /// An answer is written where gRPC is served through `net/http`.
    GrpcHttpWrite = 33,
    /// A handler is about to run on a stream of `golang.org/x/net/http2`.
    Http2Start = 34,
    /// `database/sql` asks its pool for a connection.
    SqlConn = 41,
    /// A query is handed to a driver.
    SqlQuery = 42,
    /// A statement without rows is handed to a driver.
    SqlExec = 43,
    /// A prepared query is handed to a driver.
    SqlStmtQuery = 44,
    /// A prepared statement without rows is handed to a driver.
    SqlStmtExec = 45,
    /// A connection goes back to the pool.
    SqlReturn = 46,
    /// `net.Dialer` is asked for a connection.
    DialStart = 51,
    /// A TCP connection that was dialled is there.
    DialDone = 52,
    /// A TCP socket changes its state: a tracepoint of the kernel, the same for all processes.
    SocketState = 61,
    /// A goroutine was made and is about to be queued.
    GoroutineCreate = 71,
    /// A goroutine has returned from its function, or left by `runtime.Goexit`.
    GoroutineEnd = 72,
}

impl HookId {
    /// All hooks.
    pub const ALL: [Self; 34] = [
        Self::ContextCreate,
        Self::ContextCancel,
        Self::RequestStart,
        Self::ConnReadError,
        Self::GrpcStart,
        Self::GrpcEnd,
        Self::GrpcHttpEnd,
        Self::CallStart,
        Self::CallCancel,
        Self::ConnCancel,
        Self::BodyFail,
        Self::CallStreamEnd,
        Self::CallAttempt,
        Self::CallRetry,
        Self::SocketState,
        Self::DeadlineAsk,
        Self::SqlConn,
        Self::SqlQuery,
        Self::SqlExec,
        Self::SqlStmtQuery,
        Self::SqlStmtExec,
        Self::SqlReturn,
        Self::DialStart,
        Self::DialDone,
        Self::ReadDeadlineSet,
        Self::WriteDeadlineSet,
        Self::ServerClose,
        Self::ConnHijack,
        Self::GrpcCall,
        Self::GrpcClosed,
        Self::GrpcHttpWrite,
        Self::Http2Start,
        Self::GoroutineCreate,
        Self::GoroutineEnd,
    ];

    /// Name on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContextCreate => "context-create",
            Self::ContextCancel => "context-cancel",
            Self::RequestStart => "request-start",
            Self::ConnReadError => "conn-read-error",
            Self::GrpcStart => "grpc-start",
            Self::GrpcEnd => "grpc-end",
            Self::GrpcHttpEnd => "grpc-http-end",
            Self::CallStart => "call-start",
            Self::CallCancel => "call-cancel",
            Self::ConnCancel => "conn-cancel",
            Self::BodyFail => "body-fail",
            Self::CallStreamEnd => "call-stream-end",
            Self::CallAttempt => "call-attempt",
            Self::CallRetry => "call-retry",
            Self::SocketState => "socket-state",
            Self::DeadlineAsk => "deadline-ask",
            Self::SqlConn => "sql-conn",
            Self::SqlQuery => "sql-query",
            Self::SqlExec => "sql-exec",
            Self::SqlStmtQuery => "sql-stmt-query",
            Self::SqlStmtExec => "sql-stmt-exec",
            Self::SqlReturn => "sql-return",
            Self::DialStart => "dial-start",
            Self::DialDone => "dial-done",
            Self::ReadDeadlineSet => "read-deadline-set",
            Self::WriteDeadlineSet => "write-deadline-set",
            Self::ServerClose => "server-close",
            Self::ConnHijack => "conn-hijack",
            Self::GrpcCall => "grpc-call",
            Self::GrpcClosed => "grpc-closed",
            Self::GrpcHttpWrite => "grpc-http-write",
            Self::Http2Start => "http2-start",
            Self::GoroutineCreate => "goroutine-create",
            Self::GoroutineEnd => "goroutine-end",
        }
    }

    /// The hook with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ContextCreate),
            2 => Some(Self::ContextCancel),
            3 => Some(Self::DeadlineAsk),
            11 => Some(Self::RequestStart),
            12 => Some(Self::ConnReadError),
            13 => Some(Self::GrpcStart),
            14 => Some(Self::GrpcEnd),
            15 => Some(Self::GrpcHttpEnd),
            16 => Some(Self::ReadDeadlineSet),
            17 => Some(Self::WriteDeadlineSet),
            18 => Some(Self::ServerClose),
            19 => Some(Self::ConnHijack),
            21 => Some(Self::CallStart),
            23 => Some(Self::CallCancel),
            24 => Some(Self::ConnCancel),
            25 => Some(Self::BodyFail),
            26 => Some(Self::CallStreamEnd),
            28 => Some(Self::CallAttempt),
            29 => Some(Self::CallRetry),
            31 => Some(Self::GrpcCall),
            32 => Some(Self::GrpcClosed),
            33 => Some(Self::GrpcHttpWrite),
            34 => Some(Self::Http2Start),
            41 => Some(Self::SqlConn),
            42 => Some(Self::SqlQuery),
            43 => Some(Self::SqlExec),
            44 => Some(Self::SqlStmtQuery),
            45 => Some(Self::SqlStmtExec),
            46 => Some(Self::SqlReturn),
            51 => Some(Self::DialStart),
            52 => Some(Self::DialDone),
            61 => Some(Self::SocketState),
            71 => Some(Self::GoroutineCreate),
            72 => Some(Self::GoroutineEnd),
            _ => None,
        }
    }
}

/// What a probe counts beside its events. The counter map has [`COUNTERS`] rows per hook number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Counter {
    /// The probe ran and went on past the filters.
    Hits = 0,
    /// Nothing new to learn: no event written on purpose.
    Quiet = 1,
    /// The ring was full: the event is lost.
    RingFull = 2,
    /// The goroutine's memory could not be read; the event is lost.
    ReadGoroutine = 3,
    /// The object itself could not be read; the event is lost.
    ReadObject = 4,
    /// A stack or a chain ended early because of a failed read; the event is sent.
    ReadPartial = 5,
    /// No layout block for the cookie: attached without one.
    NoLayout = 6,
}

impl Counter {
    /// All counters, in row order.
    pub const ALL: [Self; 7] = [
        Self::Hits,
        Self::Quiet,
        Self::RingFull,
        Self::ReadGoroutine,
        Self::ReadObject,
        Self::ReadPartial,
        Self::NoLayout,
    ];

    /// Whether an event was lost.
    #[must_use]
    pub const fn is_loss(self) -> bool {
        matches!(
            self,
            Self::RingFull | Self::ReadGoroutine | Self::ReadObject
        )
    }

    /// Short name for `stats`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hits => "hits",
            Self::Quiet => "quiet",
            Self::RingFull => "ring_full",
            Self::ReadGoroutine => "read_goroutine",
            Self::ReadObject => "read_object",
            Self::ReadPartial => "read_partial",
            Self::NoLayout => "no_layout",
        }
    }
}

/// Rows of the counter map per hook number.
pub const COUNTERS: u32 = 8;
/// Rows of the counter map.
pub const COUNTER_ROWS: u32 = 80 * COUNTERS;
