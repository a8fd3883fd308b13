//! Every bound that both sides must agree on, in one place.

/// Return addresses kept at most with a created context, a call or a failed read.
pub const MAX_FRAMES: usize = 16;
/// Return addresses kept with a cancel, other than one by a failed write: the code to name is never further up.
pub const MAX_CANCEL_FRAMES: usize = 8;
/// Return addresses kept with a context of `AfterFunc`: who asked for it. Nothing can hang below one, and no finding is about one.
pub const AFTER_FUNC_FRAMES: usize = 3;
/// Return addresses kept with a started goroutine: the runtime's own, then those of the `go` statement's callers.
pub const MAX_SPAWN_FRAMES: usize = 10;
/// Links of a context chain kept at most.
pub const MAX_LINKS: usize = 16;
/// Itabs of contexts that chains are known from: three types, each as two interfaces.
pub const MAX_NODES: usize = 6;
/// Bytes of a request line kept: method, a space, and 96 bytes of path.
pub const MAX_LINE: usize = 112;
/// Bytes of the path that are shown.
pub const MAX_PATH: usize = 96;
/// Bytes of a header value kept.
pub const MAX_VALUE: usize = 64;
/// Bytes of a peer's address and port kept: `[…]:65535` with an address of 39 bytes and a zone of 16.
pub const MAX_PEER: usize = 64;
/// Bytes of a call's host kept.
pub const MAX_HOST: usize = 64;
/// Bytes of a dial's network kept: the longest is `unixpacket`.
pub const MAX_NETWORK: usize = 16;
/// Bytes of a dial's address kept: a path of a Unix socket has up to 107, hosts are seldom that long.
pub const MAX_ADDRESS: usize = 112;
/// Bytes of a query: enough for the verb and, unless very many columns come before it, the table.
pub const MAX_QUERY: usize = 192;
/// Names of headers that hold a request's ID.
pub const MAX_ID_HEADERS: usize = 3;
/// Names of headers in which a caller says how long it waits.
pub const MAX_DEADLINE_HEADERS: usize = 2;
/// Header names looked for in one request: request IDs in order, deadlines in order, then `Traceparent`.
pub const MAX_HEADER_NAMES: usize = MAX_ID_HEADERS + MAX_DEADLINE_HEADERS + 1;
/// Bytes of a deadline's value kept: no sound one is longer.
pub const MAX_DEADLINE: usize = 24;
/// Length of the longest header name that can be configured.
pub const MAX_HEADER_NAME: usize = 32;
/// Groups of a Swiss map, or buckets of an old map, looked at in the kernel.
pub const MAX_GROUPS: usize = 8;
/// Code ranges that a layout block can hold per purpose.
pub const MAX_RANGES: usize = 6;
/// Goroutines of requests that the kernel side follows at once; of more, those go that were not heard of for longest.
pub const MAX_FOLLOWED: u32 = 1 << 16;
/// Executables observed at once: slots of the layout map.
pub const MAX_SLOTS: u32 = 256;
/// Rows of the map of loss marks: one changes when an event is lost, one when the start of a process is.
pub const LOST_ROWS: u32 = 2;
/// Row that changes with every lost event.
pub const LOST_EVENTS: u32 = 0;
/// Row that changes with every start of a process that was not told.
pub const LOST_STARTS: u32 = 1;
/// Size of the ring buffer, bytes; a power of two and a multiple of the page size.
pub const RING_BYTES: u32 = 16 << 20;
/// Bytes waiting in the ring at which a probe wakes the reader up. Below, its timer is enough.
pub const WAKE_BYTES: u64 = 1 << 20;
/// Largest pid the kernel hands out (`PID_MAX_LIMIT` on 64-bit), for the filter bitmap.
pub const MAX_PID: u32 = 1 << 22;
/// Ports of one protocol, for the bitmap of observed ones.
pub const PORTS: u32 = 1 << 16;
