//! Where to place work that computes.
//!
//! The innermost frame of a goroutine on a thread is another one at every look, so one loop would
//! become many findings. The function that the router called stays, and its declaration is the
//! one line in it that stays too.

use crate::go::Frame;
use crate::inspect::{Goroutine, Status};
use crate::model::{Code, Unit};

use super::plumbing::is_plumbing;
use super::site;
use super::waits::is_held_up;

/// Functions of net/http that call handlers.
const DISPATCH: &[&str] = &[
    "net/http.HandlerFunc.ServeHTTP",
    "net/http.(*ServeMux).ServeHTTP",
    "net/http.(*timeoutHandler).ServeHTTP.func1",
    "net/http.serverHandler.ServeHTTP",
];

/// Whether a goroutine computes: it is on a thread, or was put off one in the middle of its work.
pub(super) fn computes(goroutine: &Goroutine, stack: &[Frame]) -> bool {
    let on_cpu = matches!(
        goroutine.status,
        Status::Running | Status::Runnable | Status::Preempted
    );
    on_cpu && !is_held_up(goroutine, stack)
}

/// The declaration of the innermost handler on a stack: past middleware, which is every route's.
/// Where nothing was dispatched, that of the outermost user function.
pub(super) fn handler(unit: &Unit, code: &dyn Code, pcs: &[u64]) -> Option<Frame> {
    let pid = unit.process.pid;
    let frames: Vec<(u64, Frame)> = pcs
        .iter()
        .flat_map(|&pc| {
            let frames = site::written(code, pid, pc).into_iter();
            frames.map(move |frame| (pc, frame))
        })
        .collect();
    let served = frames
        .iter()
        .position(|(_, frame)| site::serves(&frame.function))
        .unwrap_or(frames.len());
    let is_user = |frame: &Frame| site::is_user(unit, &frame.function);
    let dispatched = frames
        .iter()
        .take(served)
        .enumerate()
        .find(|(index, (_, frame))| {
            let caller = frames.get(index + 1);
            let by_router = caller.is_some_and(|(_, caller)| {
                DISPATCH.contains(&&*caller.function) || is_plumbing(&caller.function)
            });
            is_user(frame) && (by_router || frame.function.ends_with(".ServeHTTP"))
        });
    let outermost = || {
        let under = frames.iter().take(served).enumerate();
        under.rev().find(|(_, (_, frame))| is_user(frame))
    };
    let (_, (pc, frame)) = dispatched.or_else(outermost)?;
    let declared = code.function(pid, *pc);
    Some(declared.as_deref().unwrap_or(frame).clone())
}
