//! What a `goroutine-leak` says, and by which contexts it is one.

use crate::finding::{CancelledBy, Confidence, Evidence, Finding, RuleName, Severity, WorkState};
use crate::model::{Ctx, GoId, ReqId, Told};

use super::context::Context;
use super::draft::{self, span};
use super::leak_cases::Case;
use super::left_behind::is_inside;
use super::site;

const HELP: &str = "give it a way out: room in the channel, or its context's Done in every wait";
/// What helps against a wait, by how Go's reason for it begins; versions differ in how much it says.
const HELPS: [(&str, &str); 9] = [
    (
        "chan receive (nil chan)",
        "a nil channel never delivers: make it before it is used",
    ),
    (
        "chan send (nil chan)",
        "a nil channel never takes: make it before it is used",
    ),
    (
        "semacquire",
        "unlock on every way out (`defer`), take several locks in one order, and call Done as often as Add",
    ),
    (
        "sync.WaitGroup",
        "call Done on every way out of what it waits for: `defer wg.Done()`",
    ),
    (
        "sync.Cond",
        "signal after every change, also when nothing more comes",
    ),
    (
        "sync.",
        "unlock on every way out (`defer`), and take several locks in one order",
    ),
    (
        "IO wait",
        "set a deadline, or close it when the request ends",
    ),
    (
        "syscall",
        "bound the call: a deadline, or `exec.CommandContext`",
    ),
    (
        "sleep",
        "wait for its context's Done beside the timer, and return then",
    ),
];

const HELP_IDLE: &str =
    "a worker or a session may wait so; if nobody will wake it any more, give it a way out";

/// All of one line that have outlived their requests.
pub(super) struct KindOf {
    pub(super) live: u64,
    /// So many of those were left behind in an hour; `None` before there is a minute to tell it from.
    pub(super) per_hour: Option<u64>,
    /// Stack that they hold, bytes; those that were not looked at as much as the others.
    pub(super) stack_bytes: u64,
}

/// What makes it a leak.
pub(super) enum Kind {
    /// Nothing ends its wait.
    ForEver,
    /// Its context is dead: by whom, and since when, ns.
    Dead(CancelledBy, u64),
    /// Two searches have found no reference to what it waits on.
    Lost,
    /// The time that it has waited, like a worker, where something leads to what it waits on.
    Idle,
    /// The time that it has waited.
    Age,
}

pub(super) fn finding(case: &Case, kind: &Kind, of: &KindOf, cx: &Context<'_>) -> Option<Finding> {
    let pid = case.line.0;
    let unit = cx.unit(pid)?;
    let wait = case.wait.as_ref()?;
    let (severity, confidence) = match kind {
        Kind::ForEver | Kind::Dead(..) | Kind::Lost => (Severity::Error, Confidence::High),
        Kind::Age => (Severity::Warning, Confidence::Medium),
        Kind::Idle => (Severity::Info, Confidence::Low),
    };
    let mut finding = draft::blank(
        RuleName::GoroutineLeak,
        severity,
        confidence,
        cx.now_ns,
        &unit,
    );
    let outlived_ns = cx.now_ns.saturating_sub(case.ended_ns);
    finding.site = Some(case.origin.site.clone());
    finding.caller.clone_from(&case.origin.caller);
    finding.stack = site::walked(cx.code, pid, &wait.stack, wait.stack_state);
    finding.request.clone_from(&case.info);
    finding.evidence = Evidence {
        outlived_ns: Some(outlived_ns),
        state: Some(WorkState::Waiting),
        wait_reason: Some(wait.reason.clone()),
        wait_ns: wait.at_least_ns,
        live: Some(of.live),
        per_hour: of.per_hour,
        stack_bytes: Some(of.stack_bytes).filter(|bytes| *bytes > 0),
        ..Evidence::default()
    };
    let end = if case.is_taken_over {
        "the connection of its request closed"
    } else {
        "the end of its request"
    };
    let outlived = format!("{} after {end}", span(outlived_ns));
    finding.message = match kind {
        Kind::ForEver => {
            format!("goroutine waits for ever, {outlived}")
        }
        Kind::Dead(by, at_ns) => {
            let after_ns = cx.now_ns.saturating_sub(*at_ns);
            finding.evidence.cancelled_by = Some(*by);
            finding.evidence.cancelled_at_ns = Some(*at_ns);
            finding.evidence.after_cancel_ns = Some(after_ns);
            format!(
                "goroutine waits without its context's Done, {} after {}",
                span(after_ns),
                by.clause()
            )
        }
        Kind::Lost => {
            let lost = format!(
                "{} to which no reference was found",
                waited_for(&wait.reason)
            );
            let message = format!("goroutine waits on {lost}, {outlived}");
            finding.evidence.waiting_on = Some(lost);
            message
        }
        Kind::Idle => {
            let reached = format!("{} that others can get at", waited_for(&wait.reason));
            let message = format!("goroutine still waits on {reached}, {outlived}");
            finding.evidence.waiting_on = Some(reached);
            message
        }
        Kind::Age => format!("goroutine still waits {outlived}"),
    };
    finding.help = help(case, kind);
    Some(finding)
}

