//! Contexts: how they are made, and how they die.

use observer_common::event::{
    CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, DeadlineAsked, Kind, Link,
};
use zerocopy::FromZeros;

use super::{REAL_MINUS_MONOTONIC_NS, Record, START_NS, fill, header, links};
use crate::testkit::code::FakeCode;

/// The reader of a gRPC connection makes the context of a stream that has no deadline.
pub(crate) fn stream_context(code: &FakeCode, goid: u64, data: u64) -> Record {
    Record::CreatedShort(ContextCreatedShort {
        header: header(Kind::ContextCreatedShort, goid, 0),
        child: links(code, &[("context.cancelCtx", data)])[0],
        parent: links(code, &[("context.valueCtx", 0x700)])[0],
        caller: code.pc("google.golang.org/grpc/internal/transport.(*http2Server).operateHeaders"),
    })
}

/// The creation of a context.
pub(crate) struct Created<'a> {
    pub(crate) goid: u64,
    pub(crate) parent_goid: u64,
    /// Type and address of the child.
    pub(crate) child: (&'a str, u64),
    /// Address of the cancelCtx inside, for Go 1.20's timers.
    pub(crate) indirect: u64,
    /// From the parent upwards.
    pub(crate) chain: &'a [(&'a str, u64)],
    pub(crate) stack: &'a [&'a str],
    pub(crate) deadline: [u64; 2],
}

impl Default for Created<'_> {
    fn default() -> Self {
        Self {
            goid: 0,
            parent_goid: 0,
            child: ("context.cancelCtx", 0),
            indirect: 0,
            chain: &[],
            stack: &[],
            deadline: [0; 2],
        }
    }
}

impl Created<'_> {
    pub(crate) fn record(&self, code: &FakeCode) -> Record {
        let mut record = ContextCreated::new_zeroed();
        record.header = header(Kind::ContextCreated, self.goid, self.parent_goid);
        record.child = links(code, &[self.child])[0];
        record.indirect = self.indirect;
        record.deadline = self.deadline;
        record.links = fill(&mut record.chain, &links(code, self.chain));
        record.frames = fill(&mut record.pcs, &code.pcs(self.stack));
        Record::Created(Box::new(record))
    }
}

/// A `time.Time` that lies `left_ns` after the monotonic `now_ns`, with or without a monotonic
/// reading of its own.
pub(crate) fn deadline(now_ns: u64, left_ns: i64, monotonic: bool) -> [u64; 2] {
    let unix_ns = i64::try_from(now_ns).unwrap() + REAL_MINUS_MONOTONIC_NS + left_ns;
    let (seconds, nanos) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let nanos = u64::try_from(nanos).unwrap();
    if monotonic {
        // Seconds since 1885.
        let since = u64::try_from(seconds + 2_682_288_000).unwrap();
        let ext_ns = i64::try_from(now_ns).unwrap() + left_ns - START_NS;
        [1 << 63 | since << 30 | nanos, ext_ns.cast_unsigned()]
    } else {
        // Seconds since year one.
        [nanos, u64::try_from(seconds + 62_135_596_800).unwrap()]
    }
}

/// A deadline is asked for under a parent.
pub(crate) fn asked(code: &FakeCode, goid: u64, parent: (&str, u64), deadline: [u64; 2]) -> Record {
    Record::Asked(DeadlineAsked {
        header: header(Kind::DeadlineAsked, goid, 0),
        parent: links(code, &[parent])[0],
        deadline,
    })
}

/// The transport's own context at `data` for the call that `goid` has begun.
pub(crate) fn created_short(code: &FakeCode, goid: u64, data: u64, parent: (&str, u64)) -> Record {
    created_by(code, goid, data, parent, "net/http.(*Transport).roundTrip")
}

/// A context at `data` that a function of the standard library makes for itself on `goid`.
pub(crate) fn created_by(
    code: &FakeCode,
    goid: u64,
    data: u64,
    parent: (&str, u64),
    caller: &str,
) -> Record {
    Record::CreatedShort(ContextCreatedShort {
        header: header(Kind::ContextCreatedShort, goid, 0),
        child: links(code, &[("context.cancelCtx", data)])[0],
        parent: links(code, &[parent])[0],
        caller: code.pc(caller),
    })
}

/// A first cancel that is no cascade.
pub(crate) fn cancel(code: &FakeCode, goid: u64, ctx: u64, stack: &[&str]) -> Record {
    let mut record = ContextCancelled::new_zeroed();
    record.header = header(Kind::ContextCancelled, goid, 0);
    record.ctx = ctx;
    record.frames = u64::from(fill(&mut record.pcs, &code.pcs(stack)));
    Record::Cancelled(record)
}

fn cancelled_short(goid: u64, ctx: u64, flags: u64, pcs: [u64; 2]) -> Record {
    Record::CancelledShort(ContextCancelledShort {
        header: header(Kind::ContextCancelledShort, goid, 0),
        ctx,
        flags,
        err: Link::default(),
        pcs,
    })
}

/// The server cancels a request's context because its handler has returned or panicked.
pub(crate) fn request_end(code: &FakeCode, ctx: u64) -> Record {
    request_end_by(code, ctx, "net/http.(*conn).serve")
}

/// The same, told by another function.
pub(crate) fn request_end_by(code: &FakeCode, ctx: u64, function: &str) -> Record {
    end_under(code, ctx, function, "context.cancelCtx")
}

/// The server is done with a connection: it cancels the connection's own context.
pub(crate) fn conn_end(code: &FakeCode, ctx: u64) -> Record {
    end_under(code, ctx, "net/http.(*conn).serve", "context.valueCtx")
}

fn end_under(code: &FakeCode, ctx: u64, function: &str, parent: &str) -> Record {
    cancelled_short(0, ctx, CANCEL_END, [code.itab(parent), code.pc(function)])
}

/// A context dies with its parent.
pub(crate) fn cascade(code: &FakeCode, goid: u64, ctx: u64) -> Record {
    let own = code.pc("context.(*cancelCtx).cancel");
    cancelled_short(goid, ctx, CANCEL_CASCADE, [own, own])
}

/// The transport has done with a call.
pub(crate) fn call_done(code: &FakeCode, goid: u64, ctx: u64) -> Record {
    let pcs = code.pcs(&[
        "context.WithCancelCause.func1",
        "net/http.(*persistConn).readLoop",
    ]);
    cancelled_short(goid, ctx, 0, [pcs[0], pcs[1]])
}

/// A dead context is cancelled again, by something that is not its parent.
pub(crate) fn cancelled_again(code: &FakeCode, goid: u64, ctx: u64, stack: [&str; 2]) -> Record {
    let pcs = code.pcs(&stack);
    cancelled_short(goid, ctx, CANCEL_AGAIN, [pcs[0], pcs[1]])
}
