//! Requests with more headers than the probe looks through: memory is read while they run, because
//! a finding may come when they have ended.

use crate::model::ReqId;

use super::ask::Question;
use super::context::Context;
use super::timers::Topic;

/// Requests read in one second, at most: each costs a few reads of memory. The others keep what the
/// probe found, until a rule asks about them.
const A_SECOND: u32 = 200;
const SECOND_NS: u64 = 1_000_000_000;

/// How many were read lately.
#[derive(Debug, Default)]
pub(super) struct LargeHeaders {
    since_ns: u64,
    read: u32,
}

impl LargeHeaders {
    /// A request began: were there headers that the probe has not seen?
    pub(super) fn request_started(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id).filter(|of| of.headers_left) else {
            return;
        };
        if cx.now_ns.saturating_sub(self.since_ns) >= SECOND_NS {
            *self = Self {
                since_ns: cx.now_ns,
                read: 0,
            };
        }
        if self.read >= A_SECOND {
            *cx.forgotten += 1;
            return;
        }
        self.read += 1;
        let question = Question::Request(cx.reading(request));
        cx.ask(request.pid, Topic::LargeHeaders(id), question);
    }
}
