//! One call of HTTP, many round trips: redirects, what the transport tries again, streams of HTTP/2.

use observer_common::event::{
    ATTEMPT_AGAIN, ATTEMPT_OVER, CallAttempt, CallRedirected, CallStarted, CallStreamEnded,
};

use super::On;
use super::call::{Call, CallEnd, CallKind};
use super::chain::links;
use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::process::Redirect;

/// A redirect that comes later after the end of the round trip before it begins a call of its own, ns: what
/// the call before came to may have been told by then.
const RESUMES_NS: u64 = 50_000_000;
/// What begins a round trip. One may hand over to the other.
const ROUND_TRIPS: &[&str] = &[
    "net/http.(*Transport).roundTrip",
    "golang.org/x/net/http2.(*Transport).RoundTripOpt",
    "golang.org/x/net/http2.(*Transport).roundTripOpt",
];
/// What may lie between two of them.
const BETWEEN: &[&str] = &["net/http.", "golang.org/x/net/http2."];
/// What cancels the transport's context of a call for its caller.
const CANCELLING: &[&str] = &["context.", "net/http.(*Transport).prepareTransportCancel"];
/// The round trip itself; what it does when it fails is in a closure.
const ROUND_TRIP: &str = "net/http.(*Transport).roundTrip";
/// Why a stream is reset whose reader closes the body: `http2: response body closed`.
const BODY_CLOSED: &[u8; 24] = b"http2: response body clo";
/// Calls of one goroutine that a stream is looked for among.
const LOOKS_BACK: usize = 8;

