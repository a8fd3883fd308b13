//! Where fields are in the target's structs. Plain numbers of bytes, filled by whoever knows the Go version.

use crate::go::layout::Layout;

use super::socket::AddressOffsets;
use super::{MapKind, QueueOffsets};

/// First Go 1.N whose maps are Swiss (unless built with `GOEXPERIMENT=noswissmap`).
const SWISS_MAPS_SINCE: u32 = 24;
/// First Go 1.N whose `cancelCtx.err` is an `atomic.Value`.
const ATOMIC_ERR_SINCE: u32 = 25;
/// Bytes of an empty struct at the end of a slot, padded to a word.
const PADDED_EMPTY: u32 = 8;
/// Bytes of an interface.
const INTERFACE: u32 = 16;

impl MapKind {
    /// The kind that Go 1.`minor` makes; `experiments` is the build setting `GOEXPERIMENT`.
    #[must_use]
    pub fn of(minor: u32, experiments: Option<&str>) -> Self {
        let refused =
            experiments.is_some_and(|list| list.split(',').any(|name| name == "noswissmap"));
        if minor >= SWISS_MAPS_SINCE && !refused {
            Self::Swiss
        } else {
            Self::Bucket
        }
    }
}

/// Fields of `runtime.g`, and of the structs inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GOffsets {
    /// `stack.lo`.
    pub stack_lo: u32,
    /// `stack.hi`.
    pub stack_hi: u32,
    /// `sched.sp`.
    pub sched_sp: u32,
    /// `sched.pc`.
    pub sched_pc: u32,
    /// `syscallsp`.
    pub syscall_sp: u32,
    /// `syscallpc`.
    pub syscall_pc: u32,
    /// `atomicstatus`, 32 bits.
    pub status: u32,
    /// `goid`.
    pub goid: u32,
    /// `waitsince`.
    pub wait_since: u32,
    /// `waitreason`, 8 bits.
    pub wait_reason: u32,
    /// `parentGoid`, from Go 1.21.
    pub parent_goid: Option<u32>,
    /// `gopc`.
    pub gopc: u32,
    /// `startpc`.
    pub startpc: u32,
    /// `waiting`, the list of sudogs.
    pub waiting: u32,
    /// `m`, the thread it is on.
    #[serde(default)]
    pub m: Option<u32>,
    /// `labels`, the profiler's.
    #[serde(default)]
    pub labels: Option<u32>,
    /// `trackingSeq`, 8 bits: goes up each time it stops running (`casgstatus`, runtime/proc.go), so that one which
    /// came back to the same place meanwhile is told from one that never left.
    #[serde(default)]
    pub stops: Option<u32>,
    /// Of a channel, its `timer` if a timer feeds it (from Go 1.23).
    #[serde(default)]
    pub channel_timer: Option<u32>,
    /// Of a channel, its `dataqsiz`.
    #[serde(default)]
    pub channel_cap: Option<u32>,
    /// Of a channel, its `elemsize`, 16 bits.
    #[serde(default)]
    pub channel_elem_size: Option<u32>,
    /// Fields of the sudogs on that list.
    pub sudog: SudogOffsets,
}

impl GOffsets {
    /// As the layout has them; `None` where it lacks one that no version lacks.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let g = |name| layout.field("runtime.g", name);
        Some(Self {
            stack_lo: g("stack.lo")?,
            stack_hi: g("stack.hi")?,
            sched_sp: g("sched.sp")?,
            sched_pc: g("sched.pc")?,
            syscall_sp: g("syscallsp")?,
            syscall_pc: g("syscallpc")?,
            status: g("atomicstatus")?,
            goid: g("goid")?,
            wait_since: g("waitsince")?,
            wait_reason: g("waitreason")?,
            parent_goid: g("parentGoid"),
            gopc: g("gopc")?,
            startpc: g("startpc")?,
            waiting: g("waiting")?,
            m: g("m"),
            labels: g("labels"),
            stops: g("trackingSeq"),
            channel_timer: layout.field("runtime.hchan", "timer"),
            channel_cap: layout.field("runtime.hchan", "dataqsiz"),
            channel_elem_size: layout.field("runtime.hchan", "elemsize"),
            sudog: SudogOffsets::of(layout)?,
        })
    }

    /// How many bytes of a g hold every field named here.
    #[must_use]
    pub fn block_len(&self) -> usize {
        let last = [
            self.stack_lo,
            self.stack_hi,
            self.sched_sp,
            self.sched_pc,
            self.syscall_sp,
            self.syscall_pc,
            self.status,
            self.goid,
            self.wait_since,
            self.wait_reason,
            self.parent_goid.unwrap_or(0),
            self.gopc,
            self.startpc,
            self.waiting,
            self.m.unwrap_or(0),
            self.labels.unwrap_or(0),
            self.stops.unwrap_or(0),
        ]
        .into_iter()
        .max()
        .unwrap_or(0);
        usize::try_from(last)
            .unwrap_or(usize::MAX)
            .saturating_add(8)
    }
}

