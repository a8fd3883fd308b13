//! The layout block: what a probe must know of the executable it runs in.
//!
//! User space fills one per observed executable; the probe finds it by the cookie of its
//! attachment. Offsets come from `observer/src/go/data/offsets.json`, addresses from the image
//! plus the load bias.

use crate::limits::{MAX_HEADER_NAME, MAX_HEADER_NAMES, MAX_NODES, MAX_RANGES};

/// Code addresses `[start, end)` in the process; empty when both are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
}

impl Range {
    /// Whether `pc` lies inside. A return address may equal `end` when the call is a function's
    /// last instruction, so the address before it is tested.
    #[inline(always)]
    #[must_use]
    pub const fn holds_return(&self, pc: u64) -> bool {
        pc.wrapping_sub(1).wrapping_sub(self.start) < self.end.wrapping_sub(self.start)
    }

    /// Whether it lies inside any of them.
    #[inline(always)]
    #[must_use]
    pub const fn any_holds_return(ranges: &[Self; MAX_RANGES], pc: u64) -> bool {
        let [a, b, c, d, e, f] = ranges;
        // Unrolled by hand: a loop over map memory costs the verifier more than six comparisons.
        a.holds_return(pc)
            | b.holds_return(pc)
            | c.holds_return(pc)
            | d.holds_return(pc)
            | e.holds_return(pc)
            | f.holds_return(pc)
    }
}

/// Canonical name of the header that carries the W3C trace context.
pub const TRACE_HEADER: &str = "Traceparent";

/// A header name to look for, in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct HeaderName {
    /// Name bytes, zero padded, as little-endian words: compared whole.
    pub words: [u64; MAX_HEADER_NAME / 8],
    /// Length; 0: unused row.
    pub len: u64,
}

impl HeaderName {
    /// An unused row.
    pub const NONE: Self = Self {
        words: [0; MAX_HEADER_NAME / 8],
        len: 0,
    };

    /// A row for a canonical name of 1 to [`MAX_HEADER_NAME`] bytes; `None` for any other length.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut words = [0u64; MAX_HEADER_NAME / 8];
        if name.is_empty() || name.len() > MAX_HEADER_NAME {
            return None;
        }
        for (word, bytes) in words.iter_mut().zip(name.as_bytes().chunks(8)) {
            let mut padded = [0u8; 8];
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u64::from_le_bytes(padded);
        }
        Some(Self {
            words,
            len: name.len() as u64,
        })
    }
}

/// Events are wanted. Cleared before detaching, which is slow.
pub const ENABLED: u32 = 1;
/// Request IDs are read in the kernel at the request's start.
pub const READ_IDS: u32 = 1 << 1;
/// Deadlines that callers send are read in the kernel at the request's start.
pub const READ_DEADLINES: u32 = 1 << 2;
/// `propagateCancel` is a method: receiver first (Go ≥ 1.21).
pub const CREATE_IS_METHOD: u32 = 1 << 3;
/// A `timerCtx` begins with a pointer to its `cancelCtx` (Go 1.20).
pub const TIMER_BY_POINTER: u32 = 1 << 4;
/// A gRPC server's stream begins with a pointer to the stream that both ends have, not with the stream itself.
pub const GRPC_BY_POINTER: u32 = 1 << 6;
/// Goroutines that requests start are followed.
pub const FOLLOW_GOROUTINES: u32 = 1 << 7;
/// What a probe must know of an executable. All offsets in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// [`ENABLED`] and the other flags.
    pub flags: u32,
    /// `g.goid`.
    pub g_goid: u32,
    /// Words (8 bytes) from `g.goid` to `g.parentGoid`; 0 where Go has no such field (≤ 1.20),
    /// at most 16 elsewhere.
    pub g_parent_words: u32,
    /// `cancelCtx.err`.
    pub ctx_err: u32,
    /// `timerCtx.deadline`.
    pub ctx_deadline: u32,
    /// `Request.ctx`.
    pub req_ctx: u32,
    /// `Request.RequestURI`.
    pub req_uri: u32,
    /// `Request.Header`.
    pub req_header: u32,
    /// `URL.Host`; `URL.Path` follows it.
    pub url_host: u32,
    /// `connReader.conn`.
    pub reader_conn: u32,
    /// Pointer inside `conn.curReq`.
    pub conn_cur_req: u32,
    /// `OpError.Err`.
    pub op_error_err: u32,
    /// `SyscallError.Err`.
    pub syscall_error_err: u32,
    /// `persistConn.canceledErr`.
    pub conn_canceled: u32,
    /// `conn.remoteAddr`; 0 where unknown.
    pub conn_remote: u32,
    /// `response.conn`.
    pub response_conn: u32,
    /// `ctx` of gRPC's stream.
    pub grpc_ctx: u32,
    /// `method` of gRPC's stream.
    pub grpc_method: u32,
    /// `Dialer.Timeout`; `Dialer.Deadline` follows it.
    pub dialer_timeout: u32,
    /// `ClientConn.authority` of gRPC's client.
    pub grpc_authority: u32,
    /// Context of what a server of HTTP/2 calls a request: an `http.Request` up to Go 1.26, then a struct of its own.
    pub h2_ctx: u32,
    /// Its method.
    pub h2_method: u32,
    /// Its `RequestURI`.
    pub h2_uri: u32,
    /// Its header map.
    pub h2_header: u32,
    /// `Request.Response`: what redirected to it.
    pub req_response: u32,
    /// `Response.Request`.
    pub response_req: u32,
    /// `g.gopc`.
    pub g_gopc: u32,
    /// `g.startpc`.
    pub g_startpc: u32,
    /// `g.m`.
    pub g_m: u32,
    /// `m.curg`.
    pub m_curg: u32,
    /// Keeps the rows below aligned.
    pub reserved: u32,
    /// Constructors that creations come through where nothing is inlined: who creates is their caller.
    pub create_via: [Range; 2],
    /// Functions whose `go` statements start what serves everybody: not followed.
    pub spawn_drop: [Range; MAX_RANGES],
    /// Callers whose context creations teach nothing: dropped.
    pub create_drop: [Range; MAX_RANGES],
    /// Callers whose context creations are known by their caller: sent without stack and chain.
    pub create_short: [Range; MAX_RANGES],
    /// Callers whose cancels mean that the serving goroutine ended the request: sent short.
    pub cancel_end: [Range; MAX_RANGES],
    /// `(*cancelCtx).cancel` itself: a cancel called from it is a cascade.
    pub cancel_self: Range,
    /// Callers whose cancels say only that a call is done, or that nobody waits for a context any more: sent short.
    pub cancel_short: [Range; MAX_RANGES],
    /// `context.AfterFunc`: of its creations the chain matters, not the stack.
    pub after_func: Range,
    /// What sends the answer of a unary gRPC handler that has returned (up to 1.83).
    pub grpc_answer: Range,
    /// Itabs of contexts whose creation is an event: a chain is known from there on. 0: unused, or not learnt yet.
    pub nodes: [u64; MAX_NODES],
    /// What the transport hands its cancels through: who cancels is its caller.
    pub cancel_via: Range,
    /// What writes for a server to a connection: who cancels through it is far above, behind all that buffers and formats.
    pub cancel_write: Range,
    /// One bit per length that one of `headers` has.
    pub header_lens: u64,
    /// Request ID headers in order of preference, then those of deadlines; the last row is [`TRACE_HEADER`].
    pub headers: [HeaderName; MAX_HEADER_NAMES],
}

