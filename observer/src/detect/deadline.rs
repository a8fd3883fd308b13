//! What the rules about deadlines share: whose deadline is the request's own, how much longer is
//! too long, and who set it.

use crate::finding::{Finding, Severity, Timer};
use crate::go::Frame;
use crate::model::{Call, Ctx, CtxId, Request, Root, SentDeadline, Unit, in_timeout_worker};

use super::context::Context;
use super::plumbing::is_router;
use super::{draft, site};

/// Makes a context of `http.Client.Timeout`.
const CLIENT_TIMEOUT: &str = "net/http.setRequestCancel";
/// Return addresses of a creation within which its maker is.
const MAKER_FRAMES: usize = 6;

/// When deadlines differ, when they are short. The defaults are the command line's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// Deadlines that differ by no more than this part of the shorter are equal, percent.
    pub tolerance_percent: u32,
    /// Nor those that differ by no more than this, ns.
    pub tolerance_ns: u64,
    /// Shorter is short, ns.
    pub short_ns: u64,
    /// More frames than this under the handler are deep.
    pub short_depth: u32,
    /// detached-context is not shown: nothing else tells that a detached call lost its deadline.
    pub detached_is_off: bool,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            tolerance_percent: 10,
            tolerance_ns: 20_000_000,
            short_ns: 100_000_000,
            short_depth: 5,
            detached_is_off: false,
        }
    }
}

impl Deadlines {
    /// By how much something may differ from this many ns.
    pub(super) fn tolerance_ns(&self, of_ns: i64) -> i64 {
        let part = of_ns.max(0) / 100 * i64::from(self.tolerance_percent);
        part.max(i64::try_from(self.tolerance_ns).unwrap_or(i64::MAX))
    }

    /// Whether more was asked for than was left.
    pub(super) fn exceeds(&self, asked_ns: i64, left_ns: i64) -> bool {
        asked_ns > left_ns.saturating_add(self.tolerance_ns(left_ns))
    }
}

/// Time from `now_ns` until a context's own deadline; negative once it has passed.
pub(super) fn left_ns(ctx: &Ctx, now_ns: u64) -> Option<i64> {
    let at_ns = i64::try_from(ctx.deadline_at_ns()?).ok()?;
    at_ns.checked_sub(i64::try_from(now_ns).ok()?)
}

/// A deadline that a request has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Over<'a> {
    /// This context has it.
    Context(&'a Ctx),
    /// Its caller sent it in this header: ns that it allows, and when it passes, monotonic ns.
    Caller(&'a str, i64, u64),
}

impl<'a> From<&'a Ctx> for Over<'a> {
    fn from(ctx: &'a Ctx) -> Self {
        Self::Context(ctx)
    }
}

impl Over<'_> {
    /// Time from `now_ns` until it passes; negative once it has.
    pub(super) fn left_ns(self, now_ns: u64) -> Option<i64> {
        match self {
            Self::Context(ctx) => left_ns(ctx, now_ns),
            Self::Caller(_, _, at_ns) => {
                let now_ns = i64::try_from(now_ns).ok()?;
                i64::try_from(at_ns).ok()?.checked_sub(now_ns)
            }
        }
    }

    /// What it is to whom it bounds.
    pub(super) const fn timer(self) -> Timer {
        match self {
            Self::Context(_) => Timer::Context,
            Self::Caller(..) => Timer::Caller,
        }
    }
}

/// The deadline that a request's caller sent.
pub(super) fn sent(request: &Request) -> Option<Over<'_>> {
    let SentDeadline::Is(ns, header) = &request.sent_deadline else {
        return None;
    };
    let at_ns = request.sent_deadline_at_ns()?;
    Some(Over::Caller(header, *ns, at_ns))
}

