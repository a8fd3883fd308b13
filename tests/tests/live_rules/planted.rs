//! What is planted in `rules4`, and what has to be said of it.

use anyhow::Result;
use observer_tests::live::{Expect, Role};
use observer_tests::target::Flavor;

use crate::PROGRAM;

/// A planted mistake: `RULE CASE` of its marker, and what has to be said about it.
struct Planted {
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    cancelled_by: Option<&'static str>,
    /// How its message ends.
    says: Option<&'static str>,
    /// From the cancel to the end of the work, ms, on a machine that is not busy.
    wasted_ms: Option<u64>,
    /// Where the marked line `RULE CASE ROLE` appears.
    also: &'static [(Role, &'static str)],
}

const fn planted(marked: &'static str, route: &'static str, severity: &'static str) -> Planted {
    Planted {
        marked,
        route,
        severity,
        cancelled_by: None,
        says: None,
        wasted_ms: None,
        also: &[],
    }
}

impl Planted {
    const fn by(mut self, cancelled_by: &'static str) -> Self {
        self.cancelled_by = Some(cancelled_by);
        self
    }

    const fn says(mut self, says: &'static str) -> Self {
        self.says = Some(says);
        self
    }

    const fn wasted_ms(mut self, wasted_ms: u64) -> Self {
        self.wasted_ms = Some(wasted_ms);
        self
    }

    const fn also(mut self, also: &'static [(Role, &'static str)]) -> Self {
        self.also = also;
        self
    }

    fn expected(&self, go: &str, flavor: Flavor) -> Result<Expect> {
        let mut expect = Expect::new(self.severity, PROGRAM, self.marked)?;
        let id = format!("{}-0", self.route.trim_start_matches('/').replace('/', "-"));
        expect = expect.request(self.route, &id);
        if let Some(cancelled_by) = self.cancelled_by {
            expect = expect.by(cancelled_by);
        }
        if let Some(says) = self.says {
            expect = expect.says(says);
        }
        if let Some(ms) = self.wasted_ms {
            // At least the grace time; the client may be late by any part of the rest.
            expect = expect.after_cancel_ms(500..ms + 4000);
        }
        let calls = self.marked.starts_with("detached-context ") && self.severity == "error";
        if calls && self.marked != "detached-context wait" {
            // The work is over, and so is its call; before Go 1.23 nothing tells when.
            expect = expect.fact("/evidence/call/outcome", "done|unknown");
        }
        if self.marked == "detached-context wait"
            && flavor != Flavor::Unoptimised
            && !before(go, 21)
        {
            // Its maker is inlined into the handler, and hands it to WithTimeout.
            let detach = "example.com/observer-targets/internal/compat.WithoutCancel";
            expect = expect
                .fact("/context/1/label", "WithoutCancel")
                .fact("/context/1/function", detach);
        }
        if self.marked == "premature-cancel read-deadline-wait" {
            // Its wait ends with the cancel.
            expect = expect.or_no_site();
        }
        let late_line = flavor == Flavor::Unoptimised && !before(go, 25);
        for (role, name) in self.also {
            let mut marked = format!("{} {name}", self.marked);
            if late_line && marked == "premature-cancel body cancel" {
                marked = "premature-cancel body unoptimised-cancel".to_owned();
            }
            expect = expect.also(*role, PROGRAM, &marked)?;
        }
        Ok(expect)
    }
}

const CALL: &[(Role, &str)] = &[(Role::Stack, "call")];

/// The one whose stack has more frames than a probe reads.
const DEEP: &str = "detached-context deep";

