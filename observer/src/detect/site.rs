//! Whose code a frame is, and which frame of a stack to name.

use std::sync::Arc;

use crate::go::{Frame, Stack, package_of};
use crate::inspect::StackState;
use crate::model::{Code, Unit};

use super::plumbing::is_plumbing;

/// What called a goroutine's first function, as its stack has it.
const END: &str = "runtime.goexit";

/// Whether the function is the service's own: main module, its path-replaced modules, configured
/// prefixes.
pub(super) fn is_own(unit: &Unit, function: &str) -> bool {
    let package = package_of(function);
    package == "main" || unit.own.iter().any(|module| is_under(package, module))
}

fn is_under(package: &str, module: &str) -> bool {
    package
        .strip_prefix(module)
        .is_some_and(|rest| !module.is_empty() && (rest.is_empty() || rest.starts_with('/')))
}

/// Whether the function is of the standard library: its import path begins with a word without
/// a dot, and is not the service's own.
pub(super) fn is_std(unit: &Unit, function: &str) -> bool {
    let package = package_of(function);
    let first = package.split('/').next().unwrap_or(package);
    !first.contains('.') && !is_own(unit, function)
}

/// Whether the function may be named as the site of a finding.
pub(super) fn is_user(unit: &Unit, function: &str) -> bool {
    !is_std(unit, function) && !is_plumbing(function)
}

/// First frame outside the standard library and plumbing.
pub(super) fn direct<'a>(unit: &Unit, frames: &'a [Frame]) -> Option<&'a Frame> {
    frames.iter().find(|frame| is_user(unit, &frame.function))
}

/// The frame that called a client, beyond what the service hooks into that (a `RoundTripper`, an interceptor), which hands
/// on what it is given; [`direct`] where no client is on the stack, or nobody beyond it.
pub(super) fn of_client<'a>(unit: &Unit, frames: &'a [Frame]) -> Option<&'a Frame> {
    let served = frames.iter().position(|frame| serves(&frame.function));
    let here = frames.get(..served.unwrap_or(frames.len()))?;
    let client = here.iter().rposition(|frame| calls(&frame.function));
    let beyond = client.and_then(|client| direct(unit, here.get(client..)?));
    beyond.or_else(|| direct(unit, frames))
}

/// What a client's users call, and what hooks are called from.
fn calls(function: &str) -> bool {
    const CLIENTS: [&str; 3] = [
        "net/http.(*Client).",
        "google.golang.org/grpc.(*ClientConn).Invoke",
        "google.golang.org/grpc.(*ClientConn).NewStream",
    ];
    CLIENTS.iter().any(|client| function.starts_with(client))
}

/// First frame of the service's own code.
pub(super) fn caller<'a>(unit: &Unit, frames: &'a [Frame]) -> Option<&'a Frame> {
    frames.iter().find(|frame| is_own(unit, &frame.function))
}

/// The last user frame before the server that called the handler.
pub(super) fn outermost<'a>(unit: &Unit, frames: &'a [Frame]) -> Option<&'a Frame> {
    let served = frames
        .iter()
        .position(|frame| serves(&frame.function))
        .unwrap_or(frames.len());
    frames
        .get(..served)?
        .iter()
        .rev()
        .find(|frame| is_user(unit, &frame.function))
}

/// The server's function that calls the handler.
pub(super) fn serves(function: &str) -> bool {
    const SERVERS: [&str; 2] = [
        "net/http.serverHandler.ServeHTTP",
        "google.golang.org/grpc.(*Server).handleStream",
    ];
    SERVERS.contains(&function)
}

/// All logical frames of a stack that a probe has read, innermost first, without what the compiler wrote: nobody can
/// change that. It is whole where it ends in what called the goroutine's first function.
pub(super) fn frames(code: &dyn Code, pid: u32, pcs: &[u64]) -> Stack {
    let frames = all(code, pid, pcs);
    if frames.last().is_some_and(|frame| &*frame.function == END) {
        frames.into()
    } else {
        Stack::cut(frames)
    }
}

/// The same of a stack that was read from memory, which ends in the goroutine's first function.
pub(super) fn walked(code: &dyn Code, pid: u32, pcs: &[u64], state: StackState) -> Stack {
    let frames = all(code, pid, pcs);
    match state {
        StackState::Cut => Stack::cut(frames),
        StackState::Whole | StackState::None => frames.into(),
    }
}

fn all(code: &dyn Code, pid: u32, pcs: &[u64]) -> Vec<Frame> {
    pcs.iter().flat_map(|pc| written(code, pid, *pc)).collect()
}

/// The logical frames at one address, innermost first, without what the compiler wrote.
pub(super) fn written(code: &dyn Code, pid: u32, pc: u64) -> Vec<Frame> {
    let frames = code.frames(pid, pc);
    let written = frames.iter().filter(|frame| !frame.is_generated());
    written.cloned().collect()
}

/// The frame that called into package `context`: first logical frame outside it.
pub(super) fn maker(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().find(|frame| frame.package() != "context")
}

