//! Plain dials: connections that code asks `net.Dialer` for itself.

use std::sync::Arc;

use observer_common::event::{DialDone, DialStarted, Header};

use super::On;
use super::call::{CallEnd, CallKind};
use super::chain::links;
use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::on_call::Begun;
use super::text::{head, lossy};

/// Who dials for connections that it keeps, or as part of a call that is told of anyway. What a client is given to
/// dial with is its dial, too.
const HOLDERS: &[&str] = &[
    "net.(*Resolver).",
    "net/http.(*Transport).",
    "database/sql.",
    "golang.org/x/net/",
    "google.golang.org/grpc.",
    "google.golang.org/grpc/internal/transport.",
];
/// A server that hands a request to its handler: who is beyond has not asked for anything.
const SERVERS: &[&str] = &["google.golang.org/grpc.(*Server)."];
/// What makes a context that lives as long as its dial: for `Dialer.Timeout`, and where there are addresses of two sorts.
const MAKERS: &[&str] = &[
    "net.(*Dialer).DialContext",
    "net.(*Dialer).dialCtx",
    "net.(*sysDialer).dialParallel",
];
/// What every dial is in.
const DIAL: &str = "net.(*Dialer).DialContext";

impl On<'_> {
    pub(super) fn dial_started(&mut self, record: &DialStarted) {
        let pcs = self
            .model
            .stacks
            .keep(&record.pcs, u64::from(record.frames));
        if self.is_held(&pcs) {
            return;
        }
        let goid = record.header.goid;
        self.leave_last_call(goid);
        let begun = Begun {
            kind: CallKind::Dial,
            handle: 0,
            target: target(record),
            links: links(&record.chain, record.links),
            pcs,
            keeps_conn: false,
            bounded: is_bounded(record),
            url: 0,
        };
        let id = self.begin_call(&record.header, begun);
        if let Some(ctx) = self.model.calls.get(id).and_then(|call| call.ctx) {
            self.process.dials.insert(ctx, id);
        }
        self.facts.push(Fact::CallStarted(id));
    }

    /// Whether a client of the standard library or of a known module dials.
    fn is_held(&self, pcs: &[u64]) -> bool {
        let is_of =
            |function: &str, names: &[&str]| names.iter().any(|name| function.starts_with(name));
        for pc in pcs {
            for frame in self.code.frames(self.pid, *pc).iter() {
                if is_of(&frame.function, SERVERS) {
                    return false;
                }
                if is_of(&frame.function, HOLDERS) {
                    return true;
                }
            }
        }
        false
    }

    /// A TCP connection that was dialled is there.
    pub(super) fn dial_done(&mut self, record: &DialDone) {
        let Header {
            goid, parent_goid, ..
        } = record.header;
        let own = self.open_dial(goid);
        if let Some(id) = own.or_else(|| self.open_dial(parent_goid)) {
            self.end_dial(id, CallEnd::Done);
        }
    }

    /// A context is made on a goroutine. Gives the dial that it is of; one that the goroutine has left is over.
    pub(super) fn made_by_dial(&mut self, goid: u64, pcs: &[u64]) -> Option<CallId> {
        let id = self.open_dial(goid)?;
        if !pcs.iter().any(|pc| self.is_in(*pc, DIAL)) {
            self.end_dial(id, CallEnd::Unknown);
            return None;
        }
        let maker = pcs.iter().find_map(|pc| {
            let frames = self.code.frames(self.pid, *pc);
            let outside = frames.iter().find(|frame| frame.package() != "context");
            outside.map(|frame| MAKERS.contains(&&*frame.function))
        });
        maker.filter(|is_dials| *is_dials).map(|_| id)
    }

    /// A context died: a dial on it is over soon, if it was not before. Where it has a context of its own that one
    /// tells.
    pub(super) fn dial_cancelled(&mut self, ctx: CtxId) {
        let Some(id) = self.process.dials.remove(&ctx) else {
            return;
        };
        let call = self.model.calls.get(id);
        if call.is_some_and(|call| call.is_open() && call.inner.is_none()) {
            self.end_dial(id, CallEnd::Unknown);
        }
    }

    fn open_dial(&self, goid: u64) -> Option<CallId> {
        let id = *self.process.calls.get(&goid)?;
        let call = self.model.calls.get(id)?;
        (call.kind == CallKind::Dial && call.is_open()).then_some(id)
    }

    fn end_dial(&mut self, id: CallId, end: CallEnd) {
        let now_ns = self.model.now_ns;
        if let Some(call) = self.model.calls.get_mut(id) {
            call.ended = Some((now_ns, end));
            self.facts.push(Fact::CallEnded(id));
        }
    }
}

/// `tcp store:5432`.
fn target(record: &DialStarted) -> Arc<str> {
    let network = head(&record.network, u64::from(record.network_len));
    let address = head(&record.address, u64::from(record.address_len));
    let mut target = lossy(network).into_owned();
    target.push(' ');
    target.push_str(&lossy(address));
    target.into()
}

/// `Dialer.Timeout` or `Dialer.Deadline` is set, or may be.
fn is_bounded(record: &DialStarted) -> bool {
    record.timeout_ns.cast_signed() > 0 || record.deadline != [0; 2]
}