const ALL: [Planted; 45] = [
    planted("cancel-ignored sleep", "/ignored/sleep", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored channel", "/ignored/channel", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored poll", "/ignored/poll", "warning")
        .by("client")
        .wasted_ms(1200),
    planted(
        "cancel-ignored poll-unseen",
        "/ignored/poll-unseen",
        "error",
    )
    .by("client")
    .wasted_ms(1500),
    planted("cancel-ignored workers", "/ignored/workers", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored raw-call", "/ignored/raw-call", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored derived", "/ignored/derived", "warning")
        .by("deadline")
        .wasted_ms(1700)
        .also(&[(Role::Context, "context")]),
    // An error where the call on the dead context is recognised.
    planted(
        "cancel-ignored backoff",
        "/ignored/backoff",
        "error|warning",
    )
    .by("deadline")
    .wasted_ms(1700)
    .also(CALL),
    planted("cancel-ignored busy", "/ignored/busy", "error")
        .by("client")
        .wasted_ms(1700),
    planted(
        "cancel-ignored busy-method",
        "/ignored/busy-method",
        "error",
    )
    .by("client")
    .wasted_ms(1700),
    planted(
        "cancel-ignored busy-inlined",
        "/ignored/busy-inlined",
        "error",
    )
    .by("client")
    .wasted_ms(1700),
    planted(
        "cancel-ignored timeout-handler",
        "/ignored/timeout-handler",
        "error",
    )
    .by("deadline")
    .wasted_ms(1700),
    planted(
        "cancel-ignored timeout-client",
        "/ignored/timeout-client",
        "error",
    )
    .by("client")
    .wasted_ms(1700),
    planted(
        "detached-context background",
        "/detached/background",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(DEEP, "/detached/deep", "error")
        .by("client")
        .wasted_ms(1200),
    planted("detached-context todo", "/detached/todo", "error")
        .by("client")
        .wasted_ms(1200),
    planted(
        "detached-context background-timeout",
        "/detached/background-timeout",
        "error",
    )
    .by("client")
    .wasted_ms(1200)
    .also(CALL),
    planted(
        "detached-context withoutcancel",
        "/detached/withoutcancel",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted("detached-context wrapper", "/detached/wrapper", "error")
        .by("client")
        .wasted_ms(1200),
    planted(
        "detached-context wrapper-timeout",
        "/detached/wrapper-timeout",
        "error",
    )
    .by("client")
    .wasted_ms(1200)
    .also(CALL),
    planted(
        "detached-context shared-background",
        "/detached/shared-background",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-todo",
        "/detached/shared-todo",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-inlined",
        "/detached/shared-inlined",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-request",
        "/detached/shared-request",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-timeout",
        "/detached/shared-timeout",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-without",
        "/detached/shared-without",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-withouts",
        "/detached/shared-withouts",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-stored",
        "/detached/shared-stored",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted("detached-context wait", "/detached/wait", "error")
        .by("client")
        .wasted_ms(1700),
    planted("detached-context spawned", "/detached/spawned", "info").also(CALL),
    // Of one connection alone, nobody knows that it is not made ready for all.
    planted(
        "detached-context spawned-waited",
        "/detached/spawned-waited",
        "info",
    ),
    planted(
        "detached-context spawned-orphan",
        "/detached/spawned-orphan",
        "info",
    ),
    planted("cancel-not-called cancel", "/notcalled/cancel", "warning"),
    planted("cancel-not-called timeout", "/notcalled/timeout", "warning"),
    planted("cancel-not-called inlined", "/notcalled/inlined", "warning")
        .also(&[(Role::Stack, "caller")]),
    planted("cancel-not-called timer", "/notcalled/timer", "warning"),
    planted("premature-cancel async", "/premature/async", "error")
        .by("normal_end")
        .says("the handler returned"),
    planted("premature-cancel wrapped", "/premature/wrapped", "error")
        .by("normal_end")
        .says("the handler returned"),
    planted("premature-cancel panic", "/premature/panic", "error")
        .by("normal_end")
        .says("the handler panicked"),
    planted("premature-cancel late", "/premature/late", "error")
        .by("normal_end")
        .says("the handler returned"),
    planted("premature-cancel body", "/premature/body", "error")
        .by("code")
        .also(&[(Role::CancelSite, "cancel")]),
    planted(
        "premature-cancel body-handed",
        "/premature/body-handed",
        "error",
    )
    .by("code")
    .also(&[(Role::CancelSite, "cancel")]),
    planted(
        "premature-cancel read-deadline",
        "/premature/read-deadline",
        "error",
    )
    .by("read_deadline"),
    planted(
        "premature-cancel read-deadline-wait",
        "/premature/read-deadline-wait",
        "warning",
    )
    .by("read_deadline"),
    planted(
        "premature-cancel after-group",
        "/premature/after-group",
        "error",
    )
    .by("code"),
];

/// Where the work is in a goroutine of which nothing else tells whose it is, or where the context is of
/// a type that only Go 1.21 brought.
const NEED_GO_1_21: [&str; 7] = [
    "cancel-ignored timeout-handler",
    "cancel-ignored timeout-client",
    "detached-context spawned",
    "detached-context spawned-waited",
    "detached-context spawned-orphan",
    "detached-context shared-without",
    "detached-context shared-withouts",
];

/// Up to Go 1.22 a call has no context of its own that the request's cancel could reach.
const NEEDS_GO_1_23: &str = "premature-cancel wrapped";

/// Up to Go 1.20 a goroutine does not know who started it, so nobody knows whose request it works for.
pub fn before_ancestry(go: &str) -> bool {
    before(go, 21)
}

/// Whether this version is older than that minor one.
fn before(go: &str, minor: u32) -> bool {
    let of = go.split('.').nth(1).and_then(|of| of.parse::<u32>().ok());
    of.is_some_and(|of| of < minor)
}

/// All that is to be found in this build.
pub fn expected(go: &str, flavor: Flavor) -> Result<Vec<Expect>> {
    let mut expected = ALL
        .iter()
        .filter(|planted| !(before_ancestry(go) && NEED_GO_1_21.contains(&planted.marked)))
        .filter(|planted| !(before(go, 23) && planted.marked == NEEDS_GO_1_23))
        .map(|planted| planted.expected(go, flavor))
        .collect::<Result<Vec<_>>>()?;
    if before_ancestry(go) {
        // The wrapper of the program's own is a value that no call gives away: what is told is where a context was
        // made of it, for both routes.
        let bounded = Expect::new("error", PROGRAM, "detached-context shared-wrapped")?;
        expected.push(bounded.times(2));
    }
    Ok(expected)
}