/// The context is `http.Client.Timeout`'s.
pub(super) fn is_client_timeout(ctx: &Ctx, cx: &Context<'_>) -> bool {
    ctx.pcs.iter().take(MAKER_FRAMES).any(|pc| {
        let frames = cx.code.frames(ctx.pid, *pc);
        frames
            .iter()
            .any(|frame| &*frame.function == CLIENT_TIMEOUT)
    })
}

/// The context is still in force, or its deadline has passed.
fn holds(ctx: &Ctx) -> bool {
    use crate::finding::CancelledBy::Deadline;
    ctx.cancelled
        .as_ref()
        .is_none_or(|cancel| cancel.by == Deadline)
}

/// The context that `http.TimeoutHandler` gave to its handler.
pub(super) fn handlers<'a>(request: &Request, cx: &'a Context<'_>) -> Option<&'a Ctx> {
    cx.model.context(request.timeout?).filter(|ctx| holds(ctx))
}

/// The deadline that counts as the request's own where a stack stands: `http.TimeoutHandler`'s, or
/// one that the service's middleware has set.
pub(super) fn own<'a>(
    request: &Request,
    stack: &[Frame],
    unit: &Unit,
    cx: &'a Context<'_>,
) -> Option<&'a Ctx> {
    handlers(request, cx).or_else(|| {
        let mine = |ctx: &&Ctx| {
            ctx.deadline_ns.is_some()
                && ctx.root == Root::Request(request.id)
                && ctx.goid == request.goid
                && !ctx.internal
                && holds(ctx)
        };
        request
            .contexts
            .iter()
            .rev()
            .filter_map(|id| cx.model.context(*id))
            .filter(mine)
            .find(|ctx| is_middleware(ctx, stack, unit, cx))
    })
}

/// The function that made the context has called the handler whose stack this is: it is on that
/// stack, and a router or a `ServeHTTP` is between.
fn is_middleware(ctx: &Ctx, stack: &[Frame], unit: &Unit, cx: &Context<'_>) -> bool {
    let made = site::frames(cx.code, ctx.pid, &ctx.pcs);
    let Some(maker) = site::maker(&made).filter(|maker| site::is_own(unit, &maker.function)) else {
        return false;
    };
    let place = stack
        .iter()
        .position(|frame| frame.function == maker.function);
    let under = place.and_then(|place| stack.get(..place)).unwrap_or(&[]);
    under.iter().any(|frame| hands_on(&frame.function))
}

/// Calls handlers: `ServeHTTP` of anything, a router, a gRPC server.
pub(super) fn hands_on(function: &str) -> bool {
    function.ends_with(".ServeHTTP")
        || function.starts_with("google.golang.org/grpc.(*Server).process")
        || is_router(function)
}

/// A deadline above the cut that a detached chain descends from: proof that the request has it.
pub(super) fn beyond_cut<'a>(id: Option<CtxId>, cx: &'a Context<'_>) -> Option<&'a Ctx> {
    let mut next = id;
    while let Some(ctx) = next.and_then(|id| cx.model.context(id)) {
        if matches!(ctx.root, Root::Request(_)) {
            return cx.model.bound_of(Some(ctx.id)).filter(|ctx| holds(ctx));
        }
        next = ctx.parent;
    }
    None
}

/// The goroutine with this stack runs the request's handler, not something that it let go.
pub(super) fn is_handlers(goid: u64, stack: &[Frame], request: &Request) -> bool {
    goid == request.goid || in_timeout_worker(stack)
}

/// What a dependency does inside itself is at most an info; `None` without any user code.
pub(super) fn at_most(unit: &Unit, stack: &[Frame], severity: Severity) -> Option<Severity> {
    let direct = site::direct(unit, stack)?;
    Some(if site::is_own(unit, &direct.function) {
        severity
    } else {
        severity.min(Severity::Info)
    })
}

/// The line that set a deadline: the service's, where it has one.
pub(super) fn line(unit: &Unit, ctx: &Ctx, cx: &Context<'_>) -> Option<Frame> {
    let made = site::frames(cx.code, ctx.pid, &ctx.pcs);
    site::direct(unit, &made)
        .or_else(|| site::maker(&made))
        .cloned()
}