/// The function of package `context` that the maker called (`WithTimeout`).
pub(super) fn made_by(frames: &[Frame]) -> Option<Arc<str>> {
    let outside = frames
        .iter()
        .position(|frame| frame.package() != "context")?;
    let function = &frames.get(outside.checked_sub(1)?)?.function;
    function.rsplit('.').next().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{direct, is_own, is_std, made_by, maker, of_client, outermost, walked};
    use crate::finding::ProcessInfo;
    use crate::go::Frame;
    use crate::inspect::StackState;
    use crate::model::Unit;
    use crate::testkit::{FakeCode, PID};

    fn unit() -> Unit {
        Unit {
            process: Arc::new(ProcessInfo {
                pid: 1,
                start_ticks: 1,
                name: String::new(),
                exe: String::new(),
                build_id: String::new(),
                go: String::new(),
                module: "example.com/shop".into(),
                main_package: "example.com/shop/cmd/shop-api".into(),
            }),
            go_minor: 27,
            own: vec!["example.com/shop".into()],
            netns: 0,
            older: crate::model::Older::default(),
            is_looked_through: false,
        }
    }

    fn frames(names: &[&str]) -> Vec<Frame> {
        names
            .iter()
            .map(|name| Frame {
                function: (*name).into(),
                file: "f.go".into(),
                line: 1,
            })
            .collect()
    }

    #[test]
    fn own_code_is_told_from_the_standard_library() {
        let unit = unit();
        assert!(is_own(&unit, "main.main"));
        assert!(is_own(&unit, "example.com/shop/report.(*Builder).wait"));
        assert!(!is_own(&unit, "example.com/shopping.Buy"));
        assert!(is_std(&unit, "net/http.(*conn).serve"));
        assert!(!is_std(&unit, "github.com/x/y.F"));
    }

    #[test]
    fn sites_of_a_stack() {
        let unit = unit();
        let stack = frames(&[
            "time.Sleep",
            "golang.org/x/sync/errgroup.(*Group).Wait",
            "github.com/x/y.Do",
            "example.com/shop/report.Get",
            "example.com/shop/api.Handle",
            "net/http.HandlerFunc.ServeHTTP",
            "net/http.serverHandler.ServeHTTP",
            "net/http.(*conn).serve",
        ]);
        assert_eq!(
            &*direct(&unit, &stack).unwrap().function,
            "github.com/x/y.Do"
        );
        assert_eq!(
            &*outermost(&unit, &stack).unwrap().function,
            "example.com/shop/api.Handle"
        );
    }

    #[test]
    fn what_is_hooked_into_a_client_is_not_who_calls() {
        let unit = unit();
        let over_http = [
            "net/http.(*Transport).RoundTrip",
            "example.com/shop/trace.(*IDs).RoundTrip",
            "net/http.send",
            "net/http.(*Client).do",
            "net/http.(*Client).Do",
            "example.com/shop/stock.(*Client).Get",
            "net/http.serverHandler.ServeHTTP",
        ];
        let named = |names: &[&str]| of_client(&unit, &frames(names)).unwrap().function.clone();
        assert_eq!(&*named(&over_http), "example.com/shop/stock.(*Client).Get");
        let over_grpc = [
            "google.golang.org/grpc.newClientStream",
            "google.golang.org/grpc.invoke",
            "example.com/shop/trace.Unary",
            "google.golang.org/grpc.(*ClientConn).Invoke",
            "example.com/shop/stock.Get",
            "google.golang.org/grpc.(*Server).handleStream",
        ];
        assert_eq!(&*named(&over_grpc), "example.com/shop/stock.Get");
        // The service's own round trip, or one whose caller is beyond what was read of the stack.
        assert_eq!(&*named(&over_http[..2]), over_http[1]);
        assert_eq!(&*named(&over_http[..5]), over_http[1]);
    }

    #[test]
    fn the_maker_of_a_context() {
        let stack = frames(&[
            "context.WithDeadlineCause",
            "context.WithDeadline",
            "context.WithTimeout",
            "example.com/shop/api.Handle",
        ]);
        assert_eq!(
            &*maker(&stack).unwrap().function,
            "example.com/shop/api.Handle"
        );
        assert_eq!(&*made_by(&stack).unwrap(), "WithTimeout");
    }

    #[test]
    fn a_stack_is_whole_where_its_end_was_seen() {
        let code = FakeCode::default();
        let pcs = code.pcs(&["example.com/shop/api.Handle", "main.main.func1"]);
        assert!(super::frames(&code, PID, &pcs).is_cut());
        assert!(super::frames(&code, PID, &[]).is_cut());
        let whole = code.pcs(&["main.main.func1", "runtime.goexit"]);
        assert!(!super::frames(&code, PID, &whole).is_cut());
        // What is walked by the tables ends in the goroutine's own function.
        assert!(!walked(&code, PID, &pcs, StackState::Whole).is_cut());
        assert!(walked(&code, PID, &pcs, StackState::Cut).is_cut());
    }
}