impl Layout {
    /// A block with everything off.
    pub const EMPTY: Self = Self {
        flags: 0,
        g_goid: 0,
        g_parent_words: 0,
        ctx_err: 0,
        ctx_deadline: 0,
        req_ctx: 0,
        req_uri: 0,
        req_header: 0,
        url_host: 0,
        reader_conn: 0,
        conn_cur_req: 0,
        op_error_err: 0,
        syscall_error_err: 0,
        conn_canceled: 0,
        conn_remote: 0,
        response_conn: 0,
        grpc_ctx: 0,
        grpc_method: 0,
        dialer_timeout: 0,
        grpc_authority: 0,
        h2_ctx: 0,
        h2_method: 0,
        h2_uri: 0,
        h2_header: 0,
        req_response: 0,
        response_req: 0,
        g_gopc: 0,
        g_startpc: 0,
        g_m: 0,
        m_curg: 0,
        reserved: 0,
        create_via: [Range { start: 0, end: 0 }; 2],
        spawn_drop: [Range { start: 0, end: 0 }; MAX_RANGES],
        create_drop: [Range { start: 0, end: 0 }; MAX_RANGES],
        create_short: [Range { start: 0, end: 0 }; MAX_RANGES],
        cancel_end: [Range { start: 0, end: 0 }; MAX_RANGES],
        cancel_self: Range { start: 0, end: 0 },
        cancel_short: [Range { start: 0, end: 0 }; MAX_RANGES],
        after_func: Range { start: 0, end: 0 },
        grpc_answer: Range { start: 0, end: 0 },
        nodes: [0; MAX_NODES],
        cancel_via: Range { start: 0, end: 0 },
        cancel_write: Range { start: 0, end: 0 },
        header_lens: 0,
        headers: [HeaderName::NONE; MAX_HEADER_NAMES],
    };

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether nothing is asked beyond a link with this itab, which is not 0.
    #[inline(always)]
    #[must_use]
    pub const fn is_node(&self, itab: u64) -> bool {
        let [a, b, c, d, e, f] = self.nodes;
        (itab == a) | (itab == b) | (itab == c) | (itab == d) | (itab == e) | (itab == f)
    }
}

/// Where the kernel keeps what is told of a socket: offsets in bytes, from the kernel's own type
/// information.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketLayout {
    /// [`ENABLED`] and [`HAS_V6`].
    pub flags: u32,
    /// `inet_sock.inet_sport`: local port, network order. Not `skc_num`, which the kernel clears
    /// before it tells that a connection was reset.
    pub sport: u32,
    /// `sock_common.skc_dport`: the peer's port, network order.
    pub dport: u32,
    /// `sock_common.skc_family`.
    pub family: u32,
    /// `sock_common.skc_rcv_saddr`: local IPv4 address.
    pub local4: u32,
    /// `sock_common.skc_daddr`: the peer's IPv4 address.
    pub remote4: u32,
    /// `sock_common.skc_v6_rcv_saddr`.
    pub local6: u32,
    /// `sock_common.skc_v6_daddr`.
    pub remote6: u32,
    /// `sock_common.skc_net`: pointer to the network namespace.
    pub net: u32,
    /// `net.ns.inum` from there, 32 bits.
    pub net_inum: u32,
    /// `sock.sk_err`, 32 bits.
    pub error: u32,
    /// Keeps the size a multiple of a word.
    pub reserved: u32,
}

impl SocketLayout {
    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// The kernel knows IPv6.
pub const HAS_V6: u32 = 1 << 1;

/// Cookie of an attachment: the slot of its layout block and what the site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookie(pub u64);

/// The site is the jump of a stack check: ignore the hit when it will be taken.
pub const SITE_IS_JUMP: u64 = 1 << 32;
/// Several processes share the probe: ask the pid bitmap.
pub const FILTER_PIDS: u64 = 1 << 33;

impl Cookie {
    /// Slot of the layout block.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the slot")]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// Whether a bit is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }
}
