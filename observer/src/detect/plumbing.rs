//! Code that stands between the service and the standard library: never itself to blame.
//!
//! By function, never by line: lines move. Each entry says why.

/// One entry: symbols that begin with `prefix`.
#[derive(Debug, Clone, Copy)]
pub struct Plumbing {
    /// Beginning of the symbol's full name.
    pub prefix: &'static str,
    /// Why it is here.
    pub reason: &'static str,
}

const fn entry(prefix: &'static str, reason: &'static str) -> Plumbing {
    Plumbing { prefix, reason }
}

/// What calls handlers.
const ROUTER: &str = "a router: calls handlers";

/// The list.
pub const PLUMBING: &[Plumbing] = &[
    entry(
        "golang.org/x/sync/",
        "errgroup and singleflight run what their callers hand them",
    ),
    entry(
        "golang.org/x/net/",
        "the HTTP/2 transport's and server's own contexts and loops",
    ),
    entry(
        "google.golang.org/grpc",
        "transport loops, pings and per-call contexts of gRPC",
    ),
    entry(
        "go.opentelemetry.io/",
        "exporters and processors outlive requests on purpose",
    ),
    entry(
        "github.com/jackc/pgx/",
        "the driver watches contexts and dials to cancel queries",
    ),
    entry(
        "github.com/lib/pq.",
        "the driver watches contexts and dials to cancel queries",
    ),
    entry(
        "github.com/go-sql-driver/mysql.",
        "the driver watches contexts in goroutines of its own",
    ),
    entry("github.com/gin-gonic/gin.", ROUTER),
    entry("github.com/go-chi/chi", ROUTER),
    entry("github.com/labstack/echo", ROUTER),
    entry("github.com/gorilla/mux.", ROUTER),
];

/// Functions that do their work on a context of their own, on whoever's goroutine they happen to be
/// called: what runs below them is not the caller's to change.
pub const ASIDE: &[Plumbing] = &[
    entry(
        "sync.(*Once).do",
        "makes something ready for the whole process, and the first request happens to",
    ),
    entry(
        "sync.(*Once).Do",
        "makes something ready for the whole process, and the first request happens to",
    ),
    entry(
        "sync.(*Pool).Get",
        "makes something that others will use, too",
    ),
    entry(
        "go.opentelemetry.io/otel/sdk/trace.(*simpleSpanProcessor).OnEnd",
        "a span that has ended is exported whatever became of the request",
    ),
];

/// Functions whose `go` statement runs what their caller hands them: the caller started that goroutine.
pub const RUNS_FOR_CALLER: &[Plumbing] = &[
    entry("sync.(*WaitGroup).Go", "a `go` statement and its Done"),
    entry(
        "golang.org/x/sync/errgroup.(*Group).Go",
        "a `go` statement and its error",
    ),
    entry(
        "golang.org/x/sync/errgroup.(*Group).TryGo",
        "a `go` statement and its error",
    ),
];

/// Functions whose goroutine goes on with the request's own work.
pub const HANDS_ON: &[Plumbing] = &[entry(
    "net/http.(*timeoutHandler).ServeHTTP",
    "runs the handler; cancel-ignored watches it",
)];

/// Whether what a symbol's `go` statement starts is its caller's.
pub(super) fn runs_for_caller(function: &str) -> bool {
    RUNS_FOR_CALLER.iter().any(|entry| function == entry.prefix)
}

/// Whether what a symbol's `go` statement starts is the request itself.
pub(super) fn hands_on(function: &str) -> bool {
    HANDS_ON.iter().any(|entry| function == entry.prefix)
}

/// Whether a symbol's work is its own business.
pub(super) fn is_aside(function: &str) -> bool {
    ASIDE.iter().any(|entry| function.starts_with(entry.prefix))
}

/// Whether a symbol is plumbing.
pub(super) fn is_plumbing(function: &str) -> bool {
    PLUMBING
        .iter()
        .any(|entry| function.starts_with(entry.prefix))
}

/// Whether a symbol is a router's: what lies above it has called what lies below.
pub(super) fn is_router(function: &str) -> bool {
    PLUMBING
        .iter()
        .any(|entry| entry.reason == ROUTER && function.starts_with(entry.prefix))
}

#[cfg(test)]
mod tests {
    use super::{ASIDE, PLUMBING, is_aside, is_plumbing};

    #[test]
    fn every_entry_fits_a_function_of_its_package_and_no_namesake() {
        for entry in PLUMBING {
            let function = format!(
                "{}x.F",
                entry.prefix.trim_end_matches(['.', '/']).to_owned() + "/"
            );
            let own = if entry.prefix.ends_with('.') {
                format!("{}F", entry.prefix)
            } else {
                function
            };
            assert!(is_plumbing(&own), "{own}");
            assert!(
                !is_plumbing(&format!("example.com/{}F", entry.prefix)),
                "{}",
                entry.prefix
            );
            assert!(!entry.reason.is_empty());
        }
    }

    #[test]
    fn what_goes_on_aside_is_told_by_its_function() {
        assert!(is_aside("sync.(*Once).doSlow"));
        assert!(is_aside(
            "go.opentelemetry.io/otel/sdk/trace.(*simpleSpanProcessor).OnEnd"
        ));
        assert!(!is_aside(
            "go.opentelemetry.io/otel/sdk/trace.(*recordingSpan).End"
        ));
        assert!(!is_aside("main.(*Once).Do"));
        assert!(ASIDE.iter().all(|entry| !entry.reason.is_empty()));
    }
}