/// Fields of `runtime.sudog`: one goroutine waiting on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SudogOffsets {
    /// `g`, which must point back to the waiting goroutine.
    pub g: u32,
    /// `waitlink`, the next sudog of the same goroutine.
    pub waitlink: u32,
    /// `c`, the channel; nil for a semaphore.
    pub channel: u32,
    /// `elem`, from Go 1.26: what a goroutine without a channel waits for, the address of a semaphore or of a
    /// `sync.Cond`'s list. Before, no goroutine names it.
    #[serde(default)]
    pub semaphore: Option<u32>,
    /// Up to Go 1.25: what the runtime's table of semaphores leads through instead.
    #[serde(default)]
    pub queue: Option<QueueOffsets>,
}

impl SudogOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let field = |name| layout.field("runtime.sudog", name);
        let channel = field("c")?;
        // From Go 1.26 the channel is two words: one that the collector may be made to forget, and the
        // truth (runtime.maybeTraceablePtr).
        let two_words = layout.size("runtime.sudog")? == channel.checked_add(16)?;
        Some(Self {
            g: field("g")?,
            waitlink: field("waitlink")?,
            channel: if two_words { channel + 8 } else { channel },
            semaphore: field("elem").filter(|_| two_words).map(|elem| elem + 8),
            queue: QueueOffsets::of(layout).filter(|_| !two_words),
        })
    }
}

/// Fields of `net/http.Request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RequestOffsets {
    /// `Proto`.
    pub proto: u32,
    /// `Header`.
    pub header: u32,
    /// `Host`.
    pub host: u32,
    /// `RemoteAddr`.
    pub remote_addr: u32,
    /// `Pattern`, from Go 1.23.
    pub pattern: Option<u32>,
    /// `ctx`, an interface.
    pub ctx: u32,
    /// How this Go version lays out maps.
    pub map: MapKind,
}

impl RequestOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout, map: MapKind) -> Option<Self> {
        let field = |name| layout.field("net/http.Request", name);
        Some(Self {
            proto: field("Proto")?,
            header: field("Header")?,
            host: field("Host")?,
            remote_addr: field("RemoteAddr")?,
            pattern: field("Pattern"),
            ctx: field("ctx")?,
            map,
        })
    }
}

/// Fields of `net/http.conn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnOffsets {
    /// `werr`, an error.
    pub write_error: u32,
    /// `hijackedv`, a bool.
    pub hijacked: u32,
    /// `remoteAddr`, a string.
    pub remote: u32,
    /// `r`, the `connReader`.
    pub reader: u32,
    /// `connReader.inRead`, a bool.
    pub in_read: u32,
    /// `connReader.hasByte`, a bool.
    pub has_byte: u32,
    /// `response.reqBody`.
    pub response_body: u32,
    /// That is a pointer (Go 1.27), not an interface.
    pub body_is_pointer: bool,
    /// `body.sawEOF`, a bool.
    pub body_saw_eof: u32,
    /// The server's timeouts, where this Go version's are known.
    pub server: Option<ServerOffsets>,
    /// Fields of the errors that can be met in `werr`.
    pub error: ErrorOffsets,
}

impl ConnOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let body = layout.field("net/http.response", "reqBody")?;
        let behind = layout.field("net/http.response", "cancelCtx")?;
        Some(Self {
            write_error: layout.field("net/http.conn", "werr")?,
            hijacked: layout.field("net/http.conn", "hijackedv")?,
            remote: layout.field("net/http.conn", "remoteAddr")?,
            reader: layout.field("net/http.conn", "r")?,
            in_read: layout.field("net/http.connReader", "inRead")?,
            has_byte: layout.field("net/http.connReader", "hasByte")?,
            response_body: body,
            body_is_pointer: behind.checked_sub(body)? == 8,
            body_saw_eof: layout.field("net/http.body", "sawEOF")?,
            server: ServerOffsets::of(layout),
            error: ErrorOffsets::of(layout)?,
        })
    }
}