impl On<'_> {
    pub(super) fn call_redirected(&mut self, record: &CallRedirected) {
        let redirect = Redirect {
            request: record.request,
            previous_url: low_half(record.previous_url),
        };
        self.process.redirects.insert(record.header.goid, redirect);
    }

    /// Whether a round trip belongs to the call that its goroutine is in, or was in just now.
    pub(super) fn goes_on(&mut self, record: &CallStarted) -> bool {
        let goid = record.header.goid;
        let redirect = self.process.redirects.remove(&goid);
        let Some(id) = self.process.calls.get(&goid).copied() else {
            return false;
        };
        let Some(call) = self.model.calls.get(id) else {
            return false;
        };
        if call.kind != CallKind::Http {
            return false;
        }
        if call.is_open() && self.is_handed_over(record) {
            self.name_call(record.request, id);
            return true;
        }
        let follows = redirect.is_some_and(|redirect| {
            redirect.request == record.request
                && redirect.previous_url == call.attempts.url
                && redirect.previous_url != 0
                && self.is_recent(call)
        });
        if follows {
            self.follow(id, record);
        }
        follows
    }

    fn is_recent(&self, call: &Call) -> bool {
        match call.ended {
            None => true,
            Some((_, CallEnd::Cancelled)) => false,
            Some((at_ns, _)) => self.model.now_ns.saturating_sub(at_ns) <= RESUMES_NS,
        }
    }

    /// The transport of one package has been asked by that of the other.
    fn is_handed_over(&self, record: &CallStarted) -> bool {
        for pc in record.pcs.iter().take_while(|pc| **pc != 0) {
            for frame in self.code.frames(self.pid, *pc).iter() {
                let function = &*frame.function;
                if ROUND_TRIPS.contains(&function) {
                    return true;
                }
                if !BETWEEN.iter().any(|package| function.starts_with(package)) {
                    return false;
                }
            }
        }
        false
    }

    /// The client follows a redirect. Its timer, if it has one, gives each round trip a context of its own.
    fn follow(&mut self, id: CallId, record: &CallStarted) {
        let chain = links(&record.chain, record.links);
        let resolved = self.resolve(chain);
        let target = self.target(record);
        let Some(call) = self.model.calls.get_mut(id) else {
            return;
        };
        // The answer that redirected may still be on its stream.
        let owes = !call.is_over() && call.inner.is_none() && !call.attempts.leased;
        call.handle = record.request;
        (call.ctx_itab, call.ctx_data) =
            chain.first().map_or((0, 0), |link| (link.itab, link.data));
        (call.ctx, call.steps, call.root) = (resolved.ctx, resolved.steps, resolved.root);
        (call.inner, call.ended) = (None, None);
        let attempts = &mut call.attempts;
        attempts.seen = attempts.seen.saturating_add(1);
        attempts.owed = attempts.owed.saturating_add(u32::from(owes));
        (attempts.target, attempts.url) = (target, record.url);
        (attempts.leased, attempts.answered) = (false, false);
        (attempts.stream_failed, attempts.in_doubt) = (false, false);
        self.name_call(record.request, id);
        self.facts.push(Fact::CallResumed(id));
    }

    /// A round trip takes a connection, has done with it, or tries again.
    pub(super) fn call_attempt(&mut self, record: &CallAttempt) {
        let goid = record.header.goid;
        if record.what == ATTEMPT_AGAIN {
            let id = self.process.calls.get(&goid).copied();
            // Before it has a context of its own it only looks for who could do it.
            if let Some(call) = id.and_then(|id| self.model.calls.get_mut(id))
                && call.kind == CallKind::Http
                && call.is_open()
                && call.inner.is_some()
            {
                call.attempts.seen = call.attempts.seen.saturating_add(1);
                call.attempts.stream_failed = false;
            }
            return;
        }
        let Some(id) = self.process.call_requests.get(&record.request).copied() else {
            return;
        };
        let now_ns = self.model.now_ns;
        let Some(call) = self.model.calls.get_mut(id) else {
            return;
        };
        if call.handle != record.request {
            return;
        }
        let by_caller = call.goid == goid;
        if record.what == ATTEMPT_OVER {
            // The caller itself says so of what failed, and may try again.
            if !by_caller && !call.is_over() {
                call.ended = Some((now_ns, CallEnd::Done));
                self.facts.push(Fact::CallEnded(id));
            }
        } else if by_caller {
            call.attempts.seen += u32::from(call.attempts.leased);
            call.attempts.leased = true;
        }
    }

    /// The round trip lets go of its context because an answer over HTTP/2 has begun.
    pub(super) fn is_answer(&self, pcs: &[u64]) -> bool {
        for pc in pcs {
            for frame in self.code.frames(self.pid, *pc).iter() {
                let function = &*frame.function;
                if !CANCELLING.iter().any(|known| function.starts_with(known)) {
                    return function == ROUND_TRIP;
                }
            }
        }
        false
    }

    /// Its body, if it has one, is still to be read, and its end is its stream's.
    pub(super) fn answered(&mut self, id: CallId, inner: CtxId) {
        if let Some(call) = self.model.calls.get_mut(id)
            && call.inner == Some(inner)
        {
            call.inner = None;
            call.attempts.answered = true;
        }
        self.forget_context(inner);
    }

    /// A stream is over: the goroutine that started its own made the call.
    pub(super) fn call_stream_ended(&mut self, record: &CallStreamEnded) {
        let caller = record.header.parent_goid;
        if caller == 0 {
            return;
        }
        let ids = self.streaming(caller);
        let [id] = ids[..] else {
            self.doubt(&ids);
            return;
        };
        let Some(call) = self.model.calls.get(id) else {
            return;
        };
        let of_ctx = call.ctx.and_then(|ctx| self.model.contexts.get(ctx));
        let dead = of_ctx.is_some_and(|ctx| ctx.cancelled.is_some());
        let failed = record.err.itab != 0;
        let end = if failed && dead {
            CallEnd::Cancelled
        } else if !failed || call.attempts.answered || self.is_body_closed(record) {
            CallEnd::Done
        } else {
            // It may be tried again, out of sight.
            CallEnd::Unknown
        };
        let now_ns = self.model.now_ns;
        let Some(call) = self.model.calls.get_mut(id) else {
            return;
        };
        let attempts = &mut call.attempts;
        if attempts.owed > 0 {
            attempts.owed -= 1;
            return;
        }
        attempts.seen += u32::from(attempts.stream_failed);
        attempts.stream_failed = end == CallEnd::Unknown;
        call.ended = Some((now_ns, end));
        self.facts.push(Fact::CallEnded(id));
    }

    /// Calls of a goroutine that a stream may belong to, the last first.
    fn streaming(&self, goid: u64) -> Vec<CallId> {
        let last = self.process.calls.get(&goid).copied();
        let mut ids = Vec::new();
        let mut next = last;
        for _ in 0..LOOKS_BACK {
            let Some(call) = next.and_then(|id| self.model.calls.get(id)) else {
                break;
            };
            // Whose round trip has returned and whose context lives on reads from HTTP/1.
            let http1 = call.attempts.leased || (call.inner.is_some() && Some(call.id) != last);
            if call.kind == CallKind::Http && !call.is_over() && !http1 && !call.attempts.in_doubt {
                ids.push(call.id);
            }
            next = call.attempts.before;
        }
        ids
    }

    /// Which of several calls a stream belonged to is not known: of none of them the end is.
    fn doubt(&mut self, ids: &[CallId]) {
        for id in ids {
            let now_ns = self.model.now_ns;
            let Some(call) = self.model.calls.get_mut(*id) else {
                continue;
            };
            call.attempts.in_doubt = true;
            if call.is_open() {
                call.ended = Some((now_ns, CallEnd::Unknown));
                self.facts.push(Fact::CallEnded(*id));
            }
        }
    }

    fn is_body_closed(&self, record: &CallStreamEnded) -> bool {
        let name = self.code.type_of(self.pid, record.err.itab);
        let text = name.is_some_and(|it| &*it.package == "errors" && &*it.name == "errorString");
        text && record.text == *BODY_CLOSED
    }
}

/// What is left of a URL's address in the record of a call.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
const fn low_half(address: u64) -> u32 {
    address as u32
}