fn help(case: &Case, kind: &Kind) -> String {
    let reason = case.wait.as_ref().map_or("", |wait| &wait.reason);
    let of_wait = HELPS.iter().find(|(start, _)| reason.starts_with(start));
    let help = match kind {
        Kind::Idle => HELP_IDLE,
        Kind::Dead(..) => HELP,
        _ => of_wait.map_or(HELP, |(_, help)| *help),
    };
    match case.told_by {
        Told::Doubtful => format!("{help} (which request it was, --goroutines tells)"),
        Told::Event | Told::Look => help.to_owned(),
    }
}

/// What a wait for this reason is for.
fn waited_for(reason: &str) -> &'static str {
    const KINDS: [(&str, &str); 5] = [
        ("chan", "a channel"),
        ("select", "channels"),
        ("sync.WaitGroup", "a WaitGroup"),
        // Older versions call both so.
        ("semacquire", "a lock or a WaitGroup"),
        ("sync.Cond", "a Cond"),
    ];
    let kind = KINDS.iter().find(|(known, _)| reason.starts_with(known));
    kind.map_or("a lock", |(_, name)| name)
}

/// Whether one of the contexts on whose `Done` it waits is dead.
pub(super) fn waits_for_dead(request: ReqId, waits_on: &[u64], cx: &Context<'_>) -> bool {
    let Some(request) = cx.model.request(request) else {
        return false;
    };
    let made = request.contexts.iter().chain([&request.root]);
    made.filter_map(|ctx| cx.model.context(*ctx))
        .any(|ctx| ctx.cancelled.is_some() && waits_on.contains(&ctx.ptr))
}

/// A context that the goroutine has made, whose CancelFunc it has not called though the function that made it is still on its
/// stack, and that has been dead for longer than grace.
pub(super) fn dead_context(id: GoId, case: &Case, cx: &Context<'_>) -> Option<Kind> {
    let goid = cx.model.spawned(id)?.goid;
    let request = cx.model.request(case.request)?;
    let wait = case.wait.as_ref()?;
    let stack = site::walked(cx.code, case.line.0, &wait.stack, wait.stack_state);
    let is_its_own =
        |ctx: &&Ctx| ctx.goid == goid && !ctx.internal && ctx.cancel_called_ns.is_none();
    let made = request.contexts.iter().rev();
    let made = made.filter_map(|ctx| cx.model.context(*ctx));
    let made = made.filter(is_its_own);
    let made = made.filter(|ctx| is_inside(ctx.id, &stack, cx));
    let mut made = made;
    made.find_map(|ctx| {
        let cancel = ctx.cancelled.as_ref()?;
        let dead_ns = cx.now_ns.saturating_sub(cancel.at_ns);
        (dead_ns > cx.thresholds.grace_ns).then_some(Kind::Dead(cancel.origin, cancel.at_ns))
    })
}