/// Where a connection's context keeps its local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LocalOffsets {
    /// `context.valueCtx.key`, an interface.
    pub key: u32,
    /// `context.valueCtx.val`, an interface, behind `key`.
    pub value: usize,
    /// Fields of that address.
    pub address: AddressOffsets,
}

impl LocalOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        Some(Self {
            key: layout.field("context.valueCtx", "key")?,
            value: usize::try_from(layout.field("context.valueCtx", "val")?).ok()?,
            address: AddressOffsets::of(layout)?,
        })
    }
}

/// What gRPC keeps outgoing metadata in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OutgoingOffsets {
    /// `metadata.rawMD.md`, a map.
    pub map: u32,
    /// `metadata.rawMD.added`, a `[][]string` of names and values by turns.
    pub added: u32,
}

impl OutgoingOffsets {
    /// As the layout has them; `None` without gRPC.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        const RAW: &str = "google.golang.org/grpc/metadata.rawMD";
        Some(Self {
            map: layout.field(RAW, "md")?,
            added: layout.field(RAW, "added")?,
        })
    }
}

/// Where a connection keeps its `net/http.Server`, and that its timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServerOffsets {
    /// `conn.server`.
    pub pointer: u32,
    /// `Server.ReadTimeout`.
    pub read: u32,
    /// `Server.ReadHeaderTimeout`.
    pub read_header: u32,
    /// `Server.WriteTimeout`.
    pub write: u32,
    /// `Server.IdleTimeout`.
    pub idle: u32,
}

impl ServerOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let field = |name| layout.field("net/http.Server", name);
        Some(Self {
            pointer: layout.field("net/http.conn", "server")?,
            read: field("ReadTimeout")?,
            read_header: field("ReadHeaderTimeout")?,
            write: field("WriteTimeout")?,
            idle: field("IdleTimeout")?,
        })
    }
}

/// Where errors that wrap others keep the inner one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ErrorOffsets {
    /// `net.OpError.Err`.
    pub op_error: u32,
    /// `os.SyscallError.Err`.
    pub syscall_error: u32,
}

impl ErrorOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        Some(Self {
            op_error: layout.field("net.OpError", "Err")?,
            syscall_error: layout.field("os.SyscallError", "Err")?,
        })
    }
}

/// Fields of `context.cancelCtx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContextOffsets {
    /// `done`, an `atomic.Value` that holds a channel once somebody asked for it.
    pub done: u32,
    /// `children`, a map whose keys are interfaces.
    pub children: u32,
    /// `err`.
    pub err: u32,
    /// `err` is an `atomic.Value` (from Go 1.25): its first word is a type, not an itab.
    pub err_is_atomic: bool,
    /// Go 1.20 only: `timerCtx` begins with a pointer to its `cancelCtx` instead of the struct itself.
    pub timer_holds_pointer: bool,
    /// Bytes from one key of the `children` map to the next (Swiss maps pad the empty value).
    pub children_slot: u32,
    /// How this Go version lays out maps.
    pub map: MapKind,
}

/// Whether a `timerCtx` holds its `cancelCtx` by pointer: its timer then follows at once.
#[must_use]
pub fn timer_holds_pointer(layout: &Layout) -> bool {
    layout.field("context.timerCtx", "timer") == Some(8)
}

impl ContextOffsets {
    /// As the layout has them, for Go 1.`minor`.
    #[must_use]
    pub fn of(layout: &Layout, minor: u32, map: MapKind) -> Option<Self> {
        let field = |name| layout.field("context.cancelCtx", name);
        Some(Self {
            done: field("done")?,
            children: field("children")?,
            err: field("err")?,
            err_is_atomic: minor >= ATOMIC_ERR_SINCE,
            timer_holds_pointer: timer_holds_pointer(layout),
            children_slot: match map {
                MapKind::Swiss => INTERFACE + PADDED_EMPTY,
                MapKind::Bucket => INTERFACE,
            },
            map,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::timer_holds_pointer;
    use crate::go::GoVersion;
    use crate::go::layout::Layout;

    #[test]
    fn only_one_go_holds_its_cancel_ctx_by_pointer() {
        for minor in 18..=27 {
            let version = GoVersion::parse(&format!("go1.{minor}.1")).unwrap();
            let layout = Layout::for_version(&version).unwrap();
            assert_eq!(timer_holds_pointer(&layout), minor == 20, "1.{minor}");
        }
    }
}