/// Request and call that are running, of which nothing was lost.
pub(super) fn running<'a>(call: &Call, cx: &'a Context<'_>) -> Option<&'a Request> {
    if !cx.model.is_whole(call.epoch) {
        return None;
    }
    cx.model
        .request(call.owner?)
        .filter(|request| request.ended.is_none() && cx.model.is_whole(request.epoch))
}

/// A length of time that somebody has set: nobody sets 29.9 s, but who looks a moment later sees it.
pub(super) fn spent(ns: i64) -> String {
    let ns = u64::try_from(ns).unwrap_or(0);
    let unit = match ns {
        0..100_000_000 => 100_000,
        100_000_000..1_000_000_000 => 1_000_000,
        _ => 10_000_000,
    };
    draft::span((ns + unit / 2) / unit * unit)
}

/// A timer, and the deadline that it disagrees with.
pub(super) struct Budget<'a> {
    pub(super) timer: Timer,
    /// What the timer was given, if known, ns.
    pub(super) asked_ns: Option<i64>,
    /// What was left of the deadline, ns.
    pub(super) left_ns: i64,
    /// The deadline.
    pub(super) over: Over<'a>,
}

impl Budget<'_> {
    /// Puts it into a finding's evidence.
    pub(super) fn put(&self, finding: &mut Finding, unit: &Unit, cx: &Context<'_>) {
        let evidence = &mut finding.evidence;
        evidence.timer = Some(self.timer);
        evidence.asked_ns = self.asked_ns;
        evidence.remaining_ns = Some(self.left_ns);
        match self.over {
            Over::Context(ctx) => {
                evidence.deadline_ns = ctx.deadline_ns;
                evidence.deadline_site = line(unit, ctx, cx);
            }
            Over::Caller(header, ns, _) => {
                evidence.deadline_ns = Some(ns);
                evidence.deadline_header = Some(header.to_owned());
            }
        }
    }
}

/// Where the deadline of a finding comes from, for a sentence.
pub(super) fn origin(finding: &Finding) -> String {
    match &finding.evidence.deadline_header {
        Some(header) => header.clone(),
        None => place_name(finding.evidence.deadline_site.as_ref()),
    }
}

/// `file.go:31`, for a sentence.
pub(super) fn place_name(site: Option<&Frame>) -> String {
    site.map_or_else(
        || "its line".to_owned(),
        |site| {
            let file = site.file.rsplit('/').next().unwrap_or(&site.file);
            format!("{file}:{}", site.line)
        },
    )
}

/// Fills request and place of a finding about a call.
pub(super) fn about_call(finding: &mut Finding, call: &Call, cx: &Context<'_>) {
    finding.request = draft::request_of(cx, call.owner);
    finding.evidence.call = Some(draft::call_evidence(call, cx.thresholds, cx.now_ns));
}

#[cfg(test)]
mod tests {
    use super::{Deadlines, spent};

    #[test]
    fn set_times_are_said_as_they_were_set() {
        for (ns, text) in [
            (29_999_812_000, "30 s"),
            (1_804_000_000, "1.8 s"),
            (199_960_000, "200 ms"),
            (49_990_000, "50 ms"),
            (60_000_000_000, "60 s"),
            (-5, "0 ns"),
        ] {
            assert_eq!(spent(ns), text);
        }
    }

    #[test]
    fn more_is_more_beyond_the_tolerance() {
        let deadlines = Deadlines::default();
        let ms = |ms: i64| ms * 1_000_000;
        for (asked, left, more) in [
            (1_100, 1_000, false),
            (1_101, 1_000, true),
            (70, 50, false),
            (71, 50, true),
            (20, -5_000, true),
        ] {
            assert_eq!(
                deadlines.exceeds(ms(asked), ms(left)),
                more,
                "{asked} of {left}"
            );
        }
    }
}
