//! From return addresses to what a reader sees: the frames that Go's own dumps show.

use crate::go::Frame;
use crate::inspect::ServedBy;

/// The names of one executable; addresses are its own, load bias taken off.
pub trait Names {
    /// Logical frames of a caller, innermost first: those at the call that returns to `pc`.
    fn frames(&self, pc: u64) -> Vec<Frame>;

    /// Logical frames at exactly `pc`.
    fn frames_at(&self, pc: u64) -> Vec<Frame>;

    /// Whether the function around that call was made by the compiler to call another one.
    fn is_wrapper(&self, pc: u64) -> bool;

    /// The function that begins at `pc`, at the line that declares it.
    fn start(&self, pc: u64) -> Option<Frame> {
        self.frames_at(pc).pop()
    }
}

/// What serves a connection or a stream: the goroutine below it belongs to one request at a time.
const SERVING: [&str; 5] = [
    "net/http.serverHandler.ServeHTTP",
    "net/http.(*http2serverConn).runHandler",
    "net/http/internal/http2.(*serverConn).runHandler",
    "golang.org/x/net/http2.(*serverConn).runHandler",
    "google.golang.org/grpc.(*Server).handleStream",
];

/// Functions whose frames tell which request is served.
const TELLING: [(&str, ServedBy); 5] = [
    ("net/http.(*conn).serve", ServedBy::Http1),
    ("net/http.(*http2serverConn).runHandler", ServedBy::Http2),
    (
        "net/http/internal/http2.(*serverConn).runHandler",
        ServedBy::Http2,
    ),
    (
        "golang.org/x/net/http2.(*serverConn).runHandler",
        ServedBy::XNetHttp2,
    ),
    (
        "google.golang.org/grpc.(*Server).handleStream",
        ServedBy::Grpc,
    ),
];

/// Functions that interrupt others between any two instructions: the frame outside of one is not at a call.
const INTERRUPTING: [&str; 3] = [
    "runtime.asyncPreempt",
    "runtime.sigpanic",
    "runtime.debugCallV2",
];

/// Whether a goroutine that starts in this function is the runtime's own, as `runtime.isSystemGoroutine` has it: all of
/// `runtime` but what runs the program's code.
#[must_use]
pub fn is_runtime(start: &str) -> bool {
    const OURS: [&str; 3] = [
        "runtime.main",
        "runtime.corostart",
        "runtime.handleAsyncEvent",
    ];
    start.starts_with("runtime.") && !OURS.contains(&start)
}

/// Whether the runtime hides a function in its own dumps: all of `runtime` that programs cannot name, and what is in no
/// package, such as cgo's `_cgoexp_…` between C and the function that it calls.
fn is_hidden(frame: &Frame) -> bool {
    let internal = frame
        .function
        .strip_prefix("runtime.")
        .is_some_and(|rest| !rest.starts_with(char::is_uppercase));
    (internal && &*frame.function != "runtime.gopanic")
        || !frame.function.contains('.')
        || frame.is_generated()
}

/// All logical frames of a stack, innermost first, without the compiler's wrappers. `start` is the first instruction of the goroutine's function: at it
/// stands one that has not begun.
pub(super) fn expand(names: &dyn Names, pcs: &[u64], start: u64) -> Vec<Frame> {
    let mut all: Vec<Frame> = Vec::new();
    for &pc in pcs {
        let interrupted = all
            .last()
            .is_some_and(|inner| INTERRUPTING.contains(&&*inner.function));
        let exact = interrupted || pc == start;
        let mut frames = if exact {
            names.frames_at(pc)
        } else {
            names.frames(pc)
        };
        // What was inlined into a wrapper is nobody's but the program's.
        if !exact && names.is_wrapper(pc) {
            frames.pop();
        }
        all.extend(frames);
    }
    all
}

/// Those that Go's own dumps show; all, where they would show none.
pub(super) fn shown(all: Vec<Frame>) -> Vec<Frame> {
    if all.iter().all(is_hidden) {
        return all;
    }
    all.into_iter().filter(|frame| !is_hidden(frame)).collect()
}

/// Whether a request is served on this stack.
pub(super) fn serves(all: &[Frame]) -> bool {
    all.iter().any(|frame| SERVING.contains(&&*frame.function))
}

/// Whether this frame tells which request is served: the function itself, none that was inlined into it.
pub(super) fn tells(frames: &[Frame]) -> Option<ServedBy> {
    let function = &*frames.last()?.function;
    TELLING
        .iter()
        .find_map(|&(name, by)| (name == function).then_some(by))
}

/// Whether code outside of the runtime is on this stack: a finalizer, where the goroutine is the runtime's.
pub(super) fn is_users(all: &[Frame]) -> bool {
    all.iter().any(|frame| {
        let package = frame.package();
        package != "runtime"
            && !package.starts_with("runtime/")
            && !package.starts_with("internal/")
    })
}
